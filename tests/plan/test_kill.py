"""kill −9 at any point: no finished action is redone, none is half there. Also: two runs at once, a read-only place."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bedside.cohort.workspace import Workspace
from bedside.synth.admissions import simulate

SOAK = os.environ.get("BEDSIDE_SOAK") == "1"
KILLS = 50 if SOAK else 5
PLAN = """\
plan: 1
name: killed
cohort: {path: data.parquet, subject: subject}
task: {classify: died_in_hospital}
split: {folds: 2, seed: 1}
model: logistic
baseline: [majority]
checks: [performance, calibration, missingness]
gates: {auroc: 0.6}
release: {as: killed, stage: assist}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    simulate(1200, seed=2).frame.write_parquet(tmp_path / "data.parquet")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def start(place: Path, home: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bedside", "run", "plan.yaml", "--home", home, "--threads", "1"]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(home: Path) -> list[str]:
    if not (home / "memo.sqlite").exists():
        return []
    with sqlite3.connect(home / "memo.sqlite") as connection:
        try:
            return [row[0] for row in connection.execute("SELECT key FROM attempts WHERE finished IS NOT NULL")]
        except sqlite3.OperationalError:
            return []


def evidence(home: Path) -> object:
    (run,) = (home / "runs").iterdir()
    return json.loads((run / "evidence.json").read_bytes())


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600 if SOAK else 300)
def test_a_run_killed_again_and_again_loses_and_redoes_nothing(place: Path) -> None:
    whole = start(place, "whole")
    began = time.monotonic()
    output, _ = whole.communicate(timeout=240)
    seconds = time.monotonic() - began
    assert whole.returncode in (0, 3), output

    rng = random.Random(17)
    kills, round_ = 0, 0
    while kills < KILLS:
        home = place / f"home-{round_}"
        for attempt in range(100):
            began = time.monotonic()
            process = start(place, home.name)
            try:
                process.wait(timeout=rng.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
            if process.returncode >= 0:
                if attempt == 0:  # the machine is faster now than when the whole run was timed
                    seconds = time.monotonic() - began
                break
        assert process.returncode == whole.returncode
        keys = finished(home)
        assert len(keys) == len(set(keys)), "a finished action was done again"
        assert evidence(home) == evidence(place / "whole")
        store = Workspace(home).store
        for digest in store.digests():
            store.get(digest)  # raises when an object is half there
        (made,) = (path for path in (home / "releases").iterdir() if path.is_dir())
        assert (made / "signature.dsse.json").is_file()
        round_ += 1


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(place: Path) -> None:
    pair = [start(place, "home") for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in pair]
    assert {process.returncode for process in pair} <= {0, 3}, outputs
    keys = finished(place / "home")
    assert len(keys) == len(set(keys)), "both did the same action"


def test_a_read_only_workspace_is_said_so(place: Path) -> None:
    home = place / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(home)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a read-only file system needs root")
    try:
        process = start(place, "home")
        output, _ = process.communicate(timeout=60)
    finally:
        subprocess.run(["umount", str(home)], check=True)
    assert process.returncode == 2 and "--home" in output and "Traceback" not in output


@pytest.mark.slow
def test_a_full_disk_is_said_so_and_the_run_goes_on_when_there_is_room(place: Path) -> None:
    home = place / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(home)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        process = start(place, "home")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 2 and "Traceback" not in output, output
        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
        process = start(place, "home")
        output, _ = process.communicate(timeout=240)
        assert process.returncode in (0, 3), output
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)
