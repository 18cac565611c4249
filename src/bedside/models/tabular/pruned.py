"""What libraries keep of single training rows beyond what a prediction needs, taken out before a model is stored."""

from __future__ import annotations

import re
from typing import Any

NOT_NEEDED = frozenset(
    {
        # interpret: smallest and largest value of each input and of the target, histograms that end at them, counts
        # and scores of bins that may hold one row, for drawing only
        "feature_bounds_",
        "histogram_edges_",
        "histogram_weights_",
        "unique_val_counts_",
        "min_target_",
        "max_target_",
        "bin_weights_",
        "bagged_scores_",
        "standard_deviations_",
        # scikit-learn: an entry for each training row
        "cv_results_",
        "oob_decision_function_",
        "oob_prediction_",
        "outliers_",
        "x_scores_",
        "y_scores_",
    }
)
_RANGES = re.compile(r"^feature_infos=.*$", re.MULTILINE)


def pruned(estimator: Any) -> Any:
    """The fitted estimator, changed in place: it predicts as before and holds less of its training rows."""
    for name in NOT_NEEDED & set(vars(estimator)):
        delattr(estimator, name)
    if type(estimator).__module__ == "lightgbm.sklearn":
        import lightgbm

        text = estimator.booster_.model_to_string()
        estimator._Booster = lightgbm.Booster(model_str=without_ranges(text))
    return estimator


def without_ranges(text: str) -> str:
    """LightGBM's text without the smallest and largest value of every input, which no prediction looks at."""
    return _RANGES.sub(lambda line: re.sub(r"\[[^]]*\]", "[0:0]", line[0]), text)
