"""Two runs of the same rows are compared pair by pair, as two releases are, where the rows are at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.plan.conftest import PLAN

import bedside
from bedside.cohort.cohort import Cohort
from bedside.plan.compare import compare
from bedside.plan.conduct.outcome import Outcome


@pytest.fixture(scope="module")
def other(admissions: Cohort, home: Path) -> Outcome:
    return bedside.run(PLAN | {"name": "other", "model": "naive_bayes"}, admissions, home=home, threads=1)


def test_runs_and_releases_of_the_same_rows_give_the_same_paired_differences(outcome: Outcome, other: Outcome) -> None:
    runs = compare(outcome.report.parent, other.report.parent)
    assert outcome.release is not None and other.release is not None
    releases = compare(outcome.release, other.release)
    mixed = compare(outcome.report.parent, other.release)
    assert runs.paired and all(item.versus is not None for item in runs.paired)
    for made in (releases, mixed):
        assert [item.value for item in made.paired] == pytest.approx([item.value for item in runs.paired])
        assert [item.low for item in made.paired] == pytest.approx([item.low for item in runs.paired])


def test_where_the_rows_are_not_at_hand_or_not_the_same_nothing_is_paired(
    outcome: Outcome, other: Outcome, admissions: Cohort, home: Path, tmp_path: Path
) -> None:
    elsewhere = Path(shutil.copytree(outcome.report.parent, tmp_path / "a" / "b" / "run"))
    assert compare(elsewhere, other.report.parent).paired == ()
    assert not (tmp_path / "a" / "store").exists(), "nothing is made where no workspace is"
    split = PLAN | {"name": "split", "split": {"test": 0.3, "seed": 4}}
    differently = bedside.run(split, admissions, home=home, threads=1)
    assert compare(outcome.report.parent, differently.report.parent).paired == ()
