"""Stages of transfer: first the new head learns, then the last block too, then all of it, the old part more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedside.errors import PlanError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Stages:
    """For `head` epochs only the head learns, for `last_block` more the encoder's last block too, then everything;
    the encoder at `rate` times the head's rate. Without pretrained weights: all from the beginning, at one rate.

    `block` names the layers of the encoder's last block.
    """

    head: int = 0
    last_block: int = 0
    rate: float = 1.0
    block: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: Any, block: tuple[str, ...]) -> Stages:
        """From {head: 2, last_block: 2, rate: 0.1}, which None and what is left out mean; raises PlanError."""
        usual: dict[str, Any] = {"head": 2, "last_block": 2, "rate": 0.1}
        given = {} if spec is None else spec
        if not isinstance(given, dict) or not set(given) <= set(usual):
            raise PlanError(f"transfer {spec!r} cannot be read", "write {head: 2, last_block: 2, rate: 0.1}")
        for name, value in given.items():
            kind, highest = ((int, float), 1) if name == "rate" else (int, 1000)
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= value <= highest:
                raise PlanError(f"transfer: {name} is {value!r}", "give whole epochs, and a rate from 0 to 1")
        return cls(**{**usual, **given}, block=block)

    def groups(self, network: nn.Module, decay: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: `share` of the learning rate, and weight decay for matrices and kernels, none for
        biases and normalisation (He 2019)."""
        found = []
        for part, share in (("features", self.rate), ("head", 1.0)):
            weights = list(network.get_submodule(part).parameters())
            heavy, light = [p for p in weights if p.ndim > 1], [p for p in weights if p.ndim <= 1]
            for some, own in ((heavy, decay), (light, 0.0)):
                if some:
                    found.append({"params": some, "weight_decay": own, "share": share})
        return found

    def whole(self, epoch: int) -> bool:
        """Whether everything learns in this epoch."""
        return epoch >= self.head + self.last_block

    def enter(self, network: nn.Module, epoch: int) -> None:
        """Training mode for what learns in this epoch; the rest keeps its weights and its statistics."""
        network.train()
        if self.whole(epoch):
            network.requires_grad_(True)
            return
        features = network.get_submodule("features")
        features.eval().requires_grad_(False)
        if epoch >= self.head:
            for name in self.block:
                features.get_submodule(name).train().requires_grad_(True)
