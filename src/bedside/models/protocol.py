"""The Model protocol and the optional capabilities, checked by isinstance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.store import Store
from bedside.models.predictions import Predictions
from bedside.models.task import Task


@runtime_checkable
class Model(Protocol):
    """Learns from a cohort and predicts for one. Fitted state is saved without pickle.

    `__init__(**params)` only stores its parameters. Class attributes tell the catalogue what it is without importing
    its library: `name`, `tasks` (task kinds; one that can classify is fitted once a label for `multilabel` unless it
    names that too, and then it has `of_label`), `modality`, `extra` (pip extra or None), `default_steps` (a list of
    step specs put before it when the plan names none), `interpretable`, `keeps_rows`, `summary` (English, Chinese),
    and optionally `default_calibration`: a spec other than "auto", such as "none" where probabilities come from a
    likelihood.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    modality: ClassVar[str]
    extra: ClassVar[str | None]
    default_steps: ClassVar[tuple[Any, ...]]
    interpretable: ClassVar[bool]
    keeps_rows: ClassVar[bool]
    summary: ClassVar[tuple[str, str]]

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn; `tune` may serve early stopping only. Returns self."""
        ...

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """One prediction a row, in row order. Masks and volumes go to `out`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted state into an existing empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`. Raises IntegrityError for a type off the allow-list."""
        ...


@runtime_checkable
class HasLabels(Protocol):
    """A fitted model of several labels, each of which can be looked at alone."""

    def of_label(self, name: str) -> Any:
        """A model of two classes: that label's, with what explains it (terms, trees, network) where there is any."""
        ...


@runtime_checkable
class HasTerms(Protocol):
    """A model that is a sum of terms on its scale (log-odds or value): linear models, EBM."""

    def terms(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Term names, contributions of shape (rows, terms), and the intercept; they sum to the link-scale score."""
        ...


@runtime_checkable
class SpendsMinutes(Protocol):
    """A model that turns a budget in minutes into a count of its own (epochs) while it fits."""

    def spent(self) -> dict[str, Any]:
        """The parameters that repeat this fit without a clock, {} where it had none."""
        ...


@runtime_checkable
class HasTrees(Protocol):
    """A model whose contributions tree SHAP computes exactly."""

    def contributions(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Field names, SHAP values of shape (rows, fields) for the positive class or value, and the base value."""
        ...


@runtime_checkable
class Exports(Protocol):
    """A network that can leave the library it was trained with: its serving form is an ONNX graph."""

    def export(self) -> Model:
        """A model that predicts the same (to 1e-5) in ONNX Runtime alone; it can be saved and loaded, not fitted."""
        ...
