"""The base of scikit-learn-style models: a subclass is its parameters and one function that builds the estimator."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Finding
from bedside.models.persist import pack, unpack
from bedside.models.predictions import Predictions
from bedside.models.saved import SavedModel, not_fitted
from bedside.models.tabular.matrix import (
    ClassWeight,
    in_row_order,
    input_fields,
    json_fields,
    matrix,
    parameters_error,
    target,
    weights,
)
from bedside.models.tabular.pruned import pruned
from bedside.models.task import Classify, Regress, Task, task_from_json

if TYPE_CHECKING:
    from bedside.cohort.store import Store

FILE = "estimator.skops"


@dataclass(frozen=True)
class Learnt:
    """What fitting leaves: the task, the input fields in order, the library's object, and the bytes it is stored as.

    `center`, `spread` undo the standardisation of a numeric target; `findings` say what went less than well.
    """

    task: Task
    fields: tuple[Field, ...]
    estimator: Any
    files: Mapping[str, bytes]
    center: float = 0.0
    spread: float = 1.0
    findings: tuple[Finding, ...] = ()


class Estimator(SavedModel):
    """A model over a matrix of numbers, learnt by an estimator with scikit-learn's interface.

    Subclasses are dataclasses of parameters with `build`. `takes_missing` says whether NaN may reach the estimator,
    `standardise_target` whether a numeric target is centred and scaled for it. `space` is what tuning searches:
    parameter → (low, high), (low, high, "log") or {"choices": […]}.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    modality: ClassVar[str] = "tabular"
    extra: ClassVar[str | None] = None
    default_steps: ClassVar[tuple[Any, ...]] = ("encode", "impute", "scale")
    interpretable: ClassVar[bool] = False
    keeps_rows: ClassVar[bool] = False
    summary: ClassVar[tuple[str, str]] = ("", "")
    space: ClassVar[Mapping[str, Any]] = {}
    takes_missing: ClassVar[bool] = False
    standardise_target: ClassVar[bool] = False

    learnt_: Learnt | None = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """The unfitted estimator for a task and a matrix of this shape (rows, fields); a subclass gives this, or
        `learn` where its library is no estimator."""
        raise TypeError(f"{type(self).__name__} gives neither build nor learn")

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn from the training part; raises DataError for data, PlanError for parameters that do not fit."""
        if task.kind not in self.tasks:
            raise PlanError(f"'{self.name}' does not {task.kind}", f"it can {' and '.join(self.tasks)}")
        train = in_row_order(train)
        fields = tuple(Field(item.name, item.kind) for item in input_fields(train, self.name))
        x, y, w = self.arrays(train, fields, task)
        center, spread = _scale_of(y) if isinstance(task, Regress) and self.standardise_target else (0.0, 1.0)
        if isinstance(task, Regress):
            y = (y - center) / spread
        held_out = None
        if tune is not None and len(tune):
            xt, yt, wt = self.arrays(in_row_order(tune), fields, task, one_class=True)
            held_out = (xt, (yt - center) / spread if isinstance(task, Regress) else yt, wt)
        with limited_threads(run.threads), _library_errors(self.name), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = pruned(self.learn(x, y, w, held_out, task=task, run=run))
        files = self.pack(estimator)
        self.learnt_ = Learnt(task, fields, estimator, files, center, spread, _findings(self.name, caught))
        return self

    def learn(self, x: NDArray[np.float64], y: Any, w: Any, held_out: Any, *, task: Task, run: Run) -> Any:
        """The fitted estimator; `held_out` (x, y, w) may serve early stopping only."""
        estimator = self.build(task, shape=x.shape, seed=seed_of(run), threads=run.threads)
        if w is None:
            return estimator.fit(x, y)
        if "sample_weight" not in inspect.signature(estimator.fit).parameters:
            raise PlanError(f"'{self.name}' takes no weights", "drop the weight field and class_weight")
        return estimator.fit(x, y, sample_weight=w)

    def arrays(self, cohort: Cohort, fields: tuple[Field, ...], task: Task, *, one_class: bool = False) -> Any:
        """Inputs, target and weights of a part, in its row order."""
        x = matrix(cohort, fields, self.name, takes_missing=self.takes_missing)
        y = target(cohort, task, self.name, one_class=one_class)
        return x, y, weights(cohort, task, y, self.class_weight_)

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Class probabilities or values, one a row, in row order."""
        learnt = self.learnt
        x = self.inputs(cohort)
        row_id = cohort.frame["row_id"]
        if isinstance(learnt.task, Classify):
            return Predictions.of_probabilities(learnt.task, row_id, self.probabilities(x, learnt.task))
        return values(learnt.task, row_id, learnt.center + learnt.spread * self.numbers(x))

    def probabilities(self, x: NDArray[np.float64], task: Classify) -> NDArray[np.float64]:
        """Class probabilities, shape (rows, classes); a class that training did not hold has 0.

        An estimator with a decision function only (support vector machines) gets 1 / (1 + exp(−f)), or the softmax
        of its functions: an order, not yet a probability. The sigmoid calibrator works on its logit, which is f again,
        so that it is Platt's scaling.
        """
        estimator = self.learnt.estimator
        p = np.zeros((len(x), len(task.classes)))
        if len(x) == 0:
            return p
        if hasattr(estimator, "predict_proba"):
            found = estimator.predict_proba(x)
        else:
            found = squashed(estimator.decision_function(x))
        p[:, np.asarray(estimator.classes_, dtype=np.int64)] = found
        return p

    def numbers(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predicted values on the scale the estimator learnt, shape (rows,)."""
        if len(x) == 0:
            return np.zeros(0)
        return np.asarray(self.learnt.estimator.predict(x), dtype=np.float64).reshape(len(x))

    def inputs(self, cohort: Cohort) -> NDArray[np.float64]:
        """The matrix the estimator sees, shape (rows, fields)."""
        return matrix(cohort, self.learnt.fields, self.name, takes_missing=self.takes_missing)

    @property
    def learnt(self) -> Learnt:
        """The fitted state; raises BedsideError before fit."""
        if self.learnt_ is None:
            raise not_fitted(self.name)
        return self.learnt_

    def findings(self) -> tuple[Finding, ...]:
        """What went less than well while fitting."""
        return self.learnt.findings

    @property
    def class_weight_(self) -> ClassWeight:
        """The class weights asked for, None for a model without that parameter."""
        return getattr(self, "class_weight", None)

    def pack(self, estimator: Any) -> dict[str, bytes]:
        """The files a fitted estimator is stored as; raises PlanError for a type off the allow-list."""
        return {FILE: pack(estimator)}

    def unpack(self, files: Mapping[str, bytes], n_features: int) -> Any:
        """The inverse of `pack`."""
        return unpack(files[FILE], FILE, n_features)

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Fitted state: task and fields as JSON, the estimator as a file."""
        learnt = self.learnt
        return {
            "task": learnt.task.to_json(),
            "fields": json_fields(learnt.fields),
            "center": learnt.center,
            "spread": learnt.spread,
            "findings": [item.to_json() for item in learnt.findings],
        }, dict(learnt.files)

    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`."""
        fields = tuple(Field(item["name"], item["kind"]) for item in state["fields"])
        self.learnt_ = Learnt(
            task_from_json(state["task"]),
            fields,
            self.unpack(files, len(fields)),
            files,
            float(state["center"]),
            float(state["spread"]),
            tuple(Finding.from_json(item) for item in state["findings"]),
        )


def values(task: Task, row_id: pl.Series, numbers: NDArray[np.float64]) -> Predictions:
    """Predictions of a number."""
    return Predictions(task, pl.DataFrame({"row_id": row_id, "value": np.asarray(numbers, dtype=np.float64)}))


def squashed(decision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decision functions of shape (rows,) or (rows, classes) as numbers in [0, 1] that sum to 1 over classes."""
    from scipy.special import expit, softmax

    if decision.ndim == 1:
        p = expit(decision)
        return np.column_stack([1 - p, p])
    return np.asarray(softmax(decision, axis=1))


def seed_of(run: Run) -> int:
    """The run's seed as the 31 bits that every library takes."""
    return run.seed % (1 << 31)


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """BLAS and OpenMP use this many threads: the sums they form, and so the weights, depend on it."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=threads):
        yield


@contextmanager
def _library_errors(who: str) -> Iterator[None]:
    """A library's complaint about values becomes an error of the plan or the data."""
    from sklearn.utils._param_validation import InvalidParameterError

    try:
        yield
    except InvalidParameterError as error:
        raise parameters_error(who, error) from None
    except ValueError as error:
        raise DataError(f"'{who}' cannot learn from this data: {str(error).splitlines()[0]}") from error


def _scale_of(y: NDArray[np.float64]) -> tuple[float, float]:
    spread = float(np.std(y))
    return float(np.mean(y)), spread if spread > 0 else 1.0


def _findings(who: str, caught: list[warnings.WarningMessage]) -> tuple[Finding, ...]:
    from sklearn.exceptions import ConvergenceWarning

    if any(issubclass(item.category, ConvergenceWarning) for item in caught):
        return (Finding("model_not_converged", "caution", {"model": who}),)
    return ()
