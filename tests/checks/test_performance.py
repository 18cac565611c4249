"""Performance, calibration, utility, thresholds: values equal to scikit-learn's and statsmodels', with their n."""

import numpy as np
import pytest
from sklearn import metrics as sk

from bedside.errors import DataError, PlanError


def close(value: float) -> object:
    return pytest.approx(value, abs=1e-12)


def test_discrimination_and_losses_equal_scikit_learn(clustered):
    found = clustered.check("performance")
    y, p = clustered.y, clustered.p
    assert found.find("auroc").value == close(sk.roc_auc_score(y, p))
    assert found.find("average_precision").value == close(sk.average_precision_score(y, p))
    assert found.find("brier").value == close(sk.brier_score_loss(y, p))
    assert found.find("log_loss").value == close(sk.log_loss(y, p))
    assert found.find("prevalence").value == close(y.mean())
    assert found.find("scaled_brier").value == close(1 - sk.brier_score_loss(y, p) / (y.mean() * (1 - y.mean())))


def test_calls_are_those_of_the_declared_operating_point(binary):
    found = binary.check("performance")
    y, call = binary.y, (binary.p >= 0.3).astype(int)
    assert found.find("sensitivity").value == close(sk.recall_score(y, call))
    assert found.find("specificity").value == close(sk.recall_score(y, call, pos_label=0))
    assert found.find("ppv").value == close(sk.precision_score(y, call))
    assert found.find("npv").value == close(sk.precision_score(y, call, pos_label=0))
    assert found.find("accuracy").value == close(sk.accuracy_score(y, call))
    assert found.find("balanced_accuracy").value == close(sk.balanced_accuracy_score(y, call))
    assert found.find("f1").value == close(sk.f1_score(y, call))
    assert found.find("mcc").value == close(sk.matthews_corrcoef(y, call))
    assert found.find("sensitivity").at is None


def test_n_is_what_the_number_rests_on(clustered):
    found = clustered.check("performance")
    y, call = clustered.y == 1, clustered.p >= 0.3
    denominators = {"sensitivity": y, "specificity": ~y, "ppv": call, "npv": ~call, "auroc": np.ones(len(y), bool)}
    for metric, rows in denominators.items():
        item = found.find(metric)
        assert item.n_rows == rows.sum()
        assert item.n_subjects == len(np.unique(clustered.cohort.subject_codes[rows]))
        assert item.n_events == y.sum()


def test_curves_are_thin_and_end_at_the_corners(make_binary):
    found = make_binary(5000).check("performance")
    roc, precision_recall, confusion = found.figures
    assert (roc.id, precision_recall.id, confusion.id) == ("roc", "precision_recall", "confusion_matrix")
    x, height = roc.columns["false_positive_rate"], roc.columns["true_positive_rate"]
    assert 100 < len(x) <= 200
    assert (x[0], height[0], x[-1], height[-1]) == (0, 0, 1, 1)
    assert list(x) == sorted(x) and list(height) == sorted(height)
    case = make_binary(5000)
    # The trapezoid under the thinned curve loses at most what lies between two of its points.
    assert np.trapezoid(height, x) == pytest.approx(sk.roc_auc_score(case.y, case.p), abs=2e-3)
    assert len(precision_recall.columns["recall"]) <= 200
    assert sum(confusion.columns["count"]) == 5000


def test_rows_without_truth_are_left_out_and_said(binary):
    import polars as pl

    column = binary.cohort["died"].to_list()
    column[:7] = [None] * 7
    partial = binary.cohort.with_columns({"died": pl.Series("died", column, dtype=pl.String)})
    found = type(binary)(partial, binary.task, binary.predictions).check("performance")
    whole = binary.take(np.arange(7, 400)).check("performance")
    assert found.estimates == whole.estimates
    assert [item.id for item in found.findings] == ["rows_without_truth"]


def test_one_class_is_refused_with_the_reason(binary):
    found = binary.take(np.flatnonzero(binary.y == 0)).check("performance")
    item = found.find("auroc")
    assert (item.value, item.why_not) == (None, "why_one_class")
    assert found.find("sensitivity").n_rows == 0
    assert found.find("specificity").value is not None


def test_predictions_of_other_rows_are_an_error(binary):
    with pytest.raises(DataError, match="same rows in the same order"):
        type(binary)(binary.cohort, binary.task, binary.predictions.take(np.arange(399, -1, -1))).check("performance")


def test_three_classes_equal_scikit_learn(multiclass):
    found = multiclass.check("performance")
    y, p = multiclass.y, multiclass.predictions.probabilities
    call = p.argmax(axis=1)
    assert found.find("auroc_macro").value == close(sk.roc_auc_score(y, p, multi_class="ovr"))
    assert found.find("auroc_hand_till").value == close(sk.roc_auc_score(y, p, multi_class="ovo"))
    assert found.find("log_loss").value == close(sk.log_loss(y, p))
    assert found.find("f1_macro").value == close(sk.f1_score(y, call, average="macro"))
    assert found.find("kappa").value == close(sk.cohen_kappa_score(y, call))
    assert found.find("accuracy").value == close(sk.accuracy_score(y, call))
    assert found.find("auroc", at={"class": "b"}).value == close(sk.roc_auc_score(y == 1, p[:, 1]))
    assert found.find("sensitivity", at={"class": "c"}).n_rows == (y == 2).sum()


def test_a_number_equals_scikit_learn_in_its_unit(number):
    found = number.check("performance")
    y, guess = number.y, number.p
    assert found.find("mae").value == close(sk.mean_absolute_error(y, guess))
    assert found.find("rmse").value == close(sk.root_mean_squared_error(y, guess))
    assert found.find("r2").value == close(sk.r2_score(y, guess))
    assert found.find("median_ae").value == close(sk.median_absolute_error(y, guess))
    assert found.find("bias").value == close(np.mean(guess - y))
    assert {found.find(metric).unit for metric in ("mae", "rmse", "bias", "agreement_lower")} == {"d"}
    assert found.find("r2").unit is None


def test_calibration_slope_is_the_offset_fit_of_statsmodels(binary):
    sm = pytest.importorskip("statsmodels.api")
    found = binary.check("calibration")
    y, lp = binary.y, np.log(binary.p / (1 - binary.p))
    slope = sm.GLM(y, sm.add_constant(lp), family=sm.families.Binomial()).fit().params[1]
    intercept = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=lp).fit().params[0]
    assert found.find("calibration_slope").value == pytest.approx(slope, abs=1e-8)
    assert found.find("calibration_in_the_large").value == pytest.approx(intercept, abs=1e-8)
    assert found.find("oe_ratio").value == close(y.sum() / binary.p.sum())
    assert [figure.id for figure in found.figures] == ["calibration_curve", "risk_distribution"]
    assert sum(found.figures[1].columns["count"]) == 400


def test_wrong_risks_are_said_in_words(make_binary):
    from bedside.models.predictions import Predictions

    case = make_binary(3000)
    lp = np.log(case.p / (1 - case.p))
    p = 1 / (1 + np.exp(-(3 * lp - 1)))
    extreme = Predictions.of_probabilities(case.task, case.cohort["row_id"], np.column_stack([1 - p, p]))
    found = type(case)(case.cohort, case.task, extreme).check("calibration")
    assert {item.id for item in found.findings} == {"risks_too_extreme", "risks_too_low"}


def test_perfect_separation_has_no_slope_but_says_so(binary):
    from bedside.models.predictions import Predictions

    p = np.where(binary.y == 1, 0.9, 0.1)
    perfect = Predictions.of_probabilities(binary.task, binary.cohort["row_id"], np.column_stack([1 - p, p]))
    found = type(binary)(binary.cohort, binary.task, perfect).check("calibration")
    assert found.find("calibration_slope").why_not == "why_separated"
    assert found.find("ici").why_not == "why_separated"


def test_net_benefit_of_the_model_all_and_none(binary):
    found = binary.check("utility")
    y, p, t = binary.y, binary.p, 0.3
    expected = ((p >= t) & (y == 1)).mean() - ((p >= t) & (y == 0)).mean() * t / (1 - t)
    everyone = y.mean() - (1 - y.mean()) * t / (1 - t)
    at = {"threshold": t}
    assert found.find("net_benefit", at=at).value == close(expected)
    assert found.find("net_benefit_treat_all", at=at).value == close(everyone)
    assert found.find("net_benefit", at=at, versus="treat_all").value == close(expected - everyone)
    assert found.find("interventions_avoided", at=at).value == close((expected - everyone) / (t / (1 - t)) * 100)
    curve = found.figures[0]
    assert list(dict.fromkeys(curve.columns["series"])) == ["model", "treat_all", "treat_none"]
    odds = t / (1 - t)
    assert min(curve.columns["threshold"]) == pytest.approx(odds / 5 / (1 + odds / 5))


def test_baselines_stand_on_the_decision_curve(binary):
    found = binary.check("utility", reference={"age_only": binary.predictions})
    assert "age_only" in found.figures[0].columns["series"]
    assert found.find("net_benefit", at={"threshold": 0.3}, versus="age_only").value == 0


def test_utility_refuses_a_range_outside_0_and_1(binary):
    with pytest.raises(PlanError, match="not within 0 and 1"):
        binary.check({"utility": {"low": 0.4, "high": 0.2}})


def test_consequences_add_up(binary):
    found = binary.check("thresholds")
    y, p = binary.y == 1, binary.p
    for at, t in ((None, 0.3), ({"threshold": 0.5}, 0.5)):
        called, hit, missed, false = (
            found.find(metric, at=at).value for metric in ("called", "events_called", "events_missed", "false_alarms")
        )
        assert called == close((p >= t).mean())
        assert hit + false == close(called)
        assert hit + missed == close(y.mean())
    with pytest.raises(PlanError, match="probability"):
        binary.check({"thresholds": [1.5]})


@pytest.mark.parametrize("interval", ["clopper_pearson", "jeffreys"])
def test_the_interval_of_shares_may_be_asked_for(binary, clustered, interval):
    exact = binary.check({"performance": {"interval": interval}})
    usual = binary.check("performance")
    for metric in ("sensitivity", "specificity", "ppv", "npv", "accuracy", "prevalence"):
        assert exact.find(metric).method == interval
        assert exact.find(metric).value == usual.find(metric).value
        assert exact.find(metric).low != usual.find(metric).low
    assert exact.find("f1") == usual.find("f1")
    assert exact.find("balanced_accuracy") == usual.find("balanced_accuracy")
    of_patients = clustered.check({"performance": {"interval": interval}})
    assert of_patients.find("sensitivity").method == f"{interval}_clustered"
    with pytest.raises(PlanError, match="wilson, clopper_pearson, jeffreys"):
        binary.check({"performance": {"interval": "exact"}})
