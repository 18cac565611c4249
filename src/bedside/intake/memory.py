"""How much memory there is, and refusing a table that would not fit before it is read."""

from __future__ import annotations

import sys
from pathlib import Path

from bedside.errors import DataError

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int:
    """Bytes this process may still take: the least of the machine's free memory, its cgroup's and its own limit."""
    limits = [_meminfo(), _cgroup(), _rlimit()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else sys.maxsize


def refuse_too_large(label: str, needed: int, *, advice: str) -> None:
    """Raise DataError when a table needs more memory than there is."""
    there = available_bytes()
    if needed > there:
        raise DataError(
            f"{label}: the table needs about {needed / 2**30:.1f} GiB of memory and {there / 2**30:.1f} GiB is free",
            advice,
        )


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cgroup() -> int | None:
    for limit_file, usage_file in _CGROUPS:
        try:
            limit = Path(limit_file).read_text().strip()
            usage = Path(usage_file).read_text().strip()
        except OSError:
            continue
        return None if limit == "max" else max(0, int(limit) - int(usage))
    return None


def _rlimit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    return max(0, soft - used)
