"""A plan carried through: evidence before gates, everything remembered, the same digest for the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.plan.conftest import PLAN

import bedside
from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError, DataError, PlanError
from bedside.plan.conduct.outcome import Outcome


def test_the_first_landing_holds(outcome: Outcome) -> None:
    (gate,) = outcome.judgements
    assert gate.verdict == "pass" and outcome.decision.stage == "assist" and outcome.exit_code == 0
    assert outcome.report.read_text(encoding="utf-8").lower().startswith("<!doctype html")
    checks = [piece.check for piece in outcome.evidence]
    assert {"performance", "calibration", "subgroups", "leakage", "baseline"} <= set(checks)


def test_a_second_run_does_nothing_again_and_imports_no_model_library(
    outcome: Outcome, admissions: Cohort, home: Path, tmp_path: Path
) -> None:
    again = bedside.run(PLAN, admissions, home=home, threads=1)
    assert all(done.cached for _, done in again.actions)
    assert again.release == outcome.release
    source = tmp_path / "again.py"
    source.write_text(
        "import sys, bedside\n"
        "from bedside.synth.admissions import simulate\n"
        "from tests.plan.conftest import PLAN\n"
        f"bedside.run(PLAN, simulate(2500, seed=5), home={str(home)!r}, threads=1)\n"
        "heavy = {'sklearn', 'lightgbm', 'scipy', 'shap', 'pandas', 'interpret', 'optuna'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, str(source)], cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_only_what_changed_is_done_again(outcome: Outcome, admissions: Cohort, home: Path) -> None:
    changed = {**PLAN, "gates": {"auroc": {"at_least": 0.71}}}
    again = bedside.run(changed, admissions, home=home, threads=1)
    assert {name for name, done in again.actions if not done.cached} == {"gate", "report", "release"}


def test_two_workspaces_come_to_the_same_evidence(outcome: Outcome, admissions: Cohort, tmp_path: Path) -> None:
    other = bedside.run(PLAN, admissions, home=tmp_path / "other", threads=1)
    assert [piece.digest for piece in other.evidence] == [piece.digest for piece in outcome.evidence]
    assert other.facts["digests"] == outcome.facts["digests"]


def test_a_cross_validated_plan_judges_every_row_out_of_fold(admissions: Cohort, home: Path) -> None:
    plan = {
        **PLAN,
        "name": "folds",
        "split": {"by": "subject", "folds": 3, "seed": 3},
        "checks": ["performance", "calibration"],
    }
    outcome = bedside.run(plan, admissions, home=home, threads=1)
    assert outcome.facts["test_rows"] == len(admissions)
    assert outcome.release is not None


def test_minutes_are_counted_once_for_all_folds_and_the_released_model(admissions: Cohort, home: Path) -> None:
    """A busy machine in the third fold must not make it another procedure than that of the first."""
    plan = {
        **PLAN,
        "name": "minutes",
        "split": {"by": "subject", "folds": 3, "seed": 3},
        "search": {"minutes": 0.02, "folds": 2, "space": {"C": [0.01, 10.0, "log"]}},
        "checks": ["performance"],
    }
    outcome = bedside.run(plan, admissions.take(np.arange(1200)), home=home, threads=1)
    fits = [done.output for name, done in outcome.actions if name.startswith("fit model")]
    assert len(fits) == 4  # three folds and the model of all rows
    trials = fits[0]["asked"]["tuning"]["trials"]
    assert trials >= 1
    assert all(fit["asked"] == fits[0]["asked"] for fit in fits)
    assert "minutes" not in fits[0]["asked"]["tuning"]
    assert outcome.release is not None
    saved = json.loads(next(outcome.release.rglob("pipeline.json")).read_text())
    assert saved["fitted"]["tuned"]["trials"] == trials


def test_a_leak_is_refused(home: Path) -> None:
    from bedside.synth.admissions import simulate

    outcome = bedside.run({**PLAN, "name": "leak"}, simulate(2500, seed=5, leak=True), home=home, threads=1)
    assert outcome.decision.stage is None and outcome.release is None and outcome.exit_code == 3
    assert ("stage_integrity_broken", "leak_suspected") in outcome.decision.reasons


def test_a_failed_gate_leaves_the_release_at_research(admissions: Cohort, home: Path) -> None:
    outcome = bedside.run(
        {**PLAN, "name": "ambitious", "gates": {"auroc": {"at_least": 0.99}}}, admissions, home=home, threads=1
    )
    assert outcome.decision.stage == "research" and outcome.exit_code == 3


def test_an_unknown_column_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "plan: 1\nname: x\ncohort: {path: data.csv}\ntask:\n  classify: outcome\n"
        "model: logistic\nchecks: [performance]\n"
    )
    with pytest.raises(DataError, match=r"plan\.yaml, line 5.*outcome") as caught:
        bedside.run(plan, home=tmp_path / "home")
    assert "fields: a, b" in str(caught.value)


def test_a_missing_file_is_refused_with_the_line(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("plan: 1\nname: x\ncohort:\n  path: no.csv\ntask: {classify: y}\nmodel: logistic\n")
    with pytest.raises(DataError, match=r"plan\.yaml, line 4"):
        bedside.run(plan, home=tmp_path / "home")


def test_a_subject_on_both_sides_of_a_given_split_is_refused(admissions: Cohort, home: Path) -> None:
    import numpy as np
    import polars as pl

    from bedside.cohort.schema import Field

    half = pl.Series(np.where(np.arange(len(admissions)) % 2 == 0, "train", "test"))
    given = admissions.with_columns({"part": half}, [Field("part", "category", ())])
    plan = {**PLAN, "name": "official", "split": {"by": "column:part", "seed": 3}}
    with pytest.raises(BedsideError, match="subjects"):
        bedside.run(plan, given, home=home, threads=1)
    waived = {**plan, "split": {**plan["split"], "waive": "shared_subjects"}}
    outcome = bedside.run(waived, given, home=home, threads=1)
    assert outcome.decision.stage == "research"
    assert ("stage_capped", "shared_subjects_waived") in outcome.decision.reasons


@pytest.mark.parametrize("rows", [3, 30])
def test_too_few_patients_are_refused_clearly(admissions: Cohort, tmp_path: Path, rows: int) -> None:
    import numpy as np

    with pytest.raises((DataError, PlanError)) as caught:
        bedside.run(PLAN, admissions.take(np.arange(rows)), home=tmp_path)
    assert caught.value.way_out


def test_one_class_is_refused_clearly(admissions: Cohort, tmp_path: Path) -> None:
    import polars as pl

    alive = admissions.take(
        (admissions["died_in_hospital"].cast(pl.String).is_in(["false", "no", "0"])).arg_true().to_list()
    )
    with pytest.raises(DataError, match="one class"):
        bedside.run(PLAN, alive, home=tmp_path)
