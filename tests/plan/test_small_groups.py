"""No group of fewer patients than the plan allows is named in anything that leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.plan.conftest import PLAN

import bedside
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.plan.actions.grouping import merged
from bedside.plan.release.verify import verify_release

RARE = {"Atlantean": 3, "Lemurian": 2}


@pytest.fixture(scope="module")
def rare(admissions: Cohort) -> Cohort:
    origin = np.full(len(admissions), "common", dtype=object)
    subjects = admissions["subject"].unique(maintain_order=True).to_list()
    start = 0
    for name, n in RARE.items():
        origin[admissions["subject"].is_in(subjects[start : start + n]).to_numpy()] = name
        start += n
    field = Field("origin", "category", ("sensitive",))
    return admissions.with_columns({"origin": pl.Series(origin.astype(str))}, [field])


@pytest.mark.parametrize("smallest", [5, 1])
def test_a_release_names_no_group_of_very_few(rare: Cohort, tmp_path: Path, smallest: int) -> None:
    plan = {
        **PLAN,
        "split": {"folds": 2, "seed": 3},
        "checks": ["performance", {"subgroups": {"by": ["origin", "sex"]}}],
        "release": {"as": "small", "stage": "research", "smallest_group": smallest},
    }
    outcome = bedside.run(plan, rare, home=tmp_path, threads=1)
    assert outcome.release is not None
    held = {
        path.relative_to(outcome.release).as_posix(): path.read_bytes()
        for path in outcome.release.rglob("*")
        if path.is_file() and path.parts[-2] != "model"
    }
    rows = pl.read_parquet(outcome.release / "rows" / "cohort.parquet")
    named = {place for place, data in held.items() if any(name.encode() in data for name in RARE)}
    if smallest == 1:
        assert {"evidence.json", "report.html"} <= named and set(RARE) <= set(rows["origin"])
    else:
        assert named == set() and set(rows["origin"]) == {"common", "other (n < 5)"}
        assert rows.filter(pl.col("origin") == "other (n < 5)")["subject"].n_unique() == sum(RARE.values())
        (refused,) = {str(item.group) for item in outcome.evidence[-3].estimates if "other (n < 5)" in str(item.group)}
        assert "origin" in refused
    answers = {each.id: each.result for each in verify_release(outcome.release, {}).answers}
    assert answers["verify_recompute"] == answers["verify_gates"] == "ok"


def test_groups_are_counted_by_patient_and_the_order_of_levels_stays() -> None:
    stages = ["I", "I", "II", "II", "II", "III", None]
    cohort = Cohort.of(
        {"stage": stages, "smoker": [True, True, True, True, True, False, True]},
        [Field("stage", "ordinal", levels=("I", "II", "III")), Field("smoker", "boolean")],
        subject=["a", "b", "c", "c", "c", "d", "e"],
    )
    made = merged(cohort, ["stage", "smoker"], 2)
    other = "other (n < 2)"
    assert made["stage"].to_list() == ["I", "I", other, other, other, other, None]
    assert made.schema["stage"].levels == ("I", other) and made.schema["smoker"].levels == ("true", other)
    assert merged(cohort, ["stage", "smoker"], 1).frame.equals(cohort.frame)
