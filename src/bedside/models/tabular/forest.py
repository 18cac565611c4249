"""Random forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.matrix import ClassWeight
from bedside.models.tabular.trees import ShapTrees, refuse_leaves_of_one
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class RandomForest(ShapTrees):
    """A random forest (Breiman 2001): the mean of trees grown on bootstraps with random features at each split."""

    name: ClassVar[str] = "random_forest"
    summary: ClassVar[tuple[str, str]] = (
        "Random forest: robust, little to tune, keeps interactions",
        "随机森林：稳健、几乎无需调参、能捕捉交互作用",
    )
    space: ClassVar[dict[str, Any]] = {
        "min_samples_leaf": (2, 50, "log"),
        "max_features": {"choices": ["sqrt", 0.3, 0.6]},
    }

    trees: int = 300
    min_samples_leaf: int = 5
    max_depth: int | None = None
    max_features: str | float | None = "sqrt"
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's forest; the number of threads does not change it."""
        refuse_leaves_of_one(task, self.min_samples_leaf, "min_samples_leaf")
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestClassifier if isinstance(task, Classify) else RandomForestRegressor
        return kind(
            n_estimators=self.trees,
            min_samples_leaf=self.min_samples_leaf,
            max_depth=self.max_depth,
            max_features=self.max_features,
            random_state=seed,
            n_jobs=threads,
        )

    def learn(self, x: Any, y: Any, w: Any, held_out: Any, *, task: Task, run: Any) -> Any:
        """As any estimator; predicts in one thread, because several add the trees up in an order that varies."""
        forest = super().learn(x, y, w, held_out, task=task, run=run)
        return forest.set_params(n_jobs=1)
