"""Losses of image classifiers: pure functions from logits and targets to one number a row, one for each paper.

Targets are shares of classes, (n, classes), each row summing to 1: a label is a row of 0 and one 1, mixed images have
mixed labels. Every loss is linear in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedside.errors import PlanError

if TYPE_CHECKING:
    from torch import Tensor

LossFunction = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−Σ tₖ log pₖ, shape (n,), with p the softmax of logits (n, classes)."""
    return -(targets * logits.float().log_softmax(dim=1)).sum(dim=1)


def label_smoothing(logits: Tensor, targets: Tensor, amount: float) -> Tensor:
    """Cross-entropy with a share `amount` (0..1) of each target spread over all classes (Szegedy 2016, section 7)."""
    return cross_entropy(logits, (1.0 - amount) * targets + amount / targets.shape[1])


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """−Σ tₖ (1 − pₖ)^γ log pₖ, γ ≥ 0: what is already told apart counts less (Lin 2017, equation 4); γ = 0 is
    cross-entropy."""
    log_p = logits.float().log_softmax(dim=1)
    # log(1 − p) from log p, kept away from p = 1, where the power's derivative has no end for γ < 1.
    rest = (-log_p.clamp(max=-1e-6).expm1()).pow(gamma)
    return -(targets * rest * log_p).sum(dim=1)


@dataclass(frozen=True)
class Loss:
    """Which loss, and its one number: `cross_entropy`, {label_smoothing: 0.05} or {focal: 2}."""

    name: str
    value: float

    @classmethod
    def of(cls, spec: Any) -> Loss:
        """From a name or {name: number}; raises PlanError naming what there is."""
        name, value = next(iter(spec.items())) if isinstance(spec, Mapping) and len(spec) == 1 else (spec, None)
        usual = {"cross_entropy": (0.0, 0.0), "label_smoothing": (0.05, 0.5), "focal": (2.0, 10.0)}
        if not isinstance(name, str) or name not in usual:
            raise PlanError(f"loss {spec!r} is not known", "cross_entropy, {label_smoothing: 0.05} or {focal: 2}")
        default, highest = usual[name]
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
            raise PlanError(f"loss: {name} is {value!r}", f"give a number from 0 to {highest:g}")
        return cls(name, float(value))

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Mean over the rows of weight times loss: logits and targets (n, classes), weights (n,)."""
        if self.name == "focal":
            each = focal(logits, targets, self.value)
        else:
            each = label_smoothing(logits, targets, self.value)
        return (weights * each).mean()

    def by_label(self) -> LabelLoss:
        """The same put to each of several labels."""
        return LabelLoss(self)

    def judging(self) -> Loss:
        """The same without smoothing: what the search part is judged by."""
        return self if self.name == "focal" else Loss("cross_entropy", 0.0)


@dataclass(frozen=True)
class LabelLoss:
    """A loss of two classes put to each label by itself: a label's logit z is the pair of logits (0, z), whose softmax
    is z's sigmoid, so that cross-entropy is the binary one."""

    of_two: Loss

    def __call__(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Mean over the rows of Σ over labels of weight times loss; logits, targets in 0..1 and weights are all of
        shape (n, labels), and a weight of 0 says that the label is unknown there."""
        import torch

        pairs = torch.stack([torch.zeros_like(logits), logits], dim=2).flatten(0, 1)
        shares = torch.stack([1.0 - targets, targets], dim=2).flatten(0, 1)
        return targets.shape[1] * self.of_two(pairs, shares, weights.flatten())

    def judging(self) -> LabelLoss:
        """The same without smoothing."""
        return LabelLoss(self.of_two.judging())
