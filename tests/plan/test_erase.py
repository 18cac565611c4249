"""`forget`: of an erased patient nothing stays in the store, also not in what was derived, and people are told."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.plan.conftest import PLAN
from typer.testing import CliRunner

import bedside
from bedside.cli import app
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.models.imaging.squares import PIXELS
from bedside.plan.erase import erase
from bedside.plan.memo.scratch import resumable_folder, scratch_folder, sweep
from bedside.plan.release.verify import verify_release
from bedside.synth.admissions import simulate

KNN = {**PLAN, "name": "nearest", "model": "knn", "checks": ["performance"], "gates": {"auroc": 0.5}}
OTHER = {**KNN, "name": "other", "model": "logistic", "split": {"folds": 2, "seed": 3}}


def rows_named_in(workspace: Workspace) -> set[str]:
    """The row ids in every table of the store."""
    found: set[str] = set()
    for digest in workspace.store.digests():
        data = workspace.store.get(digest)
        if data.startswith(b"PAR1"):
            table = pl.read_parquet(io.BytesIO(data))
            found |= set(table["row_id"]) if "row_id" in table.columns else set()
    return found


def test_nothing_of_a_patient_stays_and_what_rests_on_others_is_kept(tmp_path: Path) -> None:
    mine, others = simulate(500, seed=41), simulate(500, seed=42)
    others = others.derive(others.frame.with_columns(pl.col("row_id", "subject") + "-elsewhere"))
    outcome = bedside.run(KNN, mine, home=tmp_path, threads=1)
    bedside.run(OTHER, others, home=tmp_path, threads=1)
    workspace = Workspace(tmp_path)
    models = {digest for name, digest in outcome.facts["digests"].items() if name == "pipeline"}
    subject = mine["subject"][0]
    rows = set(mine.frame.filter(pl.col("subject") == subject)["row_id"])
    assert rows <= rows_named_in(workspace)

    (workspace.cache / PIXELS / "ab").mkdir(parents=True)
    (workspace.cache / PIXELS / "ab" / "image").write_bytes(b"anyone's")

    made = erase(workspace, subject)
    assert not (workspace.cache / PIXELS).exists()
    assert made.cohorts >= 1 and made.actions > 5 and outcome.release is not None
    assert not rows & rows_named_in(workspace), "in a split, in predictions, or in what a model keeps"
    assert not any(workspace.store.has(digest) for digest in models), "a model that kept rows is gone"
    assert {name.split("-")[0] for name in made.runs} == {"nearest", "small"}

    again = bedside.run(OTHER, others, home=tmp_path, threads=1)
    assert all(done.cached for _, done in again.actions), "the other cohort has nothing to do with it"
    told = verify_release(outcome.release, trusted_keys(workspace.keys), Ledger(workspace.ledger_url))
    assert told.ok and any("erased" in each.detail for each in told.answers)
    report = tmp_path / "again.html"
    done = CliRunner().invoke(app, ["report", str(outcome.release), "--out", str(report), "--home", str(tmp_path)])
    assert done.exit_code == 0 and "A patient was erased" in report.read_text(encoding="utf-8")

    # the patient still stands in the source: what is run again is worked out anew, not found half there
    anew = bedside.run(KNN, mine.take(np.flatnonzero(mine["subject"] != subject)), home=tmp_path, threads=1)
    assert anew.release is not None and not rows & rows_named_in(workspace)


def test_a_patient_who_is_not_there_is_said(tmp_path: Path) -> None:
    Workspace(tmp_path).store.put_cohort(simulate(50, seed=1))
    with pytest.raises(bedside.errors.BedsideError, match="no stored cohort"):
        CliRunner().invoke(app, ["forget", "nobody", "--home", str(tmp_path)], catch_exceptions=False)


def test_the_checkpoints_of_a_killed_fit_are_removed_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    Workspace(tmp_path).store.put_cohort(simulate(50, seed=1))
    place = tmp_path / "cache" / "fitting"
    (place / "killed").mkdir(parents=True)
    (place / "killed" / "epoch-3").write_text("learnt from patients")
    with resumable_folder(place, "living") as living:
        erase(Workspace(tmp_path), "nobody")
        assert list(place.iterdir()) == [living]


def test_the_scratch_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    source = (
        "import os, sys\nfrom pathlib import Path\nfrom bedside.plan.memo.scratch import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'rows').write_text('patients')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", source, str(tmp_path)], env=dict(os.environ))
    assert killed.returncode == -9 and len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path) as living:
        assert sweep(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [living]
    assert not list(tmp_path.iterdir())
