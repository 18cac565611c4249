"""DenseNet: every layer sees the maps of all layers before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.errors import PlanError
from bedside.models.imaging.classifier import ImageClassifier, Limits

if TYPE_CHECKING:
    from torch import nn


@dataclass(eq=False)
class DenseNet(ImageClassifier):
    """Densely connected network (Huang 2017); the default is DenseNet-121, the usual one for chest radiographs.

    `blocks` are the layers of each block, `growth` the maps that a layer adds, `width` those after the stem.
    7 million weights as published; MONAI's network.
    """

    name: ClassVar[str] = "densenet"
    summary: ClassVar[tuple[str, str]] = (
        "DenseNet-121: few weights for its depth, widely used on chest radiographs; slow on a processor",
        "DenseNet-121：深而参数少，胸片研究中常用；在处理器上较慢",
    )
    space: ClassVar[dict[str, Any]] = {"learning_rate": (2e-4, 5e-3, "log"), "decay": (1e-3, 0.2, "log")}
    limits: ClassVar[Limits] = {
        **ImageClassifier.limits,
        "blocks": (1, 64, int),
        "growth": (1, 128, int),
        "width": (1, 512, int),
    }

    learning_rate: float = 1e-3
    blocks: Sequence[int] = (6, 12, 24, 16)
    growth: int = 32
    width: int = 64

    def stride(self) -> int:
        """The stem quarters the side; it is halved between blocks."""
        return 2 ** (1 + len(self.blocks))

    def last_block(self) -> tuple[str, ...]:
        """The last block and the normalisation after it."""
        return (f"denseblock{len(self.blocks)}", "norm5")

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → maps of side s / stride, after the last normalisation and ReLU."""
        from monai.networks.nets import DenseNet as Network
        from torch import nn

        if not isinstance(self.blocks, list | tuple) or not 1 <= len(self.blocks) <= 6:
            raise PlanError(f"'{self.name}': blocks is {self.blocks!r}", "give one to six numbers of layers")
        network = Network(
            spatial_dims=2,
            in_channels=channels,
            out_channels=1,
            init_features=self.width,
            growth_rate=self.growth,
            block_config=tuple(self.blocks),
        )
        features: nn.Sequential = network.features
        features.add_module("relu5", nn.ReLU())
        return features, network.class_layers.out.in_features
