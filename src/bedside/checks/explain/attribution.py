"""Heat maps from the pixels themselves: they ask no layer, only what the score does when pixels go."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bedside.checks.explain.saliency import Classes, Floats, Maps, Saliency, batches, edges, forward, scores

if TYPE_CHECKING:
    from torch import nn


class IntegratedGradients(Saliency):
    """(x − x₀) ∫ ∂s/∂x on the way from x₀ = 0, the training mean, to x; of each cell the sum, where it is above 0.

    The integral is Gauss and Legendre's with `STEPS` points. Source: Sundararajan 2017.
    """

    name: ClassVar[str] = "integrated_gradients"
    STEPS: ClassVar[int] = 32
    CELLS: ClassVar[int] = 16

    def maps(self, network: nn.Module, layer: str, inputs: Floats, classes: Classes) -> Maps:
        """Maps of 16 × 16 cells: ReLU of the sum of the attributions in each."""
        each = self.attributions(network, inputs, classes).sum(axis=1)
        rows, columns = (edges(side, self.CELLS)[:-1] for side in inputs.shape[2:])
        return np.maximum(np.add.reduceat(np.add.reduceat(each, rows, axis=1), columns, axis=2), 0.0)

    def attributions(self, network: nn.Module, inputs: Floats, classes: Classes) -> Maps:
        """What each value adds to the score, the shape of the inputs; they sum to s(x) − s(0) (completeness)."""
        import torch

        at, share = np.polynomial.legendre.leggauss(self.STEPS)
        total = np.zeros(inputs.shape)
        with torch.enable_grad():
            for rows in batches(len(inputs)):
                x, chosen = torch.from_numpy(inputs[rows]), torch.from_numpy(classes[rows])
                for position, weight in zip((1 + at) / 2, share / 2, strict=True):
                    between = (x * float(position)).requires_grad_(True)
                    (gradient,) = torch.autograd.grad(scores(network(between), chosen).sum(), between)
                    total[rows] += weight * gradient.double().numpy()
        return total * inputs

    def passes(self, network: nn.Module, layer: str, inputs: Floats) -> int:
        """There and back, once a point."""
        return 3 * self.STEPS


class Occlusion(Saliency):
    """How far the score falls when a square window of the image becomes the training mean, averaged over the windows
    that cover a cell. Windows are two cells wide and move by one. Source: Zeiler and Fergus 2014."""

    name: ClassVar[str] = "occlusion"
    CELLS: ClassVar[int] = 12

    def maps(self, network: nn.Module, layer: str, inputs: Floats, classes: Classes) -> Maps:
        """Maps of 12 × 12 cells."""
        rows, columns = (edges(side, self.CELLS) for side in inputs.shape[2:])
        windows = [(i, j) for i in range(max(1, len(rows) - 2)) for j in range(max(1, len(columns) - 2))]
        fall = np.zeros((len(inputs), len(rows) - 1, len(columns) - 1))
        covered = np.zeros(fall.shape[1:])
        whole = forward(network, inputs, classes)
        for i, j in windows:
            without = inputs.copy()
            without[:, :, rows[i] : rows[i : i + 3][-1], columns[j] : columns[j : j + 3][-1]] = 0
            fall[:, i : i + 2, j : j + 2] += (whole - forward(network, without, classes))[:, None, None]
            covered[i : i + 2, j : j + 2] += 1
        return np.maximum(fall / covered, 0.0)

    def passes(self, network: nn.Module, layer: str, inputs: Floats) -> int:
        """One a window, and the image itself."""
        rows, columns = (len(edges(side, self.CELLS)) for side in inputs.shape[2:])
        return max(1, rows - 2) * max(1, columns - 2) + 1
