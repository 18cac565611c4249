"""A single decision tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.trees import ShapTrees, refuse_leaves_of_one
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class DecisionTree(ShapTrees):
    """A classification or regression tree (Breiman 1984), small enough to read."""

    name: ClassVar[str] = "decision_tree"
    interpretable: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "A small decision tree: can be drawn on a page",
        "小型决策树：一页纸即可画出",
    )
    space: ClassVar[dict[str, Any]] = {"max_depth": (1, 8), "min_samples_leaf": (5, 100, "log")}

    max_depth: int | None = 4
    min_samples_leaf: int = 20
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's tree."""
        refuse_leaves_of_one(task, self.min_samples_leaf, "min_samples_leaf")
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind = DecisionTreeClassifier if isinstance(task, Classify) else DecisionTreeRegressor
        return kind(max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=seed)
