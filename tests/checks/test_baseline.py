"""Baseline, missingness and sample sizes."""

import numpy as np
import pytest

from bedside.checks.development_size import candidate_parameters
from bedside.errors import DataError, PlanError
from bedside.evidence.metrics.ranking import auroc_difference
from bedside.models.predictions import Predictions


def made(case, p):
    return Predictions.of_probabilities(case.task, case.cohort["row_id"], np.column_stack([1 - p, p]))


def test_paired_differences_are_model_minus_baseline(clustered):
    other = np.clip(clustered.p + np.random.default_rng(0).normal(0, 0.1, 600), 0, 1)
    found = clustered.check("baseline", reference={"logistic": made(clustered, other)})
    expected = auroc_difference(clustered.y, clustered.p, other, subject=clustered.cohort.subject_codes)
    item = found.find("auroc", versus="logistic")
    assert (item.value, item.low, item.high) == (expected.value, expected.low, expected.high)
    assert item.method == "delong_paired_clustered"
    brier = found.find("brier", versus="logistic")
    loss = (clustered.p - clustered.y) ** 2 - (other - clustered.y) ** 2
    assert brier.value == pytest.approx(loss.mean(), abs=1e-15)


@pytest.mark.parametrize(
    ("spread", "expected"), [(0.0, "baseline_not_beaten"), (3.0, "baseline_beaten"), (-1.0, "baseline_wins")]
)
def test_the_finding_says_who_wins(make_binary, spread, expected):
    case = make_binary(2000)
    lp = np.log(case.p / (1 - case.p))
    noise = np.random.default_rng(0).normal(size=2000) * abs(spread)
    model, baseline = (lp + noise, lp) if spread < 0 else (lp, lp + noise)
    judged = type(case)(case.cohort, case.task, made(case, 1 / (1 + np.exp(-model))))
    found = judged.check("baseline", reference={"b": made(case, 1 / (1 + np.exp(-baseline)))})
    assert [item.id for item in found.findings if item.values["metric"] == "auroc"] == [expected]


def test_no_baseline_is_said_and_other_rows_are_an_error(binary):
    assert [item.id for item in binary.check("baseline").findings] == ["baseline_absent"]
    with pytest.raises(DataError, match="baseline 'b'"):
        binary.check("baseline", reference={"b": binary.predictions.take(np.arange(10))})


def test_numbers_and_three_classes_compare_losses(number, multiclass):
    from dataclasses import replace

    import polars as pl

    worse = replace(number.predictions, frame=number.predictions.frame.with_columns(pl.lit(5.0).alias("value")))
    found = number.check("baseline", reference={"mean": worse})
    y, p = number.y, number.p
    difference = np.sqrt(np.mean((p - y) ** 2)) - np.sqrt(np.mean((5 - y) ** 2))
    assert found.find("rmse", versus="mean").value == pytest.approx(difference, abs=1e-12)
    assert found.find("mae", versus="mean").unit == "d"
    found = multiclass.check("baseline", reference={"same": multiclass.predictions})
    assert {item.metric: item.value for item in found.estimates} == {"brier_multiclass": 0, "log_loss": 0}


def test_missing_shares_are_counted_by_class(binary):
    found = binary.check("missingness")
    missing = binary.cohort["marker"].is_null().to_numpy()
    share = found.find("missing_share", at={"field": "marker", "class": "yes"})
    assert share.exact and share.value == missing[binary.y == 1].mean()
    assert share.n_rows == (binary.y == 1).sum()
    assert found.find("incomplete_rows").value == missing.mean()
    assert found.find("auroc_complete_rows").n_rows == (~missing).sum()
    assert found.figures[0].columns["field"] == ("marker",) * 3 or found.figures[0].columns["field"] == ["marker"] * 3


def test_missingness_that_tells_the_outcome_is_named(make_binary):
    import polars as pl

    case = make_binary(2000)
    value = pl.Series(np.where((case.y == 1) & (np.arange(2000) % 2 == 0), 1.0, np.nan)).fill_nan(None)
    cohort = case.cohort.with_columns({"marker": value})
    found = type(case)(cohort, case.task, case.predictions).check("missingness")
    assert {item.id for item in found.findings} == {"missing_much", "missing_informative"}
    assert found.find("auroc_incomplete_rows").value is not None


def test_too_few_complete_rows_are_refused(make_binary):
    import polars as pl

    case = make_binary(300)
    cohort = case.cohort.with_columns({"marker": pl.Series([1.0] * 9 + [None] * 291, dtype=pl.Float64)})
    found = type(case)(cohort, case.task, case.predictions).check("missingness")
    assert found.find("auroc_complete_rows").why_not == "why_too_few_events"
    assert found.find("auroc_complete_rows").n_rows == 9


def test_sizes_of_riley(binary):
    # Riley et al., BMJ 2020;368:m441, box: 24 parameters, prevalence 0.174, R²CS 0.288 → criterion 1 needs 623 rows.
    found = binary.check({"development_size": {"parameters": 24, "r2_cox_snell": 0.288, "n": 500}})
    assert found.find("n_required_shrinkage", at={"parameters": 24}).value == 623
    assert [item.id for item in found.findings] == ["development_too_small"]
    validation = binary.check("sample_size")
    needed = {item.metric: item.value for item in validation.estimates}
    assert needed["n_required_validation"] == max(needed.values())
    assert [item.id for item in validation.findings] == ["validation_too_small"]


def test_parameters_are_counted_as_coefficients(binary):
    assert candidate_parameters(binary.cohort) == 3  # marker, age, one of two sexes
    with pytest.raises(PlanError, match="R²"):
        binary.check({"development_size": {"r2_cox_snell": 0.99}})


def test_one_class_has_no_size(binary):
    found = binary.take(np.flatnonzero(binary.y == 1)).check("sample_size")
    assert found.find("n_required_validation").why_not == "why_one_class"
