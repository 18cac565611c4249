"""The pipeline: steps, model, calibration and threshold as one that predicts, is saved, and knows what it was shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.cohort.split import hold_out
from bedside.errors import BedsideError, DataError, PlanError
from bedside.models.conformance import TARGETS, example, task_of
from bedside.models.digest import folder_digest
from bedside.models.observed import MIN_ROWS, draw, observe
from bedside.models.pipeline import Pipeline
from bedside.models.task import Classify

RUN = Run(Path(), seed=4, threads=1)


def parts(target: str, rows: int = 900) -> list[Cohort]:
    """train, search, calibrate, test of the example with one target."""
    cohort = example(rows)
    cohort = cohort.keeping([name for name in cohort.schema.names if name == target or name not in TARGETS])
    fold = hold_out(cohort, tune=0.3, seed=1).folds[0]
    return [cohort.take(rows) for rows in (fold.train, fold.search, fold.calibrate, fold.test)]


@pytest.fixture(scope="module")
def event() -> list[Cohort]:
    return parts("event")


@pytest.fixture(scope="module")
def fitted(event: list[Cohort]) -> Pipeline:
    return Pipeline("logistic").fit(*event[:3], task=task_of("event"), run=RUN)


def test_probabilities_are_the_raw_ones_calibrated_and_called_at_the_threshold(
    fitted: Pipeline, event: list[Cohort]
) -> None:
    found = fitted.predict(event[3])
    sigmoid, threshold = fitted.fitted.calibration.maps[0], fitted.fitted.threshold
    assert threshold is not None
    assert np.array_equal(found.score, sigmoid(found.raw_score))
    assert set(found.frame["threshold"]) == {threshold.value}
    assert found.frame["call"].to_list() == ["yes" if p >= threshold.value else "no" for p in found.score]
    assert found.raw_score == pytest.approx(fitted.model.predict(fitted.prepare(event[3])).score, abs=0)


def test_calibration_and_threshold_see_the_calibrate_part_only(fitted: Pipeline, event: list[Cohort]) -> None:
    task = task_of("event")
    assert fitted.fitted.calibration.n_rows == len(event[2])
    p = fitted.predict(event[2]).score
    y = task.truth(event[2])
    best = max(((p >= t) & (y == 1)).sum() / (y == 1).sum() + ((p < t) & (y == 0)).sum() / (y == 0).sum() for t in p)
    threshold = fitted.fitted.threshold
    assert threshold is not None
    assert threshold.sensitivity is not None
    assert threshold.specificity is not None
    assert threshold.sensitivity + threshold.specificity == pytest.approx(best)


def test_three_classes_are_calibrated_and_the_likeliest_is_called() -> None:
    grade = parts("grade")
    found = Pipeline("logistic").fit(*grade[:3], task=task_of("grade"), run=RUN).predict(grade[3])
    assert "threshold" not in found.frame.columns
    assert np.array_equal(found.calls, found.probabilities.argmax(axis=1))


def test_a_number_has_no_calibration_and_no_threshold() -> None:
    stay = parts("stay")
    pipeline = Pipeline("ridge").fit(stay[0], stay[1], None, task=task_of("stay"), run=RUN)
    assert pipeline.fitted.calibration.method == "none"
    assert pipeline.fitted.threshold is None
    assert pipeline.predict(stay[3]).frame.columns == ["row_id", "value"]


def test_saved_and_loaded_it_is_the_same(fitted: Pipeline, event: list[Cohort], tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = Pipeline.load(tmp_path)
    assert loaded.predict(event[3]).digest == fitted.predict(event[3]).digest
    assert loaded.to_json() == fitted.to_json()
    golden = fitted.golden()
    assert loaded.predict(golden).digest == fitted.predict(golden).digest


def test_the_order_of_the_rows_of_any_part_is_nothing(event: list[Cohort], tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        mixed = [part.take(rng.permutation(len(part))) for part in event[:3]]
        folder = tmp_path / str(seed)
        folder.mkdir()
        Pipeline("lightgbm", calibration="beta").fit(*mixed, task=task_of("event"), run=RUN).save(folder)
        digests.add(folder_digest(folder))
    assert len(digests) == 1


def test_a_missing_input_is_named(fitted: Pipeline, event: list[Cohort]) -> None:
    kept = [name for name in event[3].schema.names if name not in ("age", "ward")]
    with pytest.raises(DataError, match="2 input fields are missing: age, ward"):
        fitted.predict(event[3].keeping(kept))


def test_the_target_and_what_was_not_learnt_are_not_looked_at(fitted: Pipeline, event: list[Cohort]) -> None:
    wanted = fitted.predict(event[3]).score
    test = event[3].keeping(fitted.input_schema.names)
    assert np.array_equal(fitted.predict(test).score, wanted)
    other = test.with_columns({"later": pl.Series([1.0] * len(test))}, [Field("later", "number")])
    assert np.array_equal(fitted.predict(other).score, wanted)


def test_a_field_read_as_another_kind_is_taken_as_learnt_or_named(fitted: Pipeline, event: list[Cohort]) -> None:
    test = event[3]
    as_text = test.with_fields([replace(test.schema["ward"], kind="text", roles=())])
    assert np.array_equal(fitted.predict(as_text).score, fitted.predict(test).score)
    as_number = test.with_columns({"ward": pl.Series([1.0] * len(test))}, [Field("ward", "number")])
    with pytest.raises(DataError, match="'ward' is a number; the model learnt it as a category"):
        fitted.predict(as_number)


def test_without_rows_to_calibrate_on_the_plan_must_say_none(event: list[Cohort]) -> None:
    task = task_of("event")
    with pytest.raises(PlanError, match="no rows to calibrate"):
        Pipeline("logistic").fit(event[0], None, None, task=task, run=RUN)
    with pytest.raises(PlanError, match="threshold by youden"):
        Pipeline("logistic", calibration="none").fit(event[0], None, None, task=task, run=RUN)
    found = Pipeline("logistic", calibration="none", threshold=0.3).fit(event[0], None, None, task=task, run=RUN)
    assert set(found.predict(event[3]).frame["threshold"]) == {0.3}


def test_too_few_events_to_calibrate_are_said(event: list[Cohort]) -> None:
    few = event[2].take(np.arange(12))
    with pytest.raises(DataError, match="calibration by sigmoid needs 10 rows of each class"):
        Pipeline("logistic").fit(event[0], None, few, task=task_of("event"), run=RUN)
    found = Pipeline("logistic", calibration="auto").fit(event[0], None, few, task=task_of("event"), run=RUN)
    assert [item.id for item in found.findings()] == ["calibration_skipped"]


@pytest.mark.parametrize(
    "bad",
    [
        {"model": "logistc"},
        {"model": {"name": "logistic", "c": 1}},
        {"model": "logistic", "steps": ["imputee"]},
        {"model": "logistic", "calibration": "plat"},
        {"model": "logistic", "threshold": "best"},
    ],
)
def test_a_spec_that_cannot_be_read_is_an_error_before_any_fit(bad: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Pipeline(**bad)


def test_before_fit_it_says_so(event: list[Cohort]) -> None:
    with pytest.raises(BedsideError, match="not fitted"):
        Pipeline("logistic").predict(event[3])


# -- what training showed -----------------------------------------------------------------------------------------


def test_ranges_and_levels_describe_no_single_patient() -> None:
    values = [float(i) for i in range(100)] + [1e6]
    wards = ["icu"] * 50 + ["medical"] * 47 + ["rare"] * 4
    cohort = Cohort.of(
        {"age": values, "ward": wards, "flag": [True] * 101}, [Field("age", "number"), Field("ward", "category"),
        Field("flag", "boolean")],
    )  # fmt: skip
    seen = observe(cohort)
    assert (seen["age"]["low"], seen["age"]["high"], seen["age"]["whole"]) == (4.0, 96.0, True)
    assert max(seen["age"]["quantiles"]) == 96.0
    assert set(seen["ward"]["levels"]) == {"icu", "medical"}
    assert sum(v <= 4.0 for v in values) >= MIN_ROWS
    drawn = draw(cohort.schema.fields, seen, 500, seed=1)
    assert drawn["age"].max() <= 96.0
    assert set(drawn["ward"]) == {"icu", "medical"}


def test_golden_rows_are_the_same_every_time_and_miss_what_training_missed(fitted: Pipeline) -> None:
    golden = fitted.golden(200, seed=3)
    assert golden.digest == fitted.golden(200, seed=3).digest
    assert golden.digest != fitted.golden(200, seed=4).digest
    assert 0 < golden["marker"].null_count() < 60
    assert golden["age"].is_not_null().any()
    assert golden["smoker"].null_count() == 0


def test_what_leaves_the_range_of_training_is_flagged(fitted: Pipeline, event: list[Cohort]) -> None:
    row = event[3].take([0])
    frame = row.frame.with_columns(
        age=pl.lit(150.0), marker=pl.lit(-1.0), ward=pl.lit("hospice"), smoker=pl.lit(None, dtype=pl.Boolean)
    )
    found = fitted.outside(row.derive(frame))
    assert set(zip(found["field"], found["why"], strict=True)) >= {
        ("age", "above"),
        ("marker", "below"),
        ("ward", "unseen"),
        ("smoker", "missing"),
    }


def test_all_missing_or_tiny_fields_are_observed() -> None:
    fields = [Field("a", "number"), Field("t", "time"), Field("x", "text"), Field("w", "category")]
    cohort = Cohort.of(pl.DataFrame({"a": [None, None], "t": [None, None], "x": ["p", "q"], "w": ["u", "v"]}), fields)
    seen = observe(cohort)
    assert seen["a"] == {"kind": "number", "missing": 1.0}
    assert len(draw(fields, seen, 5, seed=0)) == 5


def test_costs_choose_the_threshold(event: list[Cohort]) -> None:
    task = Classify("event", ("no", "yes"), "yes", costs={"false_negative": 3.0, "false_positive": 1.0})
    found = Pipeline("logistic", threshold="cost").fit(*event[:3], task=task, run=RUN)
    assert found.fitted.threshold is not None
    assert found.fitted.threshold.value == 0.25
