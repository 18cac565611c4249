"""Explanation: what the model looks at, over all rows and for single ones, and how stable that is.

`Explain` is the check; `contributions` are exact additive explanations where the model has them (linear terms, EBM
terms, tree SHAP), `permutation_importance` what holds for any model, `nearest` and `nearest_images` the training cases
most like a row.
Heat maps of networks on images are `Saliency` classes (`heat_maps.METHODS`), put to the test by `heat_maps`.
"""

from bedside.checks.explain.check import Explain
from bedside.checks.explain.contributions import Contributions, contributions
from bedside.checks.explain.nearest import embeddings, nearest, nearest_images
from bedside.checks.explain.permutation import permutation_importance

__all__ = [
    "Contributions",
    "Explain",
    "contributions",
    "embeddings",
    "nearest",
    "nearest_images",
    "permutation_importance",
]
