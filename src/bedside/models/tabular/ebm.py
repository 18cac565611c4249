"""Explainable boosting machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, MissingExtra
from bedside.models.tabular.estimator import Estimator
from bedside.models.tabular.matrix import ClassWeight
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class EBM(Estimator):
    """A sum of one curve for each input and a few surfaces for pairs, learnt by cyclic boosting (Nori 2019).

    `bags` models on resampled rows are averaged; `interactions` is the number of pairs.
    """

    name: ClassVar[str] = "ebm"
    default_calibration: ClassVar[Any] = "none"
    extra: ClassVar[str | None] = "ebm"
    default_steps: ClassVar[tuple[Any, ...]] = ("encode",)
    interpretable: ClassVar[bool] = True
    takes_missing: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Explainable boosting machine: as readable as a sum of curves, often as strong as boosted trees",
        "可解释提升机：像曲线之和一样可读，常与提升树一样强",
    )
    space: ClassVar[dict[str, Any]] = {
        "interactions": {"choices": [0, 5, 10, 20]},
        "learning_rate": (0.005, 0.1, "log"),
        "min_samples_leaf": (2, 50, "log"),
    }

    interactions: int = 10
    bags: int = 8
    learning_rate: float = 0.015
    min_samples_leaf: int = 4
    max_rounds: int = 5000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """interpret-core's EBM, in this process alone (its own parallelism starts others and writes to /tmp)."""
        try:
            from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
        except ImportError:
            raise MissingExtra("ebm", "the model 'ebm'") from None
        many = isinstance(task, Classify) and not task.binary
        return (ExplainableBoostingClassifier if isinstance(task, Classify) else ExplainableBoostingRegressor)(
            feature_types=["continuous"] * shape[1],  # declared, not guessed from the values
            interactions=0 if many else self.interactions,  # the library has pairs for two classes or a number only
            outer_bags=self.bags,
            learning_rate=self.learning_rate,
            min_samples_leaf=self.min_samples_leaf,
            max_rounds=self.max_rounds,
            random_state=seed,
            n_jobs=1,
        )

    def terms(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Term names (pairs as "a × b"), contributions of shape (rows, terms), intercept, on the log-odds or the
        value's scale; raises DataError for three or more classes."""
        learnt = self.learnt
        if isinstance(learnt.task, Classify) and not learnt.task.binary:
            raise DataError("terms are defined for two classes or a number", "explain by permutation instead")
        names = [" × ".join(learnt.fields[i].name for i in term) for term in learnt.estimator.term_features_]
        found = np.asarray(learnt.estimator.eval_terms(self.inputs(cohort)), dtype=np.float64)
        return names, found, float(np.asarray(learnt.estimator.intercept_).reshape(-1)[0])
