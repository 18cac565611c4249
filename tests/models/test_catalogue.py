"""The catalogue: complete, light, and helpful about names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import MissingExtra, PlanError
from bedside.models import catalogue
from bedside.models.task import Classify, Regress

NAMES = {
    "logistic", "lightgbm", "random_forest", "ridge", "lasso", "elastic_net", "naive_bayes", "linear_svm", "rbf_svm",
    "knn", "decision_tree", "ebm", "mlp", "rules", "majority", "sklearn",
}  # fmt: skip


def test_every_model_is_there_with_a_word_for_it_in_two_languages() -> None:
    found = {entry.name: entry for entry in catalogue.entries()}
    assert set(found) >= NAMES
    for entry in found.values():
        assert entry.summary_en
        assert not any("\u4e00" <= c <= "\u9fff" for c in entry.summary_en)
        assert any("\u4e00" <= c <= "\u9fff" for c in entry.summary_zh)
    assert {name for name in NAMES if found[name].keeps_rows} == {"rbf_svm", "knn"}
    assert {name for name in NAMES if found[name].extra} == {"ebm"}


def test_listing_and_planning_import_no_model_library() -> None:
    code = (
        "import sys\nfrom bedside.models import catalogue\nfrom bedside.models.pipeline import Pipeline\n"
        "catalogue.entries()\nPipeline('lightgbm', tuning=3)\n"
        "heavy = {'sklearn', 'scipy', 'lightgbm', 'interpret', 'optuna', 'shap', 'skops', 'pandas', 'torch'}\n"
        "sys.exit(repr(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_wrong_name_or_parameter_gets_the_right_one() -> None:
    with pytest.raises(PlanError, match="did you mean logistic"):
        catalogue.build("logistik")
    with pytest.raises(PlanError, match=r"no parameter 'tree'[\s\S]*did you mean trees"):
        catalogue.build({"name": "random_forest", "tree": 5})
    with pytest.raises(PlanError, match="has no parameter"):
        catalogue.build({"majority": {"x": 1}})


def test_specs_name_the_same_model() -> None:
    for spec in ({"name": "logistic", "C": 0.5}, {"logistic": {"C": 0.5}}):
        assert catalogue.build(spec).parameters() == {"C": 0.5, "max_iter": 1000, "class_weight": None}
    assert catalogue.build("sklearn:sklearn.linear_model.LogisticRegression").path == (
        "sklearn.linear_model.LogisticRegression"
    )
    assert catalogue.build({"rules": [{"if": "age > 5", "then": "x"}]}).rules[0]["then"] == "x"


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "installed", lambda extra: extra is None)
    with pytest.raises(MissingExtra, match=r"bedside\[ebm\]"):
        catalogue.build("ebm")


def table(rows: int, inputs: int, events: int) -> tuple[Cohort, Classify]:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=rows) for i in range(inputs)}
    y = ["yes"] * events + ["no"] * (rows - events)
    fields = [*(Field(name, "number") for name in columns), Field("y", "category", ("target",))]
    return Cohort.of(pl.DataFrame({**columns, "y": y}), fields), Classify("y", ("no", "yes"), "yes")


@pytest.mark.parametrize(
    ("rows", "inputs", "events", "interpretable", "wanted"),
    [
        (72, 500, 25, False, "lasso"),  # more inputs than patients
        (300, 13, 130, False, "logistic"),
        (20_000, 20, 1500, False, "lightgbm"),
        (20_000, 20, 1500, True, "ebm"),
        (20_000, 20, 150, False, "lasso"),  # many rows, few events
        (5000, 5, 150, False, "logistic"),
    ],
)
def test_the_first_model_fits_size_events_and_need_to_be_read(
    rows: int, inputs: int, events: int, interpretable: bool, wanted: str
) -> None:
    name, reason, reason_zh = catalogue.recommend(*table(rows, inputs, events), interpretable)
    assert name == wanted
    assert str(min(rows, events)) in reason
    assert any("\u4e00" <= c <= "\u9fff" for c in reason_zh)


def test_a_number_gets_ridge() -> None:
    cohort, _ = table(300, 5, 10)
    fields = [*cohort.schema.inputs[1:], Field("x0", "number", ("target",))]
    assert catalogue.recommend(cohort.with_fields(fields), Regress("x0"))[0] == "ridge"
