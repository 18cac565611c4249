"""A PostgreSQL of the test's own: Debian's binaries, a folder below the test's, a socket and no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"


def binaries() -> Path:
    """The newest PostgreSQL's folder of programs; skips the test where there is none (fails under BEDSIDE_PEERS)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    as_root = os.geteuid() == 0
    why = None if found else "no PostgreSQL in /usr/lib/postgresql (apt-get install postgresql)"
    if found and as_root and shutil.which("runuser") is None:
        why = "PostgreSQL does not run as root, and there is no runuser"
    if why is not None:
        if os.environ.get("BEDSIDE_PEERS") == "required":
            pytest.fail(why)
        pytest.skip(why)
    return found[-1].parent


@contextmanager
def postgres() -> Iterator[str]:
    """A running server; gives the SQLAlchemy URL of an empty database. It listens on a socket of its own only."""
    programs = binaries()
    pytest.importorskip("psycopg")
    prefix = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="bedside-pg-", dir="/tmp"))  # a socket's path is at most 107 bytes
    if prefix:
        shutil.chown(folder, USER)
    try:
        data = folder / "data"
        run = [*prefix, str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "--no-sync"]
        subprocess.run(run, check=True, capture_output=True, cwd="/")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
        control = [*prefix, str(programs / "pg_ctl"), "-D", str(data), "-w", "-s"]
        start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"postgresql+psycopg://{USER}@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
    finally:
        shutil.rmtree(folder)
