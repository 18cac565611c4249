"""Structured pruning: whole channels leave a network, so that what is left is an ordinary, narrower one.

Channels between two convolutions can go when nothing else sees them: the first loses filters, normalisations and
depthwise convolutions in between lose the same channels, the second loses what it did with them. Which ones: those of
the smallest L1 norm (Li 2017), or of the smallest scale of the normalisation (Liu 2017). The last map keeps its width.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bedside.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor, nn

By = Literal["l1", "scale"]
BLOCK = 8  # channels that a processor computes at once: a width is kept a multiple of it
_WAY_OUT = "choose --int8 or --distill"


@dataclass(frozen=True)
class Chain:
    """Names of a convolution, of what its channels pass one by one, and of the convolution that takes them."""

    first: str
    between: tuple[str, ...]
    last: str


def pruned(network: nn.Module, share: float, by: By = "l1") -> nn.Module:
    """A copy of a network without `share` of the channels of every chain, at least one kept.

    Raises PlanError for a share outside 0..0.9, and for a network that has no such chain or cannot be followed.
    """
    import torch

    if isinstance(share, bool) or not 0 < share <= 0.9:
        raise PlanError(f"a share of {share!r} channels cannot be pruned", "give a number above 0, at most 0.9")
    if by not in ("l1", "scale"):
        raise PlanError(f"channels cannot be chosen by {by!r}", "l1 or scale")
    smaller = copy.deepcopy(network)
    found = chains(smaller)
    if not found:
        raise PlanError("this network has no channels that only two convolutions see", _WAY_OUT)
    with torch.no_grad():
        for chain in found:
            _narrow(dict(smaller.named_modules()), chain, share, by)
    return smaller.requires_grad_(True)


def chains(network: nn.Module) -> list[Chain]:
    """Every chain of a network, in order. Raises PlanError for one that cannot be followed."""
    from torch import fx

    try:
        nodes = list(fx.symbolic_trace(network).graph.nodes)
    except Exception as error:  # what tracing raises depends on what the network does
        raise PlanError(f"this network cannot be followed step by step: {type(error).__name__}", _WAY_OUT) from None
    modules = dict(network.named_modules())
    uses: dict[str, int] = {}
    for node in nodes:
        if node.op == "call_module":
            uses[node.target] = uses.get(node.target, 0) + 1
    out = []
    for node in nodes:
        if node.op == "call_module" and _whole(modules[node.target]) and uses[node.target] == 1:
            chain = _followed(node, modules, uses)
            if chain is not None:
                out.append(chain)
    return out


def _followed(node: Any, modules: dict[str, Any], uses: dict[str, int]) -> Chain | None:
    first, between = node.target, []
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module":
            return None
        module = modules[node.target]
        if _whole(module):
            return Chain(first, tuple(between), node.target) if uses[node.target] == 1 else None
        if not _channel_by_channel(module) or (any(True for _ in module.parameters()) and uses[node.target] > 1):
            return None
        between.append(node.target)
    return None


def _whole(module: Any) -> bool:
    """Whether it is a convolution in which every channel meets every other."""
    from torch import nn

    return isinstance(module, nn.Conv2d) and module.groups == 1


def _channel_by_channel(module: Any) -> bool:
    from torch import nn

    if isinstance(module, nn.Conv2d):
        return module.groups == module.in_channels == module.out_channels
    plain = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Dropout, nn.Identity, nn.MaxPool2d, nn.AvgPool2d)
    return isinstance(module, (nn.BatchNorm2d, nn.ConstantPad2d, nn.ZeroPad2d, *plain))


def _narrow(modules: dict[str, Any], chain: Chain, share: float, by: By) -> None:
    from torch import nn

    first, last = modules[chain.first], modules[chain.last]
    keep = _kept(first, [modules[name] for name in chain.between], share, by)
    _set(first, "weight", first.weight[keep])
    if first.bias is not None:
        _set(first, "bias", first.bias[keep])
    first.out_channels = len(keep)
    for module in (modules[name] for name in chain.between):
        if isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "bias"):
                _set(module, name, getattr(module, name)[keep])
            module.running_mean, module.running_var = module.running_mean[keep], module.running_var[keep]
            module.num_features = len(keep)
        elif isinstance(module, nn.Conv2d):
            _set(module, "weight", module.weight[keep])
            if module.bias is not None:
                _set(module, "bias", module.bias[keep])
            module.in_channels = module.out_channels = module.groups = len(keep)
    _set(last, "weight", last.weight[:, keep])
    last.in_channels = len(keep)


def _kept(first: Any, between: list[Any], share: float, by: By) -> Tensor:
    """Indices of the channels that stay, in order; among equals the earlier."""
    import torch
    from torch import nn

    scales = [module.weight for module in between if isinstance(module, nn.BatchNorm2d)]
    if by == "scale" and not scales:
        raise PlanError("a convolution without normalisation has no scale to choose by", "choose by l1")
    size = scales[0].abs() if by == "scale" else first.weight.abs().sum(dim=(1, 2, 3))
    n = len(size)
    wanted = max(1, n - math.floor(share * n))
    if n >= 2 * BLOCK:
        wanted = min(n, BLOCK * math.ceil(wanted / BLOCK))
    order = torch.sort(size, descending=True, stable=True).indices
    return torch.sort(order[:wanted]).values


def _set(module: Any, name: str, value: Tensor) -> None:
    from torch import nn

    setattr(module, name, nn.Parameter(value.detach().clone()))
