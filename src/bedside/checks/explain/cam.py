"""Class activation maps: the last map's features, each weighed by what it does to the class's score."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bedside.checks.explain.saliency import (
    Classes,
    Floats,
    Maps,
    Saliency,
    activations,
    as_maps,
    batches,
    forward,
    held,
    scores,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


class _GradientWeighted(Saliency):
    """ReLU(Σ_k w_k A_k), where the weights w (n, k, 1, 1) come of the maps A and their gradients ∂s/∂A (n, k, h, w)."""

    @abstractmethod
    def weights(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """One weight a feature."""

    def maps(self, network: nn.Module, layer: str, inputs: Floats, classes: Classes) -> Maps:
        """Maps as coarse as the layer's own."""
        import torch

        found = []
        with torch.enable_grad(), held(network, layer) as output:
            for rows in batches(len(inputs)):
                logits = network(torch.from_numpy(inputs[rows]))
                total = scores(logits, torch.from_numpy(classes[rows])).sum()
                (gradient,) = torch.autograd.grad(total, output[0])
                seen, slope = as_maps(output[0].detach()).double(), as_maps(gradient).double()
                found.append(torch.relu((self.weights(seen, slope) * seen).sum(dim=1)).numpy())
        return np.concatenate(found) if found else np.zeros((0, 1, 1))

    def passes(self, network: nn.Module, layer: str, inputs: Floats) -> int:
        """There and back."""
        return 3


class GradCAM(_GradientWeighted):
    """w_k = mean of ∂s/∂A_k over its places. Source: Selvaraju 2017."""

    name: ClassVar[str] = "grad_cam"

    def weights(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """The mean gradient of each feature."""
        return gradients.mean(dim=(2, 3), keepdim=True)


class GradCAMPlusPlus(_GradientWeighted):
    """w_k = Σ α ReLU(g) over the places, α = g² / (2 g² + g³ Σ A_k), g = ∂s/∂A_k. Source: Chattopadhay 2018.

    The paper explains exp(s), whose derivatives are exp(s) times powers of g; that factor is the same for all features
    of an image, and left out.
    """

    name: ClassVar[str] = "grad_cam_plus_plus"

    def weights(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """The sum of what raises the score, places with a large gradient counting alike."""
        import torch

        below = 2 * gradients**2 + gradients**3 * maps.sum(dim=(2, 3), keepdim=True)
        share = torch.where(below != 0, gradients**2 / torch.where(below != 0, below, 1.0), 0.0)
        return (share * torch.relu(gradients)).sum(dim=(2, 3), keepdim=True)


class ScoreCAM(Saliency):
    """w_k = s(X ∘ M_k) − s(0): how far the feature's map, laid over the image as a mask, brings the score.

    M_k is A_k at the size of the image, scaled to 0..1; X = 0 is the training mean. No gradient is used. Of more than
    `MOST` features those are taken whose maps vary most. Source: Wang 2020, equations 6 and 7 (weights as they are,
    not through a softmax, so that features without effect have none).
    """

    name: ClassVar[str] = "score_cam"
    MOST: ClassVar[int] = 128

    def maps(self, network: nn.Module, layer: str, inputs: Floats, classes: Classes) -> Maps:
        """Maps as coarse as the layer's own."""
        if not len(inputs):
            return np.zeros((0, 1, 1))
        seen = activations(network, layer, inputs)
        empty = forward(network, np.zeros_like(inputs), classes)
        return np.stack([self._map(network, seen[i], inputs[i], classes[i], empty[i]) for i in range(len(inputs))])

    def passes(self, network: nn.Module, layer: str, inputs: Floats) -> int:
        """One a feature, the image itself and the mean."""
        return min(self.MOST, activations(network, layer, inputs[:1]).shape[1]) + 2

    def _map(self, network: nn.Module, seen: Floats, image: Floats, of: np.int64, empty: float) -> Maps:
        from bedside.checks.explain.maps import enlarged

        spread = seen.std(axis=(1, 2))
        chosen = np.sort(np.argsort(-spread, kind="stable")[: self.MOST])
        kept = seen[chosen].astype(np.float64)
        masks = enlarged(kept, *image.shape[1:])
        low, span = masks.min(axis=(1, 2), keepdims=True), np.ptp(masks, axis=(1, 2), keepdims=True)
        masks = np.divide(masks - low, span, out=np.zeros_like(masks), where=span > 0)
        masked = (image[None] * masks[:, None]).astype(np.float32)
        weights = forward(network, masked, np.full(len(chosen), of)) - empty
        return np.maximum((weights[:, None, None] * kept).sum(axis=0), 0.0)
