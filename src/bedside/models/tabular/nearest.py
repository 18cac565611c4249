"""k nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.estimator import Estimator
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class NearestNeighbours(Estimator):
    """The mean of the k most similar training rows. It is its training rows: it keeps patients' data."""

    name: ClassVar[str] = "knn"
    keeps_rows: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "k nearest neighbours: the mean of similar patients; the model file holds training rows",
        "k 近邻：相似患者的平均；模型文件含训练数据行",
    )
    space: ClassVar[dict[str, Any]] = {"k": (3, 100, "log")}

    k: int = 15

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's KNeighbors, by brute force; k is at most the number of rows."""
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

        kind = KNeighborsClassifier if isinstance(task, Classify) else KNeighborsRegressor
        return kind(n_neighbors=min(self.k, shape[0]), algorithm="brute", n_jobs=1)
