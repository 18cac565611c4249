"""EfficientNet and MobileNet: inverted residuals, few multiplications for what they tell apart."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.models.imaging.classifier import ImageClassifier, Limits

if TYPE_CHECKING:
    from torch import nn

# A stage: repeats r, kernel k, stride s, expansion e, maps before i and after o, squeeze-and-excitation se.
EFFICIENT = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)
MOBILE = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r3_k3_s22_e6_i24_o32",
    "r4_k3_s22_e6_i32_o64",
    "r3_k3_s11_e6_i64_o96",
    "r3_k3_s22_e6_i96_o160",
    "r1_k3_s11_e6_i160_o320",
)


@dataclass(eq=False)
class InvertedResiduals(ImageClassifier):
    """Blocks that widen, convolve each map by itself and narrow again; `width` and `depth` multiply the published size.

    MONAI's EfficientNet. Statistics of normalisation follow the last ten batches, not the last hundred as published:
    a few hundred images make few batches.
    """

    space: ClassVar[dict[str, Any]] = {"learning_rate": (3e-4, 5e-3, "log"), "decay": (1e-3, 0.2, "log")}
    limits: ClassVar[Limits] = {
        **ImageClassifier.limits,
        "width": (0.1, 8, (int, float)),
        "depth": (0.1, 8, (int, float)),
    }
    table: ClassVar[tuple[str, ...]]
    dropped: ClassVar[float] = 0.0  # share of images for which the last block is left out in training (Huang 2016)

    learning_rate: float = 2e-3
    width: float = 1.0
    depth: float = 1.0

    @abstractmethod
    def activation(self) -> nn.Module:
        """What follows each normalisation."""

    def last_block(self) -> tuple[str, ...]:
        """The last stage and the convolution after it."""
        return (f"_blocks.{len(self.table) - 1}", "_conv_head", "_bn1")

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → maps of side s / 32, rounded up."""
        from monai.networks.nets import EfficientNet as Network
        from torch import nn

        network = Network(
            list(self.table),
            spatial_dims=2,
            in_channels=channels,
            width_coefficient=self.width,
            depth_coefficient=self.depth,
            image_size=self.image,
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
            drop_connect_rate=self.dropped,
        )
        for stage in network._blocks:
            for block in stage:
                block._swish = self.activation()
        parts = [
            ("_conv_stem_padding", network._conv_stem_padding),
            ("_conv_stem", network._conv_stem),
            ("_bn0", network._bn0),
            ("_act0", self.activation()),
            ("_blocks", network._blocks),
            ("_conv_head_padding", network._conv_head_padding),
            ("_conv_head", network._conv_head),
            ("_bn1", network._bn1),
            ("_act1", self.activation()),
        ]
        return nn.Sequential(OrderedDict(parts)), network._conv_head.out_channels


@dataclass(eq=False)
class EfficientNet(InvertedResiduals):
    """EfficientNet (Tan 2019); the default is B0, 4 million weights. B1 to B7 are their `width` and `depth`."""

    name: ClassVar[str] = "efficientnet"
    summary: ClassVar[tuple[str, str]] = (
        "EfficientNet-B0: few multiplications an image, with squeeze-and-excitation; wants many epochs",
        "EfficientNet-B0：每张图像计算量小，带挤压激励模块；需要较多训练轮次",
    )
    table: ClassVar[tuple[str, ...]] = EFFICIENT
    dropped: ClassVar[float] = 0.2

    def activation(self) -> nn.Module:
        """Swish (Ramachandran 2017)."""
        from torch import nn

        return nn.SiLU()


@dataclass(eq=False)
class MobileNet(InvertedResiduals):
    """MobileNet-V2 (Sandler 2018), 2 million weights: the blocks of EfficientNet without squeeze-and-excitation."""

    name: ClassVar[str] = "mobilenet"
    summary: ClassVar[tuple[str, str]] = (
        "MobileNet-V2: small and fast, for machines without a graphics card",
        "MobileNet-V2：小而快，适用于没有显卡的机器",
    )
    table: ClassVar[tuple[str, ...]] = MOBILE

    def activation(self) -> nn.Module:
        """ReLU cut off at 6."""
        from torch import nn

        return nn.ReLU6()
