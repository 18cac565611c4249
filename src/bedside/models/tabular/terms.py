"""HasTerms for models that are linear on their scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.models.tabular.estimator import Estimator
from bedside.models.task import Classify


class LinearTerms(Estimator):
    """A linear model: its terms are coefficient × value, on the log-odds (of `positive`) or the value's scale."""

    def terms(self, cohort: Cohort) -> tuple[list[str], NDArray[np.float64], float]:
        """Field names, contributions of shape (rows, fields), intercept; raises DataError for three or more classes."""
        learnt = self.learnt
        if isinstance(learnt.task, Classify) and not learnt.task.binary:
            raise DataError("terms are defined for two classes or a number", "explain by permutation instead")
        coefficients = np.asarray(learnt.estimator.coef_, dtype=np.float64).reshape(-1) * learnt.spread
        intercept = float(np.asarray(learnt.estimator.intercept_).reshape(-1)[0]) * learnt.spread + learnt.center
        return [item.name for item in learnt.fields], self.inputs(cohort) * coefficients, intercept
