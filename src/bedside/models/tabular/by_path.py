"""Any estimator of scikit-learn, LightGBM or interpret by its dotted path."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, ClassVar

from bedside.errors import MissingExtra, PlanError
from bedside.models.tabular.estimator import Estimator
from bedside.models.task import Classify, Task

LIBRARIES = ("sklearn.", "lightgbm.", "interpret.")
KEEPS_ROWS = frozenset(
    f"{name}{kind}"
    for name in ("KNeighbors", "RadiusNeighbors", "GaussianProcess", "Bagging")
    for kind in ("Classifier", "Regressor")
) | {"SVC", "SVR", "NuSVC", "NuSVR", "KernelRidge", "AdaBoostRegressor"}
# A tree of numbers with leaves of one row is a list of the training targets.
_LEAST_LEAF = {
    "DecisionTreeRegressor": ("min_samples_leaf", 1),
    "ExtraTreeRegressor": ("min_samples_leaf", 1),
    "ExtraTreesRegressor": ("min_samples_leaf", 1),
    "RandomForestRegressor": ("min_samples_leaf", 1),
    "GradientBoostingRegressor": ("min_samples_leaf", 1),
    "HistGradientBoostingRegressor": ("min_samples_leaf", 20),
    "LGBMRegressor": ("min_child_samples", 20),
    "ExplainableBoostingRegressor": ("min_samples_leaf", 4),
}


class ByPath(Estimator):
    """`{name: sklearn, path: sklearn.ensemble.ExtraTreesClassifier, …}`: the parameters are the estimator's own.

    The path must name a class with fit and predict in one of three libraries, and everything it learns must be of an
    allowed type (bedside.models.allowed), or fitting is refused by name. `seed` and threads come from the run.
    """

    name: ClassVar[str] = "sklearn"
    summary: ClassVar[tuple[str, str]] = (
        "Any scikit-learn, LightGBM or interpret estimator by its dotted path",
        "以点分路径指定的任意 scikit-learn、LightGBM 或 interpret 估计器",
    )

    def __init__(self, path: str = "", **options: Any) -> None:
        self.path = path
        self.options = options
        name = path.rpartition(".")[2]
        self.keeps_rows = name in KEEPS_ROWS or _leaves_of_one(name, options)  # type: ignore[misc]

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__, as JSON."""
        return {"path": self.path, **self.options}

    def build(self, task: Task, *, shape: tuple[int, int], seed: int, threads: int) -> Any:
        """The estimator; raises PlanError for a path, a parameter or a kind of task that does not fit."""
        wants = "classifier" if isinstance(task, Classify) else "regressor"
        if _kind_of(self.library_class()) != wants:
            raise PlanError(f"'{self.path}' is no {wants}", f"choose one for the task {task.kind}")
        given: dict[str, Any] = {"random_state": seed, "n_jobs": threads}
        if self.path.startswith("lightgbm."):
            given.update(deterministic=True, force_row_wise=True, verbose=-1)
        return self.made(given)

    def made(self, given: dict[str, Any]) -> Any:
        """The estimator with its own options, and those of `given` that it knows."""
        kind = self.library_class()
        known = inspect.signature(kind).parameters
        free = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in known.values())
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            raise PlanError(f"'{self.path}' has no parameter {unknown}", "it has: " + ", ".join(known))
        try:
            return kind(**{**{key: value for key, value in given.items() if free or key in known}, **self.options})
        except TypeError as error:
            raise PlanError(f"'{self.path}': {error}", "give the parameters it needs, as plain values") from None

    def library_class(self) -> Any:
        """The class behind the path; raises PlanError when there is none that may be used."""
        module, _, name = self.path.rpartition(".")
        if not self.path.startswith(LIBRARIES):
            raise PlanError(f"path '{self.path}' is not allowed", f"it must begin with {', '.join(LIBRARIES)}")
        try:
            kind = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name == "interpret":
                raise MissingExtra("ebm", f"'{self.path}'") from None
            raise PlanError(f"there is no '{self.path}': {error}", "check the path") from None
        except AttributeError:
            raise PlanError(f"there is no '{name}' in {module}", "check the path") from None
        if not (inspect.isclass(kind) and hasattr(kind, "fit") and hasattr(kind, "predict")):
            raise PlanError(f"'{self.path}' is not a class with fit and predict", "name an estimator")
        return kind

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether the library says that the estimator takes NaN."""
        if not self.path.startswith("sklearn."):
            return True
        from sklearn.utils import get_tags

        return bool(get_tags(self.made({})).input_tags.allow_nan)

    def learn(self, x: Any, y: Any, w: Any, held_out: Any, *, task: Task, run: Any) -> Any:
        """As any estimator; predicts in one thread, so that sums are always formed in one order."""
        estimator = super().learn(x, y, w, held_out, task=task, run=run)
        if getattr(estimator, "n_jobs", None) is not None:
            estimator.n_jobs = 1
        return estimator


def _leaves_of_one(name: str, options: dict[str, Any]) -> bool:
    """Whether an estimator of a number may grow a leaf of one row (a share of rows may be one row, too)."""
    if name not in _LEAST_LEAF:
        return False
    parameter, default = _LEAST_LEAF[name]
    least = options.get(parameter, default)
    return not isinstance(least, int) or least < 2


def _kind_of(kind: Any) -> str | None:
    from sklearn.base import ClassifierMixin, RegressorMixin

    if issubclass(kind, ClassifierMixin):
        return "classifier"
    return "regressor" if issubclass(kind, RegressorMixin) else None
