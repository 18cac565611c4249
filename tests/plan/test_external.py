"""Local validation: what an update gains is told on subjects it was not fitted on."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.evidence.estimate import Estimate, Scalar
from bedside.plan.release.external import Validation, recalibrated, validate
from bedside.plan.release.opened import open_release
from bedside.plan.release.seen import overlap, sketch
from bedside.synth.admissions import simulate

TARGET = "died_in_hospital"


@pytest.fixture(scope="module")
def local() -> Cohort:
    return simulate(3000, seed=77)


def estimate(made: Validation, metric: str, update: str | None = None) -> Estimate:
    pieces = made.evidence if update is None else made.updated[update]
    at = None if update is None else {"update": update}
    (found,) = [item for piece in pieces if (item := piece.find(metric, at=at)) is not None]
    return found


def holds(item: Estimate, value: float) -> bool:
    return item.low is not None and item.high is not None and item.low <= value <= item.high


def test_a_higher_baseline_risk_is_mended_by_a_new_intercept(release: Path, local: Cohort) -> None:
    """Three of four survivors are not in the local cohort: log odds are log 4 higher at every risk (Prentice 1979)."""
    rng = np.random.default_rng(3)
    died = local[TARGET].to_numpy()
    sicker = local.take(np.flatnonzero(died | (rng.random(len(local)) < 0.25)))
    made = validate(open_release(release, {}), sicker, seed=1)
    assert set(made.updated) == {"intercept", "slope", "refit"}
    assert holds(estimate(made, "calibration_in_the_large"), np.log(4))
    for update in made.updated:
        assert holds(estimate(made, "calibration_in_the_large", update), 0.0), update
    as_it_is, better = estimate(made, "brier"), estimate(made, "brier", "intercept")
    assert better.value is not None and as_it_is.value is not None and better.value < as_it_is.value


def test_of_shuffled_outcomes_no_update_learns_anything(release: Path, local: Cohort) -> None:
    """Would an update see the rows that it is judged on, a refit would tell them apart."""
    shuffled = pl.Series(np.random.default_rng(5).permutation(local[TARGET].to_numpy()))
    made = validate(open_release(release, {}), local.with_columns({TARGET: shuffled}), seed=1)
    for update in made.updated:
        auroc = estimate(made, "auroc", update)
        assert auroc.low is not None and auroc.low < 0.5, update


def test_where_one_update_cannot_be_made_the_others_are_still_compared(release: Path, local: Cohort) -> None:
    """Nine events: an intercept or a slope needs ten, the refit fits a penalised model."""
    died = np.flatnonzero(local[TARGET].to_numpy())
    alive = np.flatnonzero(~local[TARGET].to_numpy())
    few = local.take(np.sort(np.concatenate([died[:9], alive[:300]])))
    made = validate(open_release(release, {}), few, seed=1)
    told = [item for piece in made.evidence for item in piece.findings if item.id == "updates_not_possible"]
    assert [str(item.values["why"]).split(":")[0] for item in told] == ["intercept", "slope"]
    assert set(made.updated) == {"refit"}


def test_an_intercept_moves_log_odds_and_a_slope_stretches_them() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000)
    p = 1 / (1 + np.exp(-z))
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z + 1)))).astype(float)
    new = 1 / (1 + np.exp(-np.array([-2.0, 0.0, 2.0])))
    slope = recalibrated(p, y, new, slope=True)
    assert np.log(slope / (1 - slope)) == pytest.approx([0.0, 1.0, 2.0], abs=0.12)
    intercept = recalibrated(p, y, new, slope=False)
    moved = np.log(intercept / (1 - intercept)) - [-2.0, 0.0, 2.0]
    assert moved == pytest.approx([moved[0]] * 3)
    # the new intercept makes the mean prediction the observed rate
    assert recalibrated(p, y, p, slope=False).mean() == pytest.approx(y.mean(), abs=1e-6)


@pytest.mark.parametrize("slope", [False, True])
def test_a_local_row_of_weight_2_is_two_rows(slope: bool) -> None:
    rng = np.random.default_rng(8)
    p = rng.random(200)
    y = (rng.random(200) < p**2).astype(np.float64)
    w = rng.integers(1, 4, 200)
    new = np.linspace(0.01, 0.99, 9)
    weighted = recalibrated(p, y, new, slope=slope, weights=w.astype(np.float64))
    assert weighted == pytest.approx(recalibrated(np.repeat(p, w), np.repeat(y, w), new, slope=slope), abs=1e-9)


def told(made: Validation, finding: str) -> list[dict[str, Scalar]]:
    return [dict(item.values) for piece in made.evidence for item in piece.findings if item.id == finding]


def test_local_rows_that_the_release_was_developed_on_are_told(
    release: Path, local: Cohort, admissions: Cohort
) -> None:
    opened = open_release(release, {})
    assert told(validate(opened, admissions, refit=False), "validated_on_development") == [{"percent": 100}]
    assert told(validate(opened, local, refit=False), "validated_on_development") == []
    assert told(validate(opened, local, refit=False), "development_overlap_unknown") == []
    names = [name for name in admissions.schema.names if name in local.schema]
    rows = [cohort.keeping(names).frame.select(["row_id", "subject", *names]) for cohort in (admissions, local)]
    mixed = pl.concat([rows[0].head(900), rows[1].head(2100)]).with_columns(
        pl.Series("row_id", [f"r{i}" for i in range(3000)]), pl.Series("subject", [f"s{i}" for i in range(3000)])
    )
    some = Cohort(admissions.keeping(names).schema, mixed)
    (found,) = told(validate(opened, some, refit=False), "validated_on_development")
    assert 24 <= float(str(found["percent"])) <= 36, "three in ten"


def test_of_one_row_the_sketch_says_next_to_nothing(release: Path, local: Cohort) -> None:
    """A stranger's row is found about half of the time, so that being found is no proof of anything."""
    seen = json.loads((release / "seen.json").read_bytes())
    bits = np.unpackbits(np.frombuffer(base64.b64decode(seen["bits"]), dtype=np.uint8), count=seen["size"])
    assert 0.4 < bits.mean() < 0.6
    assert overlap(seen, local.take(np.arange(10))) is None
    share, least = overlap(seen, local) or (1.0, 1.0)
    assert share < 0.1 and least == 0.0


def test_where_rows_look_alike_nothing_is_told() -> None:
    rng = np.random.default_rng(0)
    alike = Cohort.of({"sex": rng.choice(["f", "m"], 500)}, [Field("sex", "category")])
    assert sketch(alike, ["sex"], "salt") is None


def test_the_exit_code_says_whether_every_gate_passes_on_local_data(release: Path, local: Cohort) -> None:
    opened = open_release(release, {})
    good = validate(opened, local, refit=False)
    assert [each.verdict for each in good.judgements] == ["pass"] and good.exit_code == 0
    shuffled = pl.Series(np.random.default_rng(5).permutation(local[TARGET].to_numpy()))
    bad = validate(opened, local.with_columns({TARGET: shuffled}), refit=False)
    assert [each.verdict for each in bad.judgements] == ["fail"] and bad.exit_code == 3
    few = validate(opened, local.take(np.arange(60)), refit=False)
    assert [each.verdict for each in few.judgements] == ["not_enough"] and few.exit_code == 3
