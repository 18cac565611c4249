"""What the disk does to a store: kill −9, a full disk, a folder that may not be written."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort import Cohort, Field, Store, Workspace, atomic_write
from bedside.cohort.atomic import TEMPORARY, sweep_temporaries, temporary_file
from bedside.errors import BedsideError

# puts bytes, a file and a cohort in turn, and says each digest once the store has acknowledged it
WRITER = """
import sys
import numpy as np, polars as pl
from pathlib import Path
from bedside.cohort import Cohort, Field, Store
store, rng = Store(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
source = Path(sys.argv[1] + ".source")
print("ready", flush=True)
while True:
    print("object", store.put(rng.bytes(200_000)), flush=True)
    source.write_bytes(rng.bytes(300_000))
    print("object", store.put_file(source), flush=True)
    frame = pl.DataFrame({"x": rng.normal(size=20_000)})
    print("cohort", store.put_cohort(Cohort.of(frame, [Field("x", "number")])), flush=True)
"""


def random_cohort(rows: int) -> Cohort:
    return Cohort.of(pl.DataFrame({"x": np.random.default_rng(0).normal(size=rows)}), [Field("x", "number")])


def all_whole(store: Store) -> None:
    for digest in store.digests():
        store.get(digest)
    for digest in store.cohorts():
        store.get_cohort(digest)


def test_kill_9_at_any_point_leaves_nothing_half_there(tmp_path: Path) -> None:
    root = tmp_path / "store"
    rng = np.random.default_rng(5)
    acknowledged: list[list[str]] = []
    for attempt in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(float(rng.uniform(0.02, 0.3)))
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.split() for line in writer.stdout.read().split("\n")[:-1]]
        assert writer.wait() == -signal.SIGKILL
    assert acknowledged
    store = Store(root)
    for kind, digest in acknowledged:
        assert store.get_cohort(digest) if kind == "cohort" else store.get(digest)
    all_whole(store)
    left = list((root / "tmp").iterdir())
    assert store.sweep() == len(left)
    assert list((root / "tmp").iterdir()) == []
    for kind, digest in acknowledged:
        assert store.has_cohort(digest) if kind == "cohort" else store.has(digest)


MANY = """
import sys
import numpy as np
from bedside.cohort import Store
store, rng = Store(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    for digest in store.put_all(rng.bytes(2_000) for _ in range(300)):
        print(digest, flush=True)
"""


def test_kill_9_in_a_bulk_put_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "store"
    acknowledged: list[str] = []
    for attempt, wait in enumerate((0.05, 0.15, 0.3)):
        writer = subprocess.Popen(
            [sys.executable, "-c", MANY, str(root), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split("\n")[:-1]
        assert writer.wait() == -signal.SIGKILL
    store = Store(root)
    for digest in acknowledged:
        store.get(digest)
    all_whole(store)
    store.sweep()
    assert list((root / "tmp").iterdir()) == []


def test_sweep_leaves_what_a_living_process_writes(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}dead").write_bytes(b"half")
    with temporary_file(tmp_path) as living:
        assert sweep_temporaries(tmp_path) == 1
        assert living.exists()
    assert not living.exists()


def test_a_leftover_is_not_an_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"x")
    (tmp_path / "objects" / digest[:2] / f"{TEMPORARY}1").write_bytes(b"half")
    (tmp_path / "tmp" / f"{TEMPORARY}2").write_bytes(b"half")
    assert store.digests() == [digest] and store.cohorts() == []


def test_two_writers_of_the_same_bytes_do_not_meet(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = np.random.default_rng(0).bytes(1 << 20)
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(store.put(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4 and set(digests) == set(store.digests())
    assert store.get(digests[0]) == data and store.sweep() == 0


def test_files_are_0600_and_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "a" / "store")
        store.put(b"x")
        store.put_cohort(random_cohort(10))
        atomic_write(tmp_path / "a" / "note.json", b"{}")
    finally:
        os.umask(before)
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    atomic_write(target, b"one")
    atomic_write(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


# -- full disk -----------------------------------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skips where this user may not mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if LIBC.mount(b"none", bytes(place), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip(f"may not mount a small file system: {os.strerror(ctypes.get_errno())}")
    try:
        yield place
    finally:
        LIBC.umount2(bytes(place), 2)


def test_a_full_disk_is_said_and_nothing_half_is_kept(small_disk: Path, tmp_path: Path) -> None:
    store = Store(small_disk / "store")
    kept = [store.put(b"small"), store.put_cohort(random_cohort(100))]
    rng = np.random.default_rng(0)
    big = tmp_path / "big"
    big.write_bytes(rng.bytes(2 << 20))
    writes = [
        lambda: store.put(rng.bytes(2 << 20)),
        lambda: store.put_file(big),
        lambda: store.put_cohort(random_cohort(400_000)),
        lambda: atomic_write(small_disk / "note", rng.bytes(2 << 20)),
    ]
    before = sorted(path for path in small_disk.rglob("*") if path.is_file())
    for write in writes:
        with pytest.raises(BedsideError, match=r"disk .* is full") as error:
            write()
        assert "--home" in error.value.way_out
        assert sorted(path for path in small_disk.rglob("*") if path.is_file()) == before
    all_whole(store)
    assert store.get(kept[0]) == b"small" and store.has_cohort(kept[1])
    assert store.put(b"after") in store.digests()  # it goes on once there is room


FULL = """
import resource, sys
import numpy as np, polars as pl
from bedside.cohort import Cohort, Field, Store
from bedside.errors import BedsideError
cohort = Cohort.of(pl.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)}), [Field("x", "number")])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = Store(sys.argv[1])
for write in (lambda: store.put(bytes(200_000)), lambda: store.put_cohort(cohort)):
    try:
        write()
    except BedsideError as error:
        print(error.what)
print(store.digests(), store.cohorts(), store.sweep())
"""


def test_a_file_size_limit_is_a_full_disk_too(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "s")], capture_output=True, text=True, check=True)
    first, second, state = done.stdout.splitlines()
    assert "is full" in first and "is full" in second
    assert state == "[] [] 0"


# -- read-only -----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that even root may not write: bind-mounted read-only; for other users mode 0500 is enough."""
    place = tmp_path / "locked"
    place.mkdir()
    Store(place / "store").put(b"kept")
    if os.getuid() != 0:
        place.chmod(0o500)
        (place / "store" / "tmp").chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    bind, remount_read_only = 4096, 4096 | 32 | 1  # MS_BIND; MS_BIND | MS_REMOUNT | MS_RDONLY
    if LIBC.mount(bytes(place), bytes(place), None, bind, None) != 0:
        pytest.skip(f"root ignores modes and may not mount: {os.strerror(ctypes.get_errno())}")
    try:
        if LIBC.mount(None, bytes(place), None, remount_read_only, None) != 0:
            pytest.skip(f"root ignores modes and may not remount: {os.strerror(ctypes.get_errno())}")
        yield place
    finally:
        LIBC.umount2(bytes(place), 2)


def test_a_read_only_folder_is_said_with_the_way_out(read_only: Path) -> None:
    store = Store(read_only / "store")
    [digest] = store.digests()
    assert store.get(digest) == b"kept"
    for write in (
        lambda: store.put(b"new"),
        lambda: store.put_cohort(random_cohort(5)),
        lambda: atomic_write(read_only / "x", b""),
        lambda: Workspace(read_only),
        lambda: Workspace(read_only / "below"),
    ):
        with pytest.raises(BedsideError, match=r"cannot be written|read-only") as error:
            write()
        assert "BEDSIDE_HOME" in error.value.way_out
    assert store.digests() == [digest]


def test_memory_of_a_put_stays_near_one_row_group(tmp_path: Path) -> None:
    """The table is written row group by row group: the peak grows by far less than the table's 160 MB."""
    code = (
        "import re, sys, numpy as np, polars as pl\nfrom pathlib import Path\n"
        "from bedside.cohort import Cohort, Field, Store\n"
        "frame = pl.DataFrame({f'x{i}': np.random.default_rng(i).normal(size=1_000_000) for i in range(20)})\n"
        "cohort = Cohort.of(frame, [Field(name, 'number') for name in frame.columns])\n"
        # Not ru_maxrss: a child inherits its parent's, which may be larger than anything measured here.
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak(); Store(sys.argv[1]).put_cohort(cohort); print((peak() - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 120
