"""Performance with more than two classes: discrimination, losses, calls, and each class against the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bedside.checks.assemble import attempt
from bedside.checks.performance_binary import confusion
from bedside.checks.rows import Floats, Ints, Rows
from bedside.evidence.estimate import Estimate, Figure
from bedside.evidence.metrics import calls as of_calls
from bedside.evidence.metrics import multiclass as metrics
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.precision_recall import average_precision
from bedside.evidence.metrics.proportions import proportion
from bedside.evidence.metrics.ranking import auroc
from bedside.models.task import Classify

METRICS = ("auroc_macro", "auroc_hand_till", "brier_multiclass", "log_loss", "accuracy", "f1_macro", "kappa")


def multiclass(
    rows: Rows, p: Floats, call: Ints, task: Classify, *, level: float, seed: int, replicates: int
) -> tuple[list[Estimate], list[Figure]]:
    """Estimates over all classes, then of each (`at` names it), from p (rows, classes) and calls (rows,)."""
    y, k = rows.truth.astype(np.int64), len(task.classes)
    shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
    found: dict[str, Callable[[], Interval]] = {
        "auroc_macro": lambda: metrics.macro_auroc(y, p, **shared),
        "auroc_hand_till": lambda: metrics.hand_till(y, p, **shared),
        "brier_multiclass": lambda: metrics.brier(y, p, **shared),
        "log_loss": lambda: metrics.log_loss(y, p, **shared),
        "accuracy": lambda: metrics.accuracy(y, call, k, **shared),
        "f1_macro": lambda: metrics.macro_f1(y, call, k, **shared),
        "kappa": lambda: metrics.kappa(y, call, k, **shared),
    }
    everyone = rows.counts()
    estimates = [attempt(name, compute, level, otherwise=everyone) for name, compute in found.items()]
    for index, label in enumerate(task.classes):
        event = y == index
        estimates += _of_class(rows, event, p[:, index], call == index, label, shared, seed, replicates)
    return estimates, [confusion(rows, call, task)]


def _of_class(
    rows: Rows, y: Any, p: Floats, call: Any, label: str, shared: dict[str, Any], seed: int, replicates: int
) -> list[Estimate]:
    level = shared["level"]
    made = of_calls.calls_of(y, call, rows.subjects, rows.weights)
    found: dict[str, Callable[[], Interval]] = {
        "auroc": lambda: auroc(y, p, **shared),
        "average_precision": lambda: average_precision(y, p, replicates=replicates, seed=seed, **shared),
        "prevalence": lambda: proportion(y, **shared),
        "sensitivity": lambda: of_calls.sensitivity_of(made, level),
        "specificity": lambda: of_calls.specificity_of(made, level),
        "ppv": lambda: of_calls.ppv_of(made, level),
    }
    more: dict[str, Any] = {"at": {"class": label}, "n_events": int(np.count_nonzero(y)), "otherwise": rows.counts()}
    return [attempt(name, compute, level, **more) for name, compute in found.items()]
