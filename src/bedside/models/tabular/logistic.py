"""Logistic regression: the baseline beside every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.terms import LinearTerms
from bedside.models.task import Task


@dataclass(eq=False)
class Logistic(LinearTerms):
    """Logistic (for more than two classes multinomial) regression by maximum likelihood with an L2 penalty.

    `C` is the inverse strength of the penalty on scaled inputs; None means none.
    """

    name: ClassVar[str] = "logistic"
    default_calibration: ClassVar[Any] = "none"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    interpretable: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Logistic regression with an L2 penalty: the simple, readable baseline",
        "带 L2 惩罚的逻辑回归：简单、可读的基线",
    )
    space: ClassVar[dict[str, Any]] = {"C": (1e-3, 1e2, "log")}

    C: float | None = 1.0
    max_iter: int = 1000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's LogisticRegression with the lbfgs solver."""
        from sklearn.linear_model import LogisticRegression

        c = float("inf") if self.C is None else self.C
        return LogisticRegression(C=c, max_iter=self.max_iter, tol=1e-6)
