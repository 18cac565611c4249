"""`bedside serve` as a process: what it prints, what it loads, how it ends, and what is left when it is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.serve.audit import AuditTrail
from bedside.serve.database import Database

SECONDS = 90


def serve(home: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bedside", "serve", "--home", str(home), "--port", "0", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def drain(stream: IO[str] | None) -> None:
    """Read a stream to its end aside, so that its writer never waits."""
    if stream is not None:
        threading.Thread(target=stream.read, daemon=True).start()


def address_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The address and token it prints, once it listens."""
    assert process.stdout is not None
    drain(process.stderr)
    line = process.stdout.readline()
    found = re.fullmatch(r"open +(http://127\.0\.0\.1:\d+)/start#(\S+)\n", line)
    assert found is not None, line
    drain(process.stdout)
    return found[1], found[2]


def wait_ready(address: str) -> float:
    """Seconds until it is ready."""
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        try:
            if httpx.get(f"{address}/ready").status_code == 200:
                return time.monotonic() - began
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError("never ready")


@contextmanager
def signed_in(address: str, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as caller:
        caller.headers["x-csrf-token"] = caller.post("/start", json={"token": token}).json()["csrf"]
        yield caller


def ask(caller: httpx.Client, name: str) -> httpx.Response:
    digest = caller.get("/releases").json()["names"][name]["champion"]
    row = caller.get(f"/releases/{digest}").json()["example"]
    return caller.post(f"/try/{digest}", json={"row": row})


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is loaded is read from /proc")
def test_it_answers_tables_and_images_and_loads_neither_torch_nor_shap(home: Path) -> None:
    process = serve(home)
    try:
        address, token = address_of(process)
        wait_ready(address)
        with signed_in(address, token) as caller:
            for name in ("linear", "trees", "pictures"):
                assert ask(caller, name).status_code == 200
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "lightgbm" in loaded, "the maps name what is loaded"
        assert not re.search(r"site-packages/(torch|shap|numba)/", loaded)

        second = serve(home)
        _, told = second.communicate(timeout=SECONDS)
        assert second.returncode == 2 and "another service holds the workspace" in told
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) in (0, -signal.SIGTERM)


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """The processor time a process has taken so far."""
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processor time is read from /proc")
@pytest.mark.parametrize(
    "kills", [1, pytest.param(50 if os.environ.get("BEDSIDE_SOAK") else 5, marks=pytest.mark.slow)]
)
@pytest.mark.soak
@pytest.mark.timeout(0 if os.environ.get("BEDSIDE_SOAK") else 300)
def test_killed_under_load_no_answer_is_missing_from_the_audit_trail(home: Path, kills: int) -> None:
    """kill −9 while eight callers ask: every answer that came is in the trail, which is whole, and it is ready again in
    less than six seconds (of its own processor's time always, by the clock at best: others may load this machine)."""
    answered: list[int] = []
    starts: list[tuple[float, float]] = []
    for kill in range(kills):
        began = time.monotonic()
        process = serve(home)
        address, token = address_of(process)
        wait_ready(address)
        starts.append((time.monotonic() - began, cpu_seconds(process)))
        with signed_in(address, token) as caller:
            digest = caller.get("/releases").json()["names"]["trees"]["champion"]
            row = caller.get(f"/releases/{digest}").json()["example"]
            headers = {**caller.headers, "cookie": f"bedside={caller.cookies['bedside']}"}

        def keep_asking(address: str = address, headers: dict[str, str] = headers, row: object = row) -> None:
            with httpx.Client(base_url=address, headers=headers, timeout=30) as mine:
                while True:
                    try:
                        got = mine.post("/predict", json={"release": "trees", "row": row, "explain": False})
                    except httpx.TransportError:
                        return
                    if got.status_code == 200:
                        answered.append(got.json()["answers"][0]["audit"])

        threads = [threading.Thread(target=keep_asking) for _ in range(8)]
        for each in threads:
            each.start()
        enough, end = len(answered) + 15 + 7 * (kill % 9), time.monotonic() + SECONDS
        while len(answered) < enough and time.monotonic() < end:
            time.sleep(0.001)
        process.kill()
        process.wait()
        for each in threads:
            each.join()
    workspace = Workspace(home)
    database = Database(workspace.service_url)
    audit = AuditTrail(database, load_or_create_key(workspace.keys), b"")
    audit.verify()
    recorded = {row.index for row in audit.rows() if row["kind"] == "predict"}
    audit.close()
    database.close()
    assert len(answered) >= 15 * kills and len(answered) == len(set(answered))
    assert set(answered) <= recorded
    print("seconds until ready again (clock, processor):", [(round(wall, 2), round(cpu, 2)) for wall, cpu in starts])
    if kills > 1:
        assert min(wall for wall, _ in starts) < 6 and max(cpu for _, cpu in starts) < 6
