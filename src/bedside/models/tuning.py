"""Search for parameters by cross-validation inside the training part, so that no test row has a say.

Folds are by subject; steps are fitted anew in each. Trial 0 is the model as given, the others are proposed by TPE
(Bergstra 2011). A budget in minutes is turned into a number of trials once, after timing trial 0; the number is stored,
and giving it back as `trials` repeats the search exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.split import k_fold
from bedside.errors import BedsideError, MissingExtra, PlanError
from bedside.models import catalogue
from bedside.models.per_label import for_task
from bedside.models.predictions import Predictions
from bedside.models.protocol import SpendsMinutes
from bedside.models.rows import row_weights
from bedside.models.task import Classify, Multilabel, Regress, Task
from bedside.prepare import steps as steps_of

MAX_TRIALS = 500
_FLOOR = 1e-15


@dataclass(frozen=True)
class Tuning:
    """How long to search: trials, or minutes a fit that are turned into trials; `folds` of the inner cross-validation.

    `space` overrides the model's own: parameter → [low, high], [low, high, log] or {choices: […]}.
    """

    trials: int | None = None
    minutes: float | None = None
    folds: int = 3
    space: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, spec: Any, run: Run) -> Tuning:
        """From a number of trials or a mapping; the run's budget counts when neither trials nor minutes are given."""
        if isinstance(spec, Tuning):
            return spec
        if isinstance(spec, int) and not isinstance(spec, bool):
            spec = {"trials": spec}
        known = set(cls.__dataclass_fields__)
        if not isinstance(spec, Mapping) or set(spec) - known:
            raise PlanError(
                f"tuning {spec!r} is not known", "a number of trials, or any of " + ", ".join(sorted(known))
            )
        found = cls(**spec)
        if found.trials is None and found.minutes is None:
            found = cls(None, run.budget_minutes, found.folds, found.space)
        if found.trials is None and found.minutes is None:
            raise PlanError("tuning has no budget", "give trials or minutes")
        if (found.trials is not None and found.trials < 1) or (found.minutes is not None and found.minutes <= 0):
            raise PlanError("tuning needs at least one trial, or more than 0 minutes")
        return found


@dataclass(frozen=True)
class Tuned:
    """The best parameters (all of the model's), the loss they are best by, and every trial in order."""

    best: Mapping[str, Any]
    loss: str
    folds: int
    table: tuple[Mapping[str, Any], ...]

    @property
    def trials(self) -> int:
        """How many trials were made after trial 0; give it as `trials` to repeat the search."""
        return len(self.table) - 1

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        table = [dict(row) for row in self.table]
        return {"best": dict(self.best), "loss": self.loss, "folds": self.folds, "trials": self.trials, "table": table}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tuned:
        """The inverse of `to_json`."""
        return cls(data["best"], data["loss"], data["folds"], tuple(data["table"]))


def tune(
    spec: Any, steps: Sequence[Any], train: Cohort, search: Cohort | None, *, task: Task, run: Run, tuning: Tuning
) -> Tuned:
    """Search a model's space; raises PlanError for a model without one, DataError when a fold cannot be made."""
    model = catalogue.build(spec)
    name, given = model.name, catalogue.named(spec)[1]
    if hasattr(model, "parameters"):
        given = model.parameters()
    space = tuning.space if tuning.space is not None else getattr(model, "space", {})
    if not space:
        raise PlanError(f"model '{name}' has nothing to tune", "name a space, or leave tuning out")
    loss_of = _losses(name, steps, train, search, task=task, run=run, folds=tuning.folds)
    started = time.monotonic()
    loss, given = loss_of(given)
    table: list[dict[str, Any]] = [{"parameters": given, "loss": loss}]
    seconds = max(time.monotonic() - started, 1e-3)
    trials = tuning.trials
    if trials is None:
        trials = int(min(MAX_TRIALS, max(1, float(tuning.minutes or 0) * 60 / seconds - 1)))
    study = _study(run.seed)
    for i in range(trials):
        if run.cancelled():
            raise BedsideError("cancelled while tuning", "run again to start this fit anew")
        run.report(i / trials, f"tuning {name}: trial {i + 1} of {trials}")
        trial = study.ask()
        parameters = {**given, **{key: _suggest(trial, key, values) for key, values in space.items()}}
        loss, parameters = loss_of(parameters)
        study.tell(trial, loss)
        table.append({"parameters": parameters, "loss": loss})
    best = min(table, key=lambda row: row["loss"])["parameters"]
    return Tuned(best, "mean_squared_error" if isinstance(task, Regress) else "log_loss", tuning.folds, tuple(table))


def _losses(
    name: str, steps: Sequence[Any], train: Cohort, search: Cohort | None, *, task: Task, run: Run, folds: int
) -> Callable[[Mapping[str, Any]], tuple[float, Mapping[str, Any]]]:
    """A function from parameters to their cross-validated loss and to the parameters of its last fit.

    What does not depend on them is done once; minutes among them become epochs at the first fit.
    """
    stratify = None if isinstance(task, Regress) else task.strata
    prepared = []
    for fold in k_fold(train, folds=folds, tune=0.0, stratify=stratify, seed=run.seed).folds:
        fitted = steps_of.fit_all(steps, train.take(fold.train), run)
        aside = None if search is None else steps_of.apply_all(fitted, search)
        prepared.append(
            (
                steps_of.apply_all(fitted, train.take(fold.train)),
                aside,
                steps_of.apply_all(fitted, train.take(fold.test)),
            )
        )

    def loss(parameters: Mapping[str, Any]) -> tuple[float, Mapping[str, Any]]:
        kind = plugins.load("models", name)
        total, weight = 0.0, 0.0
        for inside, aside, outside in prepared:
            model = for_task(kind(**parameters), task).fit(inside, aside, task=task, run=run)
            if isinstance(model, SpendsMinutes):
                parameters = {**parameters, **model.spent()}
            each, w = _each_loss(model.predict(outside), outside, task)
            total, weight = total + float((each * w).sum()), weight + float(w.sum())
        return total / weight, parameters

    return loss


def _each_loss(found: Predictions, cohort: Cohort, task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log loss of each row (of each label it knows, one under the other), or squared error; and the weights."""
    given = row_weights(cohort)
    w = np.ones(len(cohort)) if given is None else given
    if isinstance(task, Multilabel):
        y, p = task.truth(cohort), found.probabilities
        own, w = np.where(y == 1, p, 1 - p)[y >= 0], np.repeat(w[:, None], y.shape[1], axis=1)[y >= 0]
    elif isinstance(task, Classify):
        own = found.probabilities[np.arange(len(cohort)), task.truth(cohort)]
    else:
        return np.asarray((found.score - task.truth(cohort)) ** 2), w
    return np.asarray(-np.log(np.clip(own, _FLOOR, 1))), w


def _study(seed: int) -> Any:
    """An in-memory study that says nothing."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("tune", "tuning") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed % (1 << 32))
    return optuna.create_study(direction="minimize", sampler=sampler, storage=None)


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if isinstance(values, Mapping) and set(values) == {"choices"} and values["choices"]:
        choices = list(values["choices"])
        return choices[trial.suggest_int(f"{name}#", 0, len(choices) - 1)]
    if not _is_range(values):
        raise PlanError(
            f"space of '{name}' is not known: {values!r}", "[low, high], [low, high, log] or {choices: […]}"
        )
    low, high, log = values[0], values[1], len(values) == 3
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def _is_range(values: Any) -> bool:
    if not isinstance(values, list | tuple) or len(values) not in (2, 3) or list(values[2:]) not in ([], ["log"]):
        return False
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in values[:2])
    return numbers and values[0] < values[1] and (len(values) == 2 or values[0] > 0)
