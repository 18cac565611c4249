"""Models over a matrix: what they refuse and how they say it, weights, seeds, findings."""

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
from bedside.errors import BedsideError, DataError, PlanError
from bedside.models import catalogue
from bedside.models.conformance import Case, NotConforming, keeps_no_row
from bedside.models.tabular.matrix import weights
from bedside.models.task import Classify, Regress

RUN = Run(Path(), seed=1, threads=1)
TASK = Classify("y", ("no", "yes"), "yes", costs={"false_negative": 5, "false_positive": 1})


def cohort(n: int = 200, **changed: Any) -> Cohort:
    """Two numbers and a boolean that predict y, and v as a number."""
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=n), rng.normal(size=n), rng.random(n) < 0.5
    z = 2 * a - b + c
    columns = {
        "a": a,
        "b": b,
        "c": c,
        "y": np.where(z + rng.normal(size=n) > 0, "yes", "no"),
        "v": 100 + 20 * z,
    } | changed
    kinds: dict[str, Any] = {"c": "boolean", "y": "category"}
    fields = [Field(k, kinds.get(k, "number"), ("target",) if k in "yv" else ("input",)) for k in columns]
    return Cohort.of(pl.DataFrame(columns), fields)


def fit(spec: Any, data: Cohort, task: Any = TASK, tune: Cohort | None = None) -> Any:
    return catalogue.build(spec).fit(data, tune, task=task, run=RUN)


def with_field(data: Cohort, item: Field, values: Any) -> Cohort:
    return data.with_columns({item.name: pl.Series(item.name, values)}, [item])


def test_a_category_is_named_with_the_way_out() -> None:
    data = with_field(cohort(), Field("ward", "category"), ["icu"] * 200)
    with pytest.raises(DataError, match="'ward' is a category") as error:
        fit("logistic", data)
    assert error.value.way_out == "add the step encode"


def test_missing_values_are_counted_and_named_unless_the_model_takes_them() -> None:
    data = cohort(b=np.where(np.arange(200) < 12, np.nan, np.arange(200.0)))
    with pytest.raises(DataError, match="'b' has 12 missing values") as error:
        fit("logistic", data)
    assert error.value.way_out == "add the step impute"
    for spec in ("lightgbm", {"name": "random_forest", "trees": 5}):
        assert len(fit(spec, data).predict(data)) == 200


def test_infinite_values_are_named() -> None:
    with pytest.raises(DataError, match="'a' holds infinite"):
        fit("lightgbm", cohort(a=np.where(np.arange(200) == 3, np.inf, 0.5)))


def test_no_input_and_no_rows() -> None:
    data = cohort()
    without = data.with_fields([replace(item, roles=("sensitive",)) for item in data.schema.inputs])
    with pytest.raises(DataError, match="no input field"):
        fit("logistic", without)
    with pytest.raises(DataError, match="no rows"):
        fit("logistic", data.take([]))


def test_a_missing_target_is_counted() -> None:
    with pytest.raises(DataError, match="missing or of an unknown class in 7 of 200 rows"):
        fit("logistic", cohort(y=["maybe"] * 7 + ["no", "yes"] * 96 + ["no"]))


def test_a_field_that_is_absent_or_of_another_kind_in_use_is_named() -> None:
    model = fit("logistic", cohort())
    with pytest.raises(DataError, match="'b' is missing"):
        model.predict(cohort().keeping(["a", "c"]))
    other = with_field(cohort().keeping(["a", "c"]), Field("b", "boolean"), [True] * 200)
    with pytest.raises(DataError, match="'b' is a boolean"):
        model.predict(other)


def test_no_rows_give_no_predictions() -> None:
    for spec in ("logistic", "lightgbm", "majority"):
        assert len(fit(spec, cohort()).predict(cohort().take([]))) == 0


def test_before_fit_there_is_nothing_to_use() -> None:
    for name in ("logistic", "majority", {"name": "rules", "rules": []}):
        with pytest.raises(BedsideError, match="not fitted"):
            catalogue.build(name).predict(cohort())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "random_forest", "max_features": "many"}, "max_features"),
        ({"name": "logistic", "C": -1.0}, "C"),
        ({"name": "lightgbm", "leaves": 1}, "num_leaves"),
        ({"name": "knn", "k": 0}, "n_neighbors"),
    ],
)
def test_a_value_the_library_refuses_is_an_error_of_the_plan(spec: Any, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        fit(spec, cohort())


def test_a_weight_of_two_is_the_row_twice() -> None:
    data = cohort()
    w = np.where(np.arange(200) % 3 == 0, 2.0, 1.0)
    weighted = with_field(data, Field("w", "number", ("weight",)), w)
    rows = np.repeat(np.arange(200), w.astype(int))
    repeated = data.derive(data.frame[rows].with_columns(row_id=pl.Series([f"{i:04d}" for i in range(len(rows))])))
    ours, theirs = (fit({"name": "logistic", "C": None}, each).predict(data).score for each in (weighted, repeated))
    assert np.abs(ours - theirs).max() < 1e-4
    assert fit("majority", weighted).predict(data).score == pytest.approx(fit("majority", repeated).predict(data).score)


def test_weights_multiply_field_and_class_and_average_one() -> None:
    data = with_field(cohort(), Field("w", "number", ("weight",)), np.linspace(1, 3, 200))
    y = TASK.truth(data)
    found = weights(data, TASK, y, "costs")
    assert found is not None
    assert found.mean() == pytest.approx(1)
    expected = np.linspace(1, 3, 200) * np.where(y == 1, 5, 1)
    assert np.allclose(found / found[0], expected / expected[0])
    balanced = weights(data, TASK, y, "balanced")
    assert balanced is not None
    assert balanced[y == 1].sum() == pytest.approx(balanced[y == 0].sum())
    assert weights(cohort(), TASK, y, None) is None


@pytest.mark.parametrize(
    ("class_weight", "task", "said"),
    [
        ({"maybe": 2}, TASK, "unknown classes"),
        ("costs", replace(TASK, costs=None), "costs"),
        ("heavy", TASK, "not known"),
    ],
)
def test_class_weights_that_cannot_be_are_errors_of_the_plan(class_weight: Any, task: Classify, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        fit({"name": "logistic", "class_weight": class_weight}, cohort(), task)


@pytest.mark.parametrize("bad", [[-1.0] + [1.0] * 199, [None] + [1.0] * 199, [0.0] * 200])
def test_weights_must_be_weights(bad: list[Any]) -> None:
    with pytest.raises(DataError, match="'w' must be"):
        fit("logistic", with_field(cohort(), Field("w", "number", ("weight",)), bad))


def test_a_model_without_weights_says_so() -> None:
    data = with_field(cohort(), Field("w", "number", ("weight",)), [1.0] * 199 + [2.0])
    with pytest.raises(PlanError, match="takes no weights"):
        fit("knn", data)


def test_the_wrong_kind_of_task_is_refused() -> None:
    with pytest.raises(PlanError, match="'logistic' does not regress"):
        fit("logistic", cohort(), Regress("v"))


def test_another_seed_is_another_forest() -> None:
    data = cohort()
    spec = {"name": "random_forest", "trees": 5}
    one, two = (catalogue.build(spec).fit(data, None, task=TASK, run=replace(RUN, seed=s)) for s in (1, 2))
    assert one.predict(data).digest != two.predict(data).digest


def test_not_converging_is_a_finding() -> None:
    assert [item.id for item in fit({"name": "logistic", "max_iter": 1}, cohort()).findings()] == [
        "model_not_converged"
    ]
    assert fit("logistic", cohort()).findings() == ()


def test_a_class_that_training_did_not_hold_gets_probability_0() -> None:
    task = Classify("y", ("maybe", "no", "yes"))
    found = fit("logistic", cohort(), task).predict(cohort())
    assert found.probabilities[:, 0].max() == 0
    assert np.allclose(found.probabilities.sum(axis=1), 1)


def test_early_stopping_stops_only_with_a_search_part_that_holds_every_class() -> None:
    data, noise = cohort(), cohort(y=np.random.default_rng(3).choice(["no", "yes"], 200))
    spec = {"name": "lightgbm", "early_stopping": 5}
    assert fit(spec, data).learnt.estimator.num_trees() == 300
    assert fit(spec, data, tune=noise).learnt.estimator.num_trees() < 50
    assert fit(spec, data, tune=data.take(np.flatnonzero(TASK.truth(data) == 1))).learnt.estimator.num_trees() == 300


# -- any estimator by its path ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("os.system", "must begin with"),
        ("sklearnx.linear_model.LogisticRegression", "must begin with"),
        ("sklearn.nowhere.Model", "there is no"),
        ("sklearn.linear_model.NoSuch", "no 'NoSuch'"),
        ("sklearn.datasets.load_iris", "not a class"),
        ("sklearn.preprocessing.StandardScaler", "not a class"),
        ("sklearn.linear_model.Ridge", "no classifier"),
        ("sklearn.ensemble.VotingClassifier", "estimators"),
        ("sklearn.gaussian_process.GaussianProcessClassifier", "no model file may hold"),
    ],
)
def test_a_path_that_may_not_be_used_is_refused(path: str, said: str) -> None:
    with pytest.raises(PlanError) as error:
        fit(f"sklearn:{path}", cohort())
    assert said in str(error.value)


def test_a_path_that_keeps_rows_says_so() -> None:
    assert catalogue.build("sklearn:sklearn.svm.SVC").keeps_rows
    assert catalogue.build("sklearn:sklearn.neighbors.KNeighborsClassifier").keeps_rows
    assert not catalogue.build("sklearn:sklearn.linear_model.LogisticRegression").keeps_rows


def test_a_tree_of_numbers_with_leaves_of_one_patient_keeps_rows() -> None:
    forest = {"name": "sklearn", "path": "sklearn.ensemble.RandomForestRegressor"}
    assert catalogue.build(forest).keeps_rows  # scikit-learn's default is 1
    assert catalogue.build({**forest, "min_samples_leaf": 0.001}).keeps_rows  # a share may be one row
    assert not catalogue.build({**forest, "min_samples_leaf": 2}).keeps_rows
    assert not catalogue.build("sklearn:sklearn.ensemble.RandomForestClassifier").keeps_rows
    for spec in ({"random_forest": {"min_samples_leaf": 1}}, {"lightgbm": {"min_rows_leaf": 1}}):
        with pytest.raises(PlanError, match="one patient"):
            case = Case(spec, "stay", Path())
            case.fit(case.train)


@pytest.mark.parametrize("spec", ["knn", "sklearn:sklearn.tree.DecisionTreeRegressor"])
def test_the_rule_finds_patients_in_a_file_that_holds_them(spec: str, tmp_path: Path) -> None:
    case = Case(spec, "stay", tmp_path)
    keeps_no_row(case)  # it says so
    case.fitted.model.keeps_rows = False
    with pytest.raises(NotConforming, match="training rows stand in its files"):
        keeps_no_row(case)


@pytest.mark.parametrize(
    "spec",
    [
        {"path": "lightgbm.LGBMClassifier", "n_estimators": 3},
        {"path": "sklearn.ensemble.ExtraTreesClassifier", "oob_score": True, "bootstrap": True, "n_estimators": 9},
    ],
)
def test_what_a_library_keeps_of_single_rows_is_taken_out(spec: dict[str, Any], tmp_path: Path) -> None:
    case = Case({"name": "sklearn", **spec}, "event", tmp_path)
    keeps_no_row(case)
    estimator = case.fitted.model.learnt.estimator
    assert not {"oob_decision_function_", "feature_bounds_"} & set(vars(estimator))


def test_a_path_takes_missing_values_when_its_library_does() -> None:
    data = cohort(b=np.where(np.arange(200) < 12, np.nan, np.arange(200.0)))
    fit({"name": "sklearn", "path": "sklearn.ensemble.HistGradientBoostingClassifier", "max_iter": 3}, data)
    with pytest.raises(DataError, match="takes none"):
        fit("sklearn:sklearn.discriminant_analysis.LinearDiscriminantAnalysis", data)


def test_lasso_is_the_minimum_of_its_objective_when_inputs_outnumber_rows() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 400))
    y = np.where(x[:, :3].sum(axis=1) + rng.normal(size=60) > 0.8, "yes", "no")
    fields = [*(Field(f"x{i}", "number") for i in range(400)), Field("y", "category", ("target",))]
    data = Cohort.of(pl.DataFrame({**{f"x{i}": x[:, i] for i in range(400)}, "y": y}), fields)
    model = fit({"name": "lasso", "strength": 2.0}, data)
    _, parts, intercept = model.terms(data)
    c = np.asarray(model.learnt.estimator.coef_).ravel()
    residual = 1 / (1 + np.exp(-(parts.sum(axis=1) + intercept))) - (y == "yes")
    # Optimality of Σ log loss + 2 · Σ|c|: the gradient is −2 · sign(c) where c ≠ 0, within ±2 elsewhere, 0 for the
    # intercept (Tibshirani 1996).
    gradient = x.T @ residual
    assert 0 < (c != 0).sum() < 60
    assert np.abs(gradient[c != 0] + 2 * np.sign(c[c != 0])).max() < 1e-2
    assert np.abs(gradient).max() < 2 + 1e-2
    assert abs(residual.sum()) < 0.05
