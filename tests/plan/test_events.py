"""Long event tables go the whole way: summarised, released with synthetic events, verified, answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import bedside
from bedside.plan.release.opened import open_release
from bedside.plan.release.verify import verify_release

PLAN = """\
plan: 1
name: stays
cohort: {read: events, path: long.csv, subject: id, time: hour, code: what, value: value, clock: hours,
         outcomes: rows.csv, rows: {target: died}}
task: {classify: died}
split: {test: 0.3, seed: 1}
steps: [{summarise_events: [0, 48]}, impute, scale]
model: logistic
baseline: [majority]
checks: [performance]
gates: {auroc: 0.6}
release: {as: stays, stage: assist}
"""


def test_events_reach_a_release_that_answers(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    died = rng.random(400) < 0.3
    events = ["id,hour,what,value"]
    for i in range(400):
        for hour in range(0, 40, 10):
            events.append(f"p{i},{hour},HR,{80 + 15 * died[i] + 8 * rng.standard_normal():.1f}")
        if i % 3:
            events.append(f"p{i},5,Lactate,{1.5 + died[i] + 0.5 * rng.standard_normal():.2f}")
    (tmp_path / "long.csv").write_text("\n".join(events) + "\n")
    (tmp_path / "rows.csv").write_text("id,died\n" + "".join(f"p{i},{int(died[i])}\n" for i in range(400)))
    (tmp_path / "plan.yaml").write_text(PLAN)
    outcome = bedside.run(tmp_path / "plan.yaml", home=tmp_path / "home", threads=1)
    assert outcome.release is not None and outcome.decision.stage == "assist"
    assert verify_release(outcome.release, {}).ok

    golden = open_release(outcome.release, {}).example()
    assert golden.events is not None and set(golden.events["subject_id"]) <= {"golden-0"}
    command = [sys.executable, "-m", "bedside", "predict", str(outcome.release), "--example", "--home", "home"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "p:1" in done.stdout, done.stdout + done.stderr
