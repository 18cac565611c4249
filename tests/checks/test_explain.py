"""Explanation: contributions add up, a lie stops, permutation finds what matters, nearest cases are near."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bedside.checks.explain import contributions, nearest, permutation_importance
from bedside.checks.explain.contributions import original
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.models.pipeline import Pipeline
from bedside.models.predictions import Predictions


class Additive:
    """A logistic model of marker and age alone, that tells its terms (off by `lie`)."""

    def __init__(self, task, lie: float = 0.0) -> None:
        self.task = task
        self.lie = lie

    def _terms(self, cohort: Cohort) -> np.ndarray:
        marker = cohort["marker"].fill_null(0.0).to_numpy()
        return np.column_stack([2.0 * marker, (cohort["age"].to_numpy() - 55) / 100])

    def predict(self, cohort: Cohort, *, out=None) -> Predictions:
        p = expit(self._terms(cohort).sum(axis=1) - 0.5)
        return Predictions.of_probabilities(self.task, cohort["row_id"], np.column_stack([1 - p, p]))

    def terms(self, cohort: Cohort):
        return ["marker", "age"], self._terms(cohort), -0.5 + self.lie


class Plain:
    """A model without any explanation of its own: it looks at the marker alone."""

    def __init__(self, task) -> None:
        self.task = task

    def predict(self, cohort: Cohort, *, out=None) -> Predictions:
        p = expit(2 * cohort["marker"].fill_null(0.0).to_numpy())
        return Predictions.of_probabilities(self.task, cohort["row_id"], np.column_stack([1 - p, p]))


def metrics_of(found) -> dict[tuple[str, str | None], float]:
    return {(item.metric, (item.at or {}).get("field")): item.value for item in found.estimates}


def test_terms_are_read_off_exactly(binary):
    found = binary.check("explain", model=Additive(binary.task))
    marker = 2.0 * binary.cohort["marker"].fill_null(0.0).to_numpy()
    values = metrics_of(found)
    assert values["mean_contribution", "marker"] == pytest.approx(np.abs(marker - marker.mean()).mean())
    assert values["additivity_error", None] < 1e-12
    assert {item.id for item in found.findings} == {"explained_by_terms", "contributions_log_odds"}


def test_contributions_that_do_not_add_up_stop(binary):
    found = binary.check("explain", model=Additive(binary.task, lie=1e-4))
    assert [item.severity for item in found.findings if item.id == "explanation_not_additive"] == ["stop"]


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "random_forest"])
def test_contributions_add_up_to_the_score_of_a_real_pipeline(make_binary, run, name):
    if name == "random_forest":
        pytest.importorskip("shap")
    case = make_binary(500)
    spec = {"name": name, "trees": 30} if name == "random_forest" else {"name": name}
    pipeline = Pipeline(spec, calibration="none", threshold={"value": 0.5})
    pipeline.fit(case.cohort, None, None, task=case.task, run=run)
    found = contributions(pipeline, case.cohort, case.task)
    assert found is not None and set(found.fields) == {"marker", "age", "sex"}
    total = found.values.sum(axis=1) + found.base
    score = pipeline.predict(case.cohort).raw_score
    assert (expit(total) if found.scale == "log_odds" else total) == pytest.approx(score, abs=1e-6)
    assert found.error <= 1e-6
    assert np.abs(found.values.mean(axis=0)).max() < 1e-9  # centred on these rows
    evidence = case.check("explain", model=pipeline)
    assert next(iter(metrics_of(evidence)))[1] == "marker"  # the strongest field first
    assert not [item for item in evidence.findings if item.severity == "stop"]


def test_single_rows_are_told_by_position_and_add_up(binary):
    model = Additive(binary.task)
    found = binary.check({"explain": {"single": 5}}, model=model)
    table = next(figure for figure in found.figures if figure.id == "row_explanations").columns
    rows = sorted(set(table["row"]))
    assert len(rows) == 5 and all(isinstance(row, int) for row in rows)
    lp = np.log(binary_score(model, binary) / (1 - binary_score(model, binary)))
    for row in rows:
        mine = [c for r, c in zip(table["row"], table["contribution"], strict=True) if r == row]
        assert sum(mine) == pytest.approx(lp[row], abs=1e-9)
    ids = set(binary.cohort["row_id"]) | set(binary.cohort["subject"])
    assert not ids & {cell for column in table.values() for cell in column if isinstance(cell, str)}


def binary_score(model, case) -> np.ndarray:
    return model.predict(case.cohort).score


def test_every_point_of_a_dependence_figure_stands_for_five_rows_or_more(binary):
    from bedside.checks.explain.figures import BINS

    found = binary.check("explain", model=Additive(binary.task))
    dependence = [figure for figure in found.figures if figure.id == "dependence"]
    assert {figure.axes["x"] for figure in dependence} == {"marker", "age"}
    assert all(len(figure.columns["contribution"]) <= BINS for figure in dependence)
    marker = next(figure for figure in dependence if figure.axes["x"] == "marker")
    assert list(marker.columns["contribution"]) == sorted(marker.columns["contribution"])


def test_a_ranking_of_three_fields_is_stable_when_they_differ_much(make_binary, run):
    case = make_binary(500)
    pipeline = Pipeline("logistic", calibration="none", threshold={"value": 0.5})
    pipeline.fit(case.cohort, None, None, task=case.task, run=run)
    item = case.check("explain", model=pipeline).find("importance_stability")
    assert item.value > 0.9 and item.low <= item.value <= item.high
    few = case.check("explain", model=Additive(case.task)).find("importance_stability")
    assert few.why_not == "why_too_few_fields"


def test_permutation_finds_what_the_model_looks_at(binary):
    found = binary.check("explain", model=Plain(binary.task))
    values = metrics_of(found)
    assert values["permutation_importance", "marker"] > 0.1
    assert values["permutation_importance", "age"] == 0 and values["permutation_importance", "sex"] == 0
    assert found.estimates[0].method == "repeats_t"
    with pytest.raises(PlanError, match="no contributions"):
        binary.check({"explain": "contributions"}, model=Plain(binary.task))


def test_permutation_does_not_depend_on_the_order_of_the_rows(binary):
    order = np.random.default_rng(0).permutation(400)
    model = Plain(binary.task)
    given = {"repeats": 3, "seed": 1, "level": 0.95}
    once = permutation_importance(model, binary.cohort, binary.task, ["marker"], **given)
    again = permutation_importance(model, binary.cohort.take(order), binary.task, ["marker"], **given)
    assert once == again


def test_three_classes_are_explained_by_permutation(multiclass, run):
    pipeline = Pipeline("logistic", calibration="none")
    pipeline.fit(multiclass.cohort, None, None, task=multiclass.task, run=run)
    found = multiclass.check("explain", model=pipeline)
    assert metrics_of(found)["permutation_importance", "x"] > 0


def test_a_number_is_explained_in_its_unit(number, run):
    pipeline = Pipeline("ridge")
    pipeline.fit(number.cohort, None, None, task=number.task, run=run)
    found = number.check("explain", model=pipeline)
    assert metrics_of(found)["additivity_error", None] < 1e-9
    assert "contributions_value" in {item.id for item in found.findings}


def test_columns_go_back_to_the_field_they_were_made_of():
    fields = ["age", "age.group", "sex", "a=b"]
    assert original("sex=F", fields) == "sex"
    assert original("age.missing", fields) == "age"
    assert original("age.group=old", fields) == "age.group"
    assert original("a=b=c", fields) == "a=b"
    assert original("sex=F × age", fields) == "age × sex"
    assert original("agency", fields) == "agency"


def test_explain_needs_a_model_and_knows_its_methods(binary):
    with pytest.raises(PlanError, match="grad_cam"):
        binary.check({"explain": "grad_cam"}, model=Plain(binary.task))


def test_nearest_cases():
    fields = [Field("x", "number"), Field("sex", "category"), Field("y", "category", ("target",))]
    train = Cohort.of({"x": [0.0, 10.0, 20.0, None], "sex": ["F", "F", "M", "M"], "y": ["a", "b", "a", "b"]}, fields)
    spread = np.std([0, 10, 20])
    rows = Cohort.of({"x": [1.0, None], "sex": ["F", None], "y": ["b", "a"]}, fields)
    positions, distances = nearest(train, rows, k=2)
    assert positions[0].tolist() == [0, 1]  # the target is not looked at
    assert distances[0].tolist() == pytest.approx([1 / spread, 9 / spread])
    assert distances[1].tolist() == pytest.approx([np.sqrt(2)] * 2)  # all unknown: 1 a field
    with pytest.raises(DataError, match="9 nearest of 4"):
        nearest(train, rows, k=9)


def test_nearest_of_itself_is_itself(binary):
    known = binary.cohort.take(np.flatnonzero(binary.cohort["marker"].is_not_null().to_numpy()))
    positions, distances = nearest(known, known, k=1)
    assert positions[:, 0].tolist() == list(range(len(known)))
    assert distances.max() == 0
