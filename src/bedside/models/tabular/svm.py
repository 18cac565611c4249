"""Support vector machines, linear and with a Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.estimator import Estimator
from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.terms import LinearTerms
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class LinearSVM(LinearTerms):
    """A linear margin (squared hinge loss; for a number ε-insensitive). See Estimator.probabilities for its scores."""

    name: ClassVar[str] = "linear_svm"
    interpretable: ClassVar[bool] = True
    standardise_target: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Linear support vector machine: a margin, turned into a probability by calibration",
        "线性支持向量机：间隔模型，经校准转换为概率",
    )
    space: ClassVar[dict[str, Any]] = {"C": (1e-3, 1e2, "log")}

    C: float = 1.0
    max_iter: int = 10_000
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's LinearSVC or LinearSVR."""
        from sklearn.svm import LinearSVC, LinearSVR

        kind = LinearSVC if isinstance(task, Classify) else LinearSVR
        return kind(C=self.C, max_iter=self.max_iter, random_state=seed)


@dataclass(eq=False)
class RbfSVM(Estimator):
    """A margin in the space of a Gaussian kernel. Its support vectors are training rows: it keeps patients' data."""

    name: ClassVar[str] = "rbf_svm"
    keeps_rows: ClassVar[bool] = True
    standardise_target: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "Support vector machine with a Gaussian kernel: for small tables; the model file holds training rows",
        "高斯核支持向量机：适合小表；模型文件含训练数据行",
    )
    space: ClassVar[dict[str, Any]] = {"C": (1e-2, 1e2, "log"), "gamma": (1e-4, 1.0, "log")}

    C: float = 1.0
    gamma: float | str = "scale"
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's SVC or SVR."""
        from sklearn.svm import SVC, SVR

        return (SVC if isinstance(task, Classify) else SVR)(C=self.C, gamma=self.gamma)
