"""Grad-CAM: where in an image a network finds what speaks for a class (Selvaraju 2017), and what it is tested with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bedside.models.seeded import seeded

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float32]
AT_ONCE = 32


def grad_cam(network: nn.Module, layer: str, inputs: Floats, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Maps ≥ 0 of shape (n, h, w), as coarse as the layer's own: ReLU(Σ_k mean(∂s/∂A_k) A_k).

    `inputs` (n, c, height, width), `classes` (n,) the class explained in each. s is that class's logit less the mean of
    all logits, for only the differences of logits decide; A_k are the layer's maps.
    """
    import torch

    held: list[Any] = []

    def keep(_module: Any, _given: Any, output: Any) -> Any:
        held[:] = [output.detach().requires_grad_(True)]
        return held[0]

    handle = dict(network.named_modules())[layer].register_forward_hook(keep)
    maps = []
    try:
        for start in range(0, len(inputs), AT_ONCE):
            with torch.enable_grad():
                logits = network(torch.from_numpy(inputs[start : start + AT_ONCE]))
                chosen = torch.from_numpy(classes[start : start + AT_ONCE])[:, None]
                score = (logits.gather(1, chosen)[:, 0] - logits.mean(dim=1)).sum()
                (gradient,) = torch.autograd.grad(score, held[0])
            weight = gradient.mean(dim=(2, 3), keepdim=True)
            maps.append(torch.relu((weight * held[0].detach()).sum(dim=1)).double().numpy())
    finally:
        handle.remove()
    return np.concatenate(maps) if maps else np.zeros((0, 1, 1))


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy of the network whose layers have all forgotten what they learnt (Adebayo 2018)."""
    other = copy.deepcopy(network)
    with seeded(seed, "randomised", threads=1):
        for module in other.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return other.eval()


def probabilities(network: nn.Module, inputs: Floats, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of each image's class, shape (n,)."""
    import torch

    out = np.zeros(len(inputs))
    with torch.inference_mode():
        for start in range(0, len(inputs), AT_ONCE):
            p = torch.softmax(network(torch.from_numpy(inputs[start : start + AT_ONCE])).double(), dim=1).numpy()
            out[start : start + len(p)] = p[np.arange(len(p)), classes[start : start + len(p)]]
    return out


def enlarged(maps: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Maps (n, h, w) between whose cells it is interpolated, at the size of the image (n, height, width)."""
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(maps)[:, None]
    made: NDArray[np.float64] = interpolate(planes, size=(height, width), mode="bilinear", align_corners=False).numpy()
    return made[:, 0]


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
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


def removal_curve(
    score: Callable[[Floats], NDArray[np.float64]],
    full: Floats,
    empty: Floats,
    order: NDArray[np.int64],
    shape: tuple[int, int],
    steps: int,
) -> NDArray[np.float64]:
    """Area under the score as cells pass from `full` to `empty` in `order` (n, cells), shape (n,) (Petsiuk 2018).

    Cells are those of a map of `shape` laid over the images; the area is over the share of cells (trapezoid rule).
    """
    n, cells = order.shape
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(cells)[None].repeat(n, axis=0), axis=1)
    rows = np.arange(full.shape[2]) * shape[0] // full.shape[2]
    columns = np.arange(full.shape[3]) * shape[1] // full.shape[3]
    rank = rank.reshape(n, *shape)[:, rows][:, :, columns]
    shares = np.linspace(0, 1, steps + 1)
    values = [score(np.where((rank < share * cells)[:, None], empty, full)) for share in shares]
    return np.asarray(np.trapezoid(np.stack(values, axis=1), shares, axis=1))
