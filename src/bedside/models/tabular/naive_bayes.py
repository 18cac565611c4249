"""Gaussian naive Bayes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.estimator import Estimator
from bedside.models.tabular.matrix import ClassWeight
from bedside.models.task import Task


@dataclass(eq=False)
class NaiveBayes(Estimator):
    """Each input is normal within each class and independent of the others: quick, and overconfident."""

    name: ClassVar[str] = "naive_bayes"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    interpretable: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Gaussian naive Bayes: learns from very few rows, needs calibration",
        "高斯朴素贝叶斯：极少样本即可学习，需要校准",
    )
    space: ClassVar[dict[str, Any]] = {"smoothing": (1e-9, 1e-1, "log")}

    smoothing: float = 1e-9
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's GaussianNB."""
        from sklearn.naive_bayes import GaussianNB

        return GaussianNB(var_smoothing=self.smoothing)
