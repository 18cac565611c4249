"""One label of a network that answers several, as a network of two classes: what explains two classes explains it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.models.predictions import Predictions
from bedside.models.task import Classify

if TYPE_CHECKING:
    from torch import nn

    from bedside.cohort.store import Store


class OneLabel:
    """A label's answers, and its network: logits (−z/2, z/2) of the label's own z, whose softmax is z's sigmoid."""

    keeps_rows = False

    def __init__(self, whole: Any, label: Classify, index: int) -> None:
        self.whole = whole
        self.name = whole.name
        self.label = label
        self.index = index

    def parameters(self) -> dict[str, Any]:
        """The arguments of the whole network's __init__, as JSON."""
        return dict(self.whole.parameters())

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Probabilities that the label does not apply and that it does, one image a row."""
        found: Predictions = self.whole.predict(cohort, out=out)
        return found.of_label(self.label.target)

    def network(self) -> nn.Module:
        """The network from (n, channels, height, width) to (n, 2) logits."""
        import torch
        from torch import nn

        index = self.index

        class TwoLogits(nn.Module):
            def __init__(self, whole: nn.Module) -> None:
                super().__init__()
                self.whole = whole

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                half = self.whole(images)[:, index] / 2
                return torch.stack([-half, half], dim=1)

        return TwoLogits(self.whole.network()).eval()

    def target_layer(self) -> str:
        """The whole network's, which all labels share."""
        return f"whole.{self.whole.target_layer()}"

    def inputs(self, cohort: Cohort) -> NDArray[np.float32]:
        """What the network takes, shape (rows, channels, height, width)."""
        found: NDArray[np.float32] = self.whole.inputs(cohort)
        return found

    def pictures(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs as images in 0..1 again."""
        found: NDArray[np.float32] = self.whole.pictures(inputs)
        return found

    def covered(self, cohort: Cohort) -> NDArray[np.bool_]:
        """Where the inputs hold picture, not filling, shape (rows, height, width)."""
        found: NDArray[np.bool_] = self.whole.covered(cohort)
        return found

    def laid(self, planes: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Planes (h, w) over the images as the inputs show them, shape (rows, height, width)."""
        found: NDArray[np.float32] = self.whole.laid(planes)
        return found
