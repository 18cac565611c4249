"""HasNetwork: what an explanation of a network asks of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class HasNetwork(Protocol):
    """A model that is a torch network from images to one logit a class."""

    def network(self) -> nn.Module:
        """The fitted network in evaluation mode: (n, channels, height, width) → logits (n, classes)."""
        ...

    def target_layer(self) -> str:
        """Name (as in `named_modules`) of the last layer whose output is a map (n, features, h, w),
        or tokens (n, tokens, features) of a square laid out row by row, maybe after a class token."""
        ...

    def inputs(self, cohort: Cohort) -> NDArray[np.float32]:
        """What the network takes, one image a row: (rows, channels, height, width), 0 at the training mean."""
        ...

    def pictures(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of the normalisation: the same images in 0..1, to be shown."""
        ...

    def covered(self, cohort: Cohort) -> NDArray[np.bool_]:
        """Where the inputs hold picture, not filling: (rows, height, width)."""
        ...

    def laid(self, planes: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Planes (h, w) over the cohort's images as the inputs show them: (rows, height, width), 0 on the filling."""
        ...


def as_network(model: Any) -> HasNetwork | None:
    """The model as one with a network, None where it has none."""
    return model if isinstance(model, HasNetwork) else None
