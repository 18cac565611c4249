"""Lasso and elastic net: linear or logistic regression that leaves inputs out."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.terms import LinearTerms
from bedside.models.task import Classify, Task


def penalised(task: Task, strength: float, l1_ratio: float, max_iter: int, *, rows: int, seed: int) -> Any:
    """The estimator of summed loss + strength · (l1_ratio · Σ|c| + (1 − l1_ratio) / 2 · Σc²); a number is scaled."""
    from sklearn.linear_model import ElasticNet as LinearElasticNet
    from sklearn.linear_model import LogisticRegression

    if not isinstance(task, Classify):
        return LinearElasticNet(alpha=strength / rows, l1_ratio=l1_ratio, max_iter=max_iter, tol=1e-6)
    # Since scikit-learn 1.8 l1_ratio alone says it, and naming the penalty is deprecated.
    named = inspect.signature(LogisticRegression).parameters["penalty"].default != "deprecated"
    common = {"C": 1 / strength, "l1_ratio": l1_ratio, "max_iter": max_iter, "random_state": seed}
    if l1_ratio == 1 and task.binary:
        # Coordinate descent: exact where saga needs minutes (more inputs than rows). It penalises the intercept too,
        # which a large scaling makes negligible.
        penalty = {"penalty": "l1"} if named else {}
        return LogisticRegression(solver="liblinear", intercept_scaling=100.0, tol=1e-6, **common, **penalty)
    penalty = {"penalty": "elasticnet"} if named else {}
    return LogisticRegression(solver="saga", tol=1e-4, **common, **penalty)


@dataclass(eq=False)
class ElasticNet(LinearTerms):
    """Linear or logistic regression with both penalties (Zou 2005)."""

    name: ClassVar[str] = "elastic_net"
    default_calibration: ClassVar[Any] = "none"
    interpretable: ClassVar[bool] = True
    standardise_target: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Elastic net: leaves out what does not help, keeps groups of correlated inputs together",
        "弹性网络：舍去无用变量，并保留成组的相关变量",
    )
    space: ClassVar[dict[str, Any]] = {"strength": (1e-2, 1e2, "log"), "l1_ratio": (0.0, 1.0)}

    strength: float = 1.0
    l1_ratio: float = 0.5
    max_iter: int = 2000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's LogisticRegression (saga) or ElasticNet."""
        return penalised(task, self.strength, self.l1_ratio, self.max_iter, rows=shape[0], seed=seed)


@dataclass(eq=False)
class Lasso(LinearTerms):
    """Linear or logistic regression with an L1 penalty (Tibshirani 1996)."""

    name: ClassVar[str] = "lasso"
    default_calibration: ClassVar[Any] = "none"
    interpretable: ClassVar[bool] = True
    standardise_target: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Lasso: a short list of inputs, for more inputs than patients",
        "Lasso：给出简短的变量清单，适合变量多于患者的数据",
    )
    space: ClassVar[dict[str, Any]] = {"strength": (1e-2, 1e2, "log")}

    strength: float = 1.0
    max_iter: int = 2000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's LogisticRegression (liblinear; saga for three classes) or ElasticNet, with l1_ratio 1."""
        return penalised(task, self.strength, 1.0, self.max_iter, rows=shape[0], seed=seed)
