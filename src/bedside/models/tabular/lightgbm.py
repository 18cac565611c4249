"""LightGBM: gradient-boosted trees, stored as LightGBM's own text format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import DataError, IntegrityError
from bedside.models.tabular.estimator import Estimator, seed_of
from bedside.models.tabular.matrix import ClassWeight, parameters_error
from bedside.models.tabular.pruned import without_ranges
from bedside.models.tabular.trees import refuse_leaves_of_one
from bedside.models.task import Classify, Task

FILE = "booster.txt"


@dataclass(eq=False)
class LightGBM(Estimator):
    """Gradient-boosted trees (Ke 2017); missing values take the better side of each split.

    With `early_stopping` rounds and a search part that holds every class, boosting stops when the loss on that part
    has not improved for so many rounds; otherwise all `rounds` are grown.
    """

    name: ClassVar[str] = "lightgbm"
    default_calibration: ClassVar[Any] = {"auto": "intercept"}
    default_steps: ClassVar[tuple[Any, ...]] = ("encode",)
    takes_missing: ClassVar[bool] = True
    contribution_scale: ClassVar[str] = "link"
    summary: ClassVar[tuple[str, str]] = (
        "Gradient-boosted trees: usually the strongest on large tables, takes missing values as they are",
        "梯度提升树：在大表上通常最强，可直接处理缺失值",
    )
    space: ClassVar[dict[str, Any]] = {
        "learning_rate": (0.01, 0.2, "log"),
        "leaves": (4, 63, "log"),
        "min_rows_leaf": (5, 100, "log"),
        "l2": (1e-2, 1e2, "log"),
        "feature_fraction": (0.4, 1.0),
    }

    rounds: int = 300
    learning_rate: float = 0.05
    leaves: int = 15
    min_rows_leaf: int = 20
    l2: float = 1.0
    feature_fraction: float = 1.0
    early_stopping: int | None = 50
    class_weight: ClassWeight = None

    def library_parameters(self, task: Task, *, seed: int, threads: int) -> dict[str, Any]:
        """LightGBM's own names for them."""
        objective: dict[str, Any] = {"objective": "regression"}
        if isinstance(task, Classify):
            many = {"objective": "multiclass", "num_class": len(task.classes)}
            objective = {"objective": "binary"} if task.binary else many
        return {
            **objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.feature_fraction,
            "seed": seed,
            "num_threads": threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def learn(self, x: NDArray[np.float64], y: Any, w: Any, held_out: Any, *, task: Task, run: Run) -> Any:
        """A booster read back from its text, so that what predicts now is what a file will hold."""
        import lightgbm

        refuse_leaves_of_one(task, self.min_rows_leaf, "min_rows_leaf")
        parameters = self.library_parameters(task, seed=seed_of(run), threads=run.threads)
        callbacks = []
        sets = {}
        if self.early_stopping is not None and _holds_every_class(held_out, task):
            xt, yt, wt = held_out
            sets = {"valid_sets": [lightgbm.Dataset(xt, yt, weight=wt)]}
            callbacks = [lightgbm.early_stopping(self.early_stopping, verbose=False)]
        try:
            booster = lightgbm.train(
                parameters, lightgbm.Dataset(x, y, weight=w), num_boost_round=self.rounds, callbacks=callbacks, **sets
            )
        except lightgbm.basic.LightGBMError as error:
            raise parameters_error(self.name, error) from None
        text = booster.model_to_string(num_iteration=booster.best_iteration)
        return lightgbm.Booster(model_str=without_ranges(text))

    def pack(self, estimator: Any) -> dict[str, bytes]:
        """LightGBM's text."""
        return {FILE: estimator.model_to_string().encode()}

    def unpack(self, files: Mapping[str, bytes], n_features: int) -> Any:
        """A booster of the text; raises IntegrityError when it is none over `n_features` inputs."""
        import lightgbm

        try:
            booster = lightgbm.Booster(model_str=files[FILE].decode())
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError, KeyError) as error:
            raise IntegrityError(f"{FILE} is not a LightGBM model: {error}") from None
        if booster.num_feature() != n_features:
            raise IntegrityError(f"{FILE} is over {booster.num_feature()} inputs, model.json names {n_features}")
        return booster

    def probabilities(self, x: NDArray[np.float64], task: Classify) -> NDArray[np.float64]:
        """Class probabilities, shape (rows, classes)."""
        if len(x) == 0:
            return np.zeros((0, len(task.classes)))
        p = np.asarray(self.learnt.estimator.predict(x, num_threads=1), dtype=np.float64)
        return np.column_stack([1 - p, p]) if task.binary else p

    def contributions(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Field names, SHAP values of shape (rows, fields), base value: on the log-odds or softmax scale of the last
        class, or the value's. Source: LightGBM's TreeSHAP (Lundberg 2020)."""
        learnt = self.learnt
        if len(cohort) == 0:
            raise DataError("there are no rows to explain")
        found = np.asarray(learnt.estimator.predict(self.inputs(cohort), pred_contrib=True, num_threads=1))
        last = found[:, -(len(learnt.fields) + 1) :]
        return [item.name for item in learnt.fields], last[:, :-1], float(last[0, -1])


def _holds_every_class(held_out: Any, task: Task) -> bool:
    if held_out is None:
        return False
    return not isinstance(task, Classify) or set(range(len(task.classes))) <= set(held_out[1].tolist())
