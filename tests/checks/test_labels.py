"""Checks of several labels: each is the check of that label alone, marked with it; a gate judges the worst."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.checks.conftest import Case

from bedside.checks import default_checks, run_checks
from bedside.checks.labels import MACRO, answers
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence, join
from bedside.evidence.gates import judge
from bedside.evidence.glossary import terms
from bedside.evidence.policy import expand
from bedside.models.pipeline import Pipeline
from bedside.models.predictions import Predictions
from bedside.models.task import Multilabel


@pytest.fixture(scope="module")
def labels() -> Case:
    """500 rows of 250 patients; `fluid` is well told, `mass` hardly; a quarter of each is unknown."""
    rng = np.random.default_rng(7)
    n = 500
    z = rng.normal(size=(n, 2))
    y = rng.random((n, 2)) < 1 / (1 + np.exp(0.5 - z * [2.5, 0.4]))
    unknown = rng.random((n, 2)) < 0.25
    columns: dict[str, Any] = {
        "a": z[:, 0],
        "b": z[:, 1],
        "sex": rng.choice(["F", "M"], n),
        "fluid": [None if u else bool(v) for u, v in zip(unknown[:, 0], y[:, 0], strict=True)],
        "mass": [None if u else ("yes" if v else "no") for u, v in zip(unknown[:, 1], y[:, 1], strict=True)],
    }
    fields = [
        Field("a", "number"),
        Field("b", "number"),
        Field("sex", "category", ("input", "sensitive")),
        Field("fluid", "boolean", ("target",)),
        Field("mass", "category", ("target",)),
    ]
    cohort = Cohort.of(columns, fields, subject=[f"s{i // 2}" for i in range(n)])
    task = Multilabel.of(cohort, ["fluid", "mass"])
    p = 1 / (1 + np.exp(0.5 - z * [2.0, 0.4]))
    made = Predictions.of_probabilities(task, cohort["row_id"], p)
    for label, column in zip(task.labels, p.T, strict=True):
        call = pl.Series([label.classes[int(each >= 0.4)] for each in column])
        made = made.with_columns(**{f"call:{label.target}": call, f"threshold:{label.target}": np.full(n, 0.4)})
    return Case(cohort, task, made)


def alone(case: Case, name: str) -> Case:
    """One label on the rows that know it."""
    rows = np.flatnonzero(case.cohort[name].is_not_null().to_numpy())
    made = case.predictions.of_label(name)
    return Case(case.cohort.take(rows), made.task, made.take(rows))


@pytest.mark.parametrize("spec", [*default_checks(Multilabel(())), "missingness", "sample_size", "leakage"])
def test_each_label_has_the_evidence_of_its_own_task(labels: Case, spec: str) -> None:
    found = labels.check(spec)
    assert found.check == spec
    for name in ("fluid", "mass"):
        wanted = alone(labels, name).check(spec)
        mine = [item for item in found.estimates if (item.at or {}).get("label") == name]
        assert [(item.metric, item.value, item.low, item.n_rows) for item in mine] == [
            (item.metric, item.value, item.low, item.n_rows) for item in wanted.estimates
        ]
        assert [each.id for each in found.figures if each.columns["label"][0] == name] == [
            each.id for each in wanted.figures
        ]
        own = {item.id for item in wanted.findings}
        assert own <= {item.id for item in found.findings if item.values.get("label") == name}


def test_means_stand_first_and_their_names_are_terms(labels: Case) -> None:
    found = labels.check("performance")
    assert tuple(item.metric for item in found.estimates[:4]) == MACRO
    assert all(item.at is None and item.low < item.value < item.high for item in found.estimates[:4])
    assert {*MACRO, "label_partly_known", "at_label", "task_multilabel"} <= set(terms())


def test_a_gate_judges_the_worst_label_unless_it_names_one(labels: Case) -> None:
    evidence = join("all", [labels.check("performance"), labels.check({"subgroups": {"by": ["sex"]}})])
    every, fluid, mean, group = expand(
        {
            "auroc": {"at_least": 0.75},
            "sensitivity": {"at_least": 0.7, "at": {"label": "fluid"}},
            "auroc_macro": 0.6,
            "worst_group": {"auroc": {"at_least": 0.75, "at": {"label": "fluid"}}},
        }
    )
    judged = judge(every, evidence)
    assert judged.verdict == "fail" and judged.estimate is not None and judged.estimate.at == {"label": "mass"}
    assert judge(fluid, evidence).verdict == judge(mean, evidence).verdict == judge(group, evidence).verdict == "pass"
    assert fluid.id == "sensitivity@label=fluid>=0.7"


def test_baselines_are_compared_label_by_label_and_over_all(labels: Case) -> None:
    rng = np.random.default_rng(0)
    noise = Predictions.of_probabilities(labels.task, labels.cohort["row_id"], rng.random((len(labels.cohort), 2)))  # type: ignore[arg-type]
    found = labels.check("baseline", reference={"noise": noise})
    fluid, mass = (found.find("auroc", versus="noise", at={"label": n}) for n in ("fluid", "mass"))
    assert fluid is not None and mass is not None and fluid.low > mass.high > mass.low
    total = found.find("auroc_macro", versus="noise")
    assert total is not None and total.value == pytest.approx((fluid.value + mass.value) / 2) and total.low > 0
    said = {(item.id, item.values["metric"], item.values.get("label")) for item in found.findings}
    assert ("baseline_beaten", "auroc", "fluid") in said and ("baseline_beaten", "auroc_macro", None) in said
    assert [item.id for item in labels.check("baseline").findings] == ["baseline_absent"]


def test_a_model_is_explained_label_by_label(labels: Case, run: Run) -> None:
    task = labels.task
    pipeline = Pipeline("logistic", calibration="none", threshold=0.4)
    known = np.flatnonzero((task.truth(labels.cohort) >= 0).any(axis=1))
    pipeline.fit(labels.cohort.take(known), None, None, task=task, run=run)
    found = labels.check("explain", model=pipeline)
    assert {item.id for item in found.findings} >= {"explained_by_terms"}
    best = {
        name: max(
            (item for item in found.estimates if item.metric == "mean_contribution" and item.at["label"] == name),
            key=lambda item: item.value,
        ).at["field"]
        for name in ("fluid", "mass")
    }
    assert best == {"fluid": "a", "mass": "b"}


def test_the_procedure_is_refitted_for_each_label(labels: Case, run: Run) -> None:
    def fit(cohort: Cohort, seed: int) -> Pipeline:
        made = Pipeline("logistic", calibration="none", threshold=0.4)
        return made.fit(cohort, None, None, task=labels.task, run=run)

    found = labels.check("shuffled_labels", fit=fit)
    assert [item.at for item in found.estimates] == [{"label": "fluid"}, {"label": "mass"}]
    assert {item.id for item in found.findings} == {"shuffled_labels_sound"}


def test_a_label_that_no_row_knows_is_named(labels: Case) -> None:
    rows = np.flatnonzero(labels.cohort["mass"].is_null().to_numpy())
    with pytest.raises(DataError, match="'mass'"):
        labels.take(rows).check("calibration")


def test_a_check_of_numbers_only_is_not_put_to_labels(labels: Case) -> None:
    class OfNumbers:
        name, needs, tasks = "of_numbers", "predictions", ("regress",)

    assert not answers(OfNumbers, "multilabel") and not answers(OfNumbers, "classify")
    with pytest.raises(PlanError):
        run_checks(["no_such_check"], labels.predictions, labels.cohort, task=labels.task, seed=1)


def test_evidence_reads_back(labels: Case) -> None:
    found = labels.check("calibration")
    assert Evidence.from_json(found.to_json()) == found


def test_headlines_name_every_label_or_none(labels: Case) -> None:
    from bedside.evidence.report.headline import headline_estimates

    shown = headline_estimates([labels.check("performance")])
    assert [item.metric for item in shown[:4]] == list(MACRO)
    for metric in {item.metric for item in shown[4:]}:
        assert [item.at for item in shown if item.metric == metric] == [{"label": "fluid"}, {"label": "mass"}]
