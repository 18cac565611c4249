"""ResNet: convolutions around which the image is carried on unchanged."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.errors import PlanError
from bedside.models.imaging.classifier import ImageClassifier, Limits

if TYPE_CHECKING:
    from torch import nn

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
LAYERS = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")


@dataclass(eq=False)
class ResNet(ImageClassifier):
    """Residual network (He 2016) of `depth` 10, 18, 34 or 50 layers, `width` features after the stem (64 as published).

    MONAI's network with the published stem: a 7 × 7 convolution of stride 2. 11 million weights at depth 18.
    """

    name: ClassVar[str] = "resnet"
    summary: ClassVar[tuple[str, str]] = (
        "ResNet-18, 34 or 50: the usual first network for images when there are thousands, or a graphics card",
        "ResNet-18/34/50：影像数以千计或有显卡时的常用首选网络",
    )
    space: ClassVar[dict[str, Any]] = {"learning_rate": (2e-4, 5e-3, "log"), "decay": (1e-3, 0.2, "log")}
    limits: ClassVar[Limits] = {**ImageClassifier.limits, "width": (1, 512, int)}

    learning_rate: float = 1e-3
    depth: int = 18
    width: int = 64

    def last_block(self) -> tuple[str, ...]:
        """The last of four stages."""
        return ("layer4",)

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → maps of side s / 32. Raises PlanError for a depth that is not one of the four."""
        from monai.networks.nets import ResNet as Network
        from torch import nn

        if self.depth not in BLOCKS:
            raise PlanError(f"'{self.name}': depth is {self.depth!r}", f"one of {', '.join(map(str, BLOCKS))}")
        network = Network(
            "bottleneck" if self.depth >= 50 else "basic",
            list(BLOCKS[self.depth]),
            [self.width * 2**stage for stage in range(4)],
            spatial_dims=2,
            n_input_channels=channels,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        layers = OrderedDict((name, network.get_submodule(name)) for name in LAYERS)
        return nn.Sequential(layers), 8 * self.width * (4 if self.depth >= 50 else 1)
