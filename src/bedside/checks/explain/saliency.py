"""What every heat map of a network is: one number ≥ 0 a place, the more the more it speaks for a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = NDArray[np.float32]
Maps = NDArray[np.float64]
Classes = NDArray[np.int64]
AT_ONCE = 32


class Saliency(ABC):
    """A way of making heat maps. Its name is that of the plan; the class says from which paper.

    What is explained is the score s of a class: its logit less the mean of all logits, for only the differences of
    logits decide. All ways share it, so their maps can be compared.
    """

    name: ClassVar[str]

    @abstractmethod
    def maps(self, network: nn.Module, layer: str, inputs: Floats, classes: Classes) -> Maps:
        """Maps (n, h, w), each ≥ 0 and coarser than the images.

        `inputs` (n, c, height, width), 0 at the training mean; `classes` (n,) the class explained in each; `layer` the
        network's last map. Raises PlanError for a network that has no such map.
        """

    @abstractmethod
    def passes(self, network: nn.Module, layer: str, inputs: Floats) -> int:
        """How many forward passes one map costs; a backward pass counts as two."""


def scores(logits: Tensor, classes: Tensor) -> Tensor:
    """s of each image's class (n,), from logits (n, classes)."""
    return logits.gather(1, classes[:, None])[:, 0] - logits.mean(dim=1)


def forward(network: nn.Module, inputs: Floats, classes: Classes) -> Maps:
    """s of each image's class (n,), without gradients."""
    import torch

    out = np.zeros(len(inputs))
    with torch.inference_mode():
        for rows in batches(len(inputs)):
            found = scores(network(torch.from_numpy(inputs[rows])), torch.from_numpy(classes[rows]))
            out[rows] = found.double().numpy()
    return out


def batches(n: int) -> Iterator[slice]:
    """Slices of at most 32 rows."""
    return (slice(start, min(start + AT_ONCE, n)) for start in range(0, n, AT_ONCE))


@contextmanager
def held(network: nn.Module, layer: str) -> Iterator[list[Any]]:
    """Inside, each forward pass leaves the layer's output in the list, cut off from what came before it."""
    out: list[Any] = []

    def keep(_module: Any, _given: Any, output: Any) -> Any:
        out[:] = [output.detach().requires_grad_(True)]
        return out[0]

    modules = dict(network.named_modules())
    if layer not in modules:
        raise PlanError(f"explain: the network has no layer '{layer}'", "use occlusion or integrated_gradients")
    handle = modules[layer].register_forward_hook(keep)
    try:
        yield out
    finally:
        handle.remove()


def as_maps(output: Any) -> Tensor:
    """A layer's output as maps (n, features, h, w): what it is, or tokens (n, tokens, features) laid out as the square
    they were cut from, a class token at their head left out. Raises PlanError for any other."""
    if getattr(output, "ndim", 0) == 4:
        return output  # type: ignore[no-any-return]
    if getattr(output, "ndim", 0) == 3:
        for extra in (0, 1):
            side = isqrt(output.shape[1] - extra)
            if side > 1 and side**2 == output.shape[1] - extra:
                laid: Tensor = output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
                return laid
    shape = tuple(getattr(output, "shape", ()))
    raise PlanError(
        f"explain: this network has no map; its layer gives {shape}", "use occlusion or integrated_gradients"
    )


def activations(network: nn.Module, layer: str, inputs: Floats) -> Floats:
    """The layer's maps (n, features, h, w)."""
    import torch

    out = []
    with torch.no_grad(), held(network, layer) as output:
        for rows in batches(len(inputs)):
            network(torch.from_numpy(inputs[rows]))
            out.append(as_maps(output[0]).detach().numpy())
    return np.concatenate(out)


def edges(side: int, cells: int) -> NDArray[np.int64]:
    """The bounds (cells + 1) of about equal cells along a side of so many pixels; no cell is below a pixel."""
    count = min(side, cells)
    return np.round(np.linspace(0, side, count + 1)).astype(np.int64)
