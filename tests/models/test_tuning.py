"""Tuning: nested, repeatable, silent, and honest about what it tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import BedsideError, PlanError
from bedside.models.conformance import TARGETS, example, task_of
from bedside.models.pipeline import Pipeline
from bedside.models.task import Classify
from bedside.models.tuning import Tuned, Tuning, tune

RUN = Run(Path(), seed=4, threads=1)
STEPS = ["impute", "encode", "scale"]


def event(rows: int = 240) -> Cohort:
    cohort = example(rows)
    return cohort.keeping([name for name in cohort.schema.names if name == "event" or name not in TARGETS])


def search(spec: Any, cohort: Cohort, budget: Any, task: Any = None, run: Run = RUN) -> Tuned:
    task = task_of("event") if task is None else task
    return tune(spec, STEPS, cohort, None, task=task, run=run, tuning=Tuning.of(budget, run))


def test_trial_0_is_the_model_as_given_and_the_best_is_the_least_loss() -> None:
    found = search({"name": "logistic", "C": 1e-3}, event(), 6)
    assert found.trials == 6
    assert found.table[0]["parameters"]["C"] == 1e-3
    assert found.best == min(found.table, key=lambda row: row["loss"])["parameters"]
    assert min(row["loss"] for row in found.table) < found.table[0]["loss"]  # 1e-3 is far too strong here
    assert found.best["max_iter"] == 1000


def test_the_same_seed_searches_the_same_way_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    one, two = search("lightgbm", event(), 3), search("lightgbm", event(), 3)
    assert one == two
    assert capfd.readouterr() == ("", "")


def test_minutes_become_trials_and_the_trials_repeat_the_search() -> None:
    by_time = search("logistic", event(), {"minutes": 0.01})
    assert by_time.trials >= 1
    assert search("logistic", event(), by_time.trials) == by_time
    budget = Run(Path(), budget_minutes=0.5)
    assert Tuning.of({}, budget).minutes == 0.5


def test_rows_of_one_subject_never_face_each_other() -> None:
    # Every subject has four equal rows and a coin for a label: a nearest neighbour that sees a sibling is always right.
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.normal(size=(60, 2)), 4, axis=0), np.repeat(rng.choice(["no", "yes"], 60), 4)
    fields = [Field("a", "number"), Field("b", "number"), Field("event", "category", ("target",))]
    subject = [f"s{i // 4}" for i in range(240)]
    cohort = Cohort.of(pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "event": y}), fields, subject=subject)
    found = search({"name": "knn", "k": 4}, cohort, {"trials": 1, "space": {"k": {"choices": [4]}}})
    assert min(row["loss"] for row in found.table) > 0.5


def test_only_train_and_search_have_a_say(tmp_path: Path) -> None:
    cohort = event()
    train, search_part = cohort.take(np.arange(120)), cohort.take(np.arange(120, 160))
    seen = []
    for last in (np.arange(160, 200), np.arange(200, 240)):
        pipeline = Pipeline("logistic", calibration="auto", tuning=3)
        pipeline.fit(train, search_part, cohort.take(last), task=task_of("event"), run=RUN)
        seen.append(pipeline.fitted.tuned)
    assert seen[0] == seen[1]
    pipeline.save(tmp_path)
    assert Pipeline.load(tmp_path).fitted.tuned == seen[1]
    assert pipeline.model.parameters() == seen[1].best


def test_a_number_is_tuned_by_its_squared_error() -> None:
    cohort = example()
    cohort = cohort.keeping([name for name in cohort.schema.names if name not in ("event", "grade")])
    found = search("ridge", cohort, 2, task_of("stay"))
    assert found.loss == "mean_squared_error"
    assert all(row["loss"] < np.var(cohort["stay"].to_numpy()) for row in found.table)


@pytest.mark.parametrize(
    ("spec", "budget"),
    [
        ("majority", 3),
        ("logistic", {}),
        ("logistic", 0),
        ("logistic", {"minutes": -1}),
        ("logistic", {"hours": 1}),
        ("logistic", "long"),
        ("logistic", {"trials": 1, "space": {"C": "wide"}}),
        ("logistic", {"trials": 1, "space": {"C": [3, 2]}}),
    ],
)
def test_a_budget_or_space_that_cannot_be_read_is_an_error_of_the_plan(spec: Any, budget: Any) -> None:
    with pytest.raises(PlanError):
        search(spec, event(), budget)


def test_it_stops_when_asked() -> None:
    with pytest.raises(BedsideError, match="cancelled"):
        search("logistic", event(), 3, run=Run(Path(), cancelled=lambda: True))


def test_all_spaces_name_parameters_the_models_have() -> None:
    from bedside.models import catalogue

    for entry in catalogue.entries():
        if entry.name not in ("sklearn", "rules"):
            model = catalogue.build(entry.name)
            assert set(getattr(model, "space", {})) <= set(model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random_forest", "mlp", "elastic_net", "decision_tree", "rbf_svm", "knn"])
def test_every_space_can_be_searched(name: str) -> None:
    task: Classify = task_of("event")  # type: ignore[assignment]
    assert search(name, event(), 4, task).trials == 4


def test_a_pipeline_tells_how_to_repeat_it_without_a_clock(tmp_path: Path) -> None:
    cohort = event()
    by_time = Pipeline("logistic", calibration="none", threshold=0.5, tuning={"minutes": 0.01, "folds": 2})
    by_time.fit(cohort, None, None, task=task_of("event"), run=RUN)
    asked = by_time.without_clock()
    assert asked["tuning"] == {"folds": 2, "trials": by_time.fitted.tuned.trials}
    again = Pipeline(**asked).fit(cohort, None, None, task=task_of("event"), run=RUN)
    assert again.fitted.tuned == by_time.fitted.tuned
    assert again.without_clock() == asked
    by_time.save(tmp_path)
    assert Pipeline.load(tmp_path).without_clock() == asked


def test_the_loss_of_the_search_is_weighted() -> None:
    # Events weigh a thousand times: predicting the weighted rate, about 0.999, costs nearly nothing by weight.
    cohort = event()
    weight = np.where(cohort["event"].to_numpy() == "yes", 1000.0, 1.0)
    fields = [*cohort.schema.fields, Field("w", "number", ("weight",))]
    frame = cohort.frame.select(pl.exclude("row_id", "subject", "time")).with_columns(pl.Series("w", weight))
    weighted = Cohort.of(frame, fields, subject=cohort.frame["subject"].to_list())
    constant = {"trials": 1, "space": {"C": [1e-9, 1e-8]}}
    spec = {"name": "logistic", "C": 1e-9}
    assert search(spec, weighted, constant).table[0]["loss"] < 0.02 < search(spec, cohort, constant).table[0]["loss"]
