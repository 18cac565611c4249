"""What heat maps are put to the test with: networks that have forgotten, images that fade, likeness of maps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bedside.checks.explain.saliency import Classes, Floats, Maps, batches
from bedside.models.seeded import seeded

if TYPE_CHECKING:
    from torch import nn


def randomised(network: nn.Module, seed: int, share: float = 1.0) -> nn.Module:
    """A copy of the network whose last layers, this share of all, have forgotten what they learnt.

    They get fresh weights, or, where they cannot make any, their own in another order. Source: Adebayo 2018 (cascading
    randomisation, from the output down).
    """
    import torch

    other = copy.deepcopy(network)
    layers = [module for module in other.modules() if next(module.parameters(recurse=False), None) is not None]
    with seeded(seed, "randomised", threads=1), torch.no_grad():
        for module in reversed(layers[len(layers) - ceil(share * len(layers)) :]):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
                continue
            for weight in module.parameters(recurse=False):
                weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
    return other.eval().requires_grad_(False)


def probabilities(network: nn.Module, inputs: Floats, classes: Classes) -> Maps:
    """The probability of each image's class, shape (n,)."""
    import torch

    out = np.zeros(len(inputs))
    with torch.inference_mode():
        for rows in batches(len(inputs)):
            p = torch.softmax(network(torch.from_numpy(inputs[rows])).double(), dim=1).numpy()
            out[rows] = p[np.arange(len(p)), classes[rows]]
    return out


def enlarged(maps: Maps, height: int, width: int) -> Maps:
    """Maps (n, h, w) between whose cells it is interpolated, at the size of the image (n, height, width)."""
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(maps)[:, None]
    made: Maps = interpolate(planes, size=(height, width), mode="bilinear", align_corners=False).numpy()
    return made[:, 0]


def rank_correlation(first: Maps, second: Maps) -> Maps:
    """Spearman's correlation of each pair of maps (n, h, w) over their cells, shape (n,); NaN for a flat map."""
    from scipy.stats import rankdata

    ranks = [rankdata(each.reshape(len(each), -1), axis=1) for each in (first, second)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0)


def blurred(inputs: Floats) -> Floats:
    """Images without detail: a Gaussian of an eighth of the side, what is left of a pixel that is taken away."""
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(each, sigma=(0, each.shape[1] / 8, each.shape[2] / 8)) for each in inputs])


def removal_curves(
    score: Callable[[Floats], Maps],
    full: Floats,
    empty: Floats,
    order: NDArray[np.int64],
    shape: tuple[int, int],
    steps: int,
) -> Maps:
    """The score (n, steps + 1) as ever more cells pass from `full` to `empty` in `order` (n, cells) (Petsiuk 2018).

    Cells are those of a map of `shape` laid over the images; from step to step an equal share of them passes.
    """
    n, cells = order.shape
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(cells)[None].repeat(n, axis=0), axis=1)
    rows, columns = (np.arange(full.shape[2 + k]) * shape[k] // full.shape[2 + k] for k in (0, 1))
    rank = rank.reshape(n, *shape)[:, rows][:, :, columns]
    shares = np.linspace(0, 1, steps + 1)
    return np.stack([score(np.where((rank < share * cells)[:, None], empty, full)) for share in shares], axis=1)


def area(curves: Maps) -> Maps:
    """Area under curves (n, steps + 1) over 0..1, shape (n,), by the trapezoid rule."""
    return np.asarray(np.trapezoid(curves, np.linspace(0, 1, curves.shape[1]), axis=1))
