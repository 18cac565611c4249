"""HasTrees for scikit-learn's trees and forests, by shap's exact tree explainer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, MissingExtra, PlanError
from bedside.models.tabular.estimator import Estimator
from bedside.models.task import Classify, Regress, Task


def refuse_leaves_of_one(task: Task, least: int, parameter: str) -> None:
    """Raise PlanError for trees of a number whose leaves may be one row: they would be a list of training targets."""
    if isinstance(task, Regress) and least < 2:
        raise PlanError(f"{parameter} is {least}: a leaf of one patient stores that patient's value", "give 2 or more")


class ShapTrees(Estimator):
    """Trees whose SHAP values add up to the probability of the last class, or to the value."""

    default_steps: ClassVar[tuple[Any, ...]] = ("encode",)
    takes_missing: ClassVar[bool] = True
    contribution_scale: ClassVar[str] = "probability"

    def contributions(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Field names, SHAP values of shape (rows, fields), base value. Source: Lundberg 2020, path dependent."""
        try:
            import shap
        except ImportError:
            raise MissingExtra("explain", f"SHAP values of '{self.name}'") from None
        learnt = self.learnt
        explainer = shap.TreeExplainer(learnt.estimator, feature_perturbation="tree_path_dependent")
        found = np.asarray(explainer.shap_values(self.inputs(cohort), check_additivity=False))
        base = np.atleast_1d(explainer.expected_value)
        if isinstance(learnt.task, Classify):
            if int(learnt.estimator.classes_[-1]) != len(learnt.task.classes) - 1:
                raise DataError(f"training held no row of class '{learnt.task.classes[-1]}', so nothing explains it")
            found = found[:, :, -1]
        return [item.name for item in learnt.fields], found.astype(np.float64), float(base[-1])
