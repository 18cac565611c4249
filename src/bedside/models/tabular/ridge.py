"""Ridge: linear or logistic regression with an L2 penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.terms import LinearTerms
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class Ridge(LinearTerms):
    """Minimises the summed loss (log loss, or half the squared error) + strength / 2 · Σ coefficient² (Hoerl 1970)."""

    name: ClassVar[str] = "ridge"
    interpretable: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Ridge: linear or logistic regression that shrinks all coefficients, for correlated inputs",
        "岭回归：收缩全部系数的线性或逻辑回归，适合相关的输入变量",
    )
    space: ClassVar[dict[str, Any]] = {"strength": (1e-2, 1e3, "log")}

    strength: float = 1.0
    max_iter: int = 1000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's LogisticRegression or Ridge."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.linear_model import Ridge as LinearRidge

        if isinstance(task, Classify):
            return LogisticRegression(C=1 / self.strength, max_iter=self.max_iter, tol=1e-6)
        return LinearRidge(alpha=self.strength, random_state=seed)
