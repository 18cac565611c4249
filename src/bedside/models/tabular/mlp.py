"""A small neural network on tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bedside.models.tabular.estimator import Estimator
from bedside.models.tabular.matrix import ClassWeight
from bedside.models.task import Classify, Task


@dataclass(eq=False)
class MLP(Estimator):
    """A multilayer perceptron with ReLU units, trained by Adam (Kingma 2015) with weight decay."""

    name: ClassVar[str] = "mlp"
    standardise_target: ClassVar[bool] = True
    summary: ClassVar[tuple[str, str]] = (
        "A small neural network: smooth non-linear effects on scaled inputs",
        "小型神经网络：在标准化输入上学习平滑的非线性效应",
    )
    space: ClassVar[dict[str, Any]] = {
        "decay": (1e-5, 1.0, "log"),
        "learning_rate": (1e-4, 1e-2, "log"),
        "hidden": {"choices": [[16], [32], [64], [32, 16]]},
    }

    hidden: tuple[int, ...] | list[int] = (32,)
    decay: float = 1e-2
    learning_rate: float = 1e-3
    epochs: int = 300
    class_weight: ClassWeight = None

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """scikit-learn's MLP."""
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        return (MLPClassifier if isinstance(task, Classify) else MLPRegressor)(
            hidden_layer_sizes=tuple(self.hidden),
            alpha=self.decay,
            learning_rate_init=self.learning_rate,
            max_iter=self.epochs,
            random_state=seed,
        )

    def pack(self, estimator: Any) -> dict[str, bytes]:
        """Without the optimiser's state, which only further training would need."""
        for name in ("_optimizer", "_random_state"):
            vars(estimator).pop(name, None)
        return super().pack(estimator)
