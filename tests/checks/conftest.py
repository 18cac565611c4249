"""Small cohorts with predictions of known quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bedside.checks import run_checks
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.evidence.estimate import Evidence
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, Regress, Task


@dataclass(frozen=True, eq=False)
class Case:
    """A cohort, its task and predictions; `check` runs one check on them."""

    cohort: Cohort
    task: Task
    predictions: Predictions

    def check(self, spec: Any, **more: Any) -> Evidence:
        return run_checks([spec], self.predictions, self.cohort, **{"task": self.task, "seed": 5, **more})[0]

    @property
    def y(self) -> np.ndarray:
        return self.task.truth(self.cohort)

    @property
    def p(self) -> np.ndarray:
        return self.predictions.score

    def take(self, rows: np.ndarray) -> Case:
        return Case(self.cohort.take(rows), self.task, self.predictions.take(rows))


def two_classes(n: int = 400, seed: int = 0, *, rows_each: int = 1, threshold: float = 0.3) -> Case:
    """Age, sex, a marker with 10 % missing; the risk is right up to a slope of 1.25; called from the threshold on."""
    rng = np.random.default_rng(seed)
    marker, age = rng.normal(size=n), rng.uniform(20, 90, n).round()
    sex = rng.choice(["F", "M"], n)
    lp = marker + (age - 55) / 40 - 0.5
    y = rng.random(n) < 1 / (1 + np.exp(-lp))
    p = 1 / (1 + np.exp(-0.8 * lp))
    cohort = Cohort.of(
        {
            "marker": np.where(rng.random(n) < 0.1, np.nan, marker),
            "age": age,
            "sex": sex,
            "died": np.where(y, "yes", "no"),
        },
        [
            Field("marker", "number"),
            Field("age", "number", ("input", "sensitive"), unit="a"),
            Field("sex", "category", ("input", "sensitive")),
            Field("died", "category", ("target",)),
        ],
        subject=[f"s{i // rows_each}" for i in range(n)],
        row_id=[f"r{i:05d}" for i in range(n)],
    )
    task = Classify.of(cohort, "died", "yes")
    made = Predictions.of_probabilities(task, cohort["row_id"], np.column_stack([1 - p, p]))
    call = pl.Series(["yes" if each >= threshold else "no" for each in p])
    return Case(cohort, task, made.with_columns(call=call, threshold=np.full(n, threshold)))


def three_classes(n: int = 300, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(n, 3))
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    y = [str(rng.choice(["a", "b", "c"], p=row)) for row in p]
    fields = [Field("x", "number"), Field("kind", "category", ("target",))]
    cohort = Cohort.of({"x": score[:, 0], "kind": y}, fields)
    task = Classify.of(cohort, "kind")
    return Case(cohort, task, Predictions.of_probabilities(task, cohort["row_id"], p))


def a_number(n: int = 300, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    fields = [
        Field("x", "number"),
        Field("sex", "category", ("input", "sensitive")),
        Field("stay", "number", ("target",), unit="d"),
    ]
    cohort = Cohort.of({"x": x, "sex": rng.choice(["F", "M"], n), "stay": 5 + x + rng.normal(size=n)}, fields)
    task = Regress.of(cohort, "stay")
    frame = pl.DataFrame({"row_id": cohort["row_id"], "value": 5.2 + 0.9 * x})
    return Case(cohort, task, Predictions(task, frame))


@pytest.fixture(scope="session")
def binary() -> Case:
    """400 patients, two classes."""
    return two_classes()


@pytest.fixture(scope="session")
def clustered() -> Case:
    """600 rows of 200 patients, two classes."""
    return two_classes(600, 1, rows_each=3)


@pytest.fixture(scope="session")
def make_binary() -> Callable[..., Case]:
    """Makes a case of two classes."""
    return two_classes


@pytest.fixture(scope="session")
def multiclass() -> Case:
    """300 patients, three classes."""
    return three_classes()


@pytest.fixture(scope="session")
def number() -> Case:
    """300 patients, a number."""
    return a_number()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The circumstances of a fit."""
    return Run(tmp_path, seed=3)
