"""The small CNN: what a processor without a graphics card trains in minutes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.models.imaging.classifier import ImageClassifier, Limits

if TYPE_CHECKING:
    from torch import nn


@dataclass(eq=False)
class SmallCNN(ImageClassifier):
    """Seven 3 × 3 convolutions with batch normalisation after a 5 × 5 stem, global mean, one linear layer.

    `width` is the number of features after the stem; each of three poolings doubles it. 0.3 million weights at 16.
    """

    name: ClassVar[str] = "small_cnn"
    summary: ClassVar[tuple[str, str]] = (
        "Small convolutional network: learns from hundreds of images on a processor, in minutes",
        "小型卷积网络：仅用处理器即可在数分钟内从数百张图像中学习",
    )
    space: ClassVar[dict[str, Any]] = {
        "learning_rate": (5e-4, 5e-3, "log"),
        "decay": (1e-3, 0.2, "log"),
        "width": {"choices": [12, 16, 24]},
    }

    limits: ClassVar[Limits] = {**ImageClassifier.limits, "width": (1, 512, int)}

    width: int = 16

    def stride(self) -> int:
        """Four halvings."""
        return 16

    def last_block(self) -> tuple[str, ...]:
        """The convolutions after the last pooling."""
        return ("9", "10")

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → 8 · width maps of side s / 16."""
        from torch import nn

        w = self.width
        stages = [
            _convolution(channels, w, 5, stride=2),
            _convolution(w, w, 3),
            nn.MaxPool2d(2),
            _convolution(w, 2 * w, 3),
            _convolution(2 * w, 2 * w, 3),
            nn.MaxPool2d(2),
            _convolution(2 * w, 4 * w, 3),
            _convolution(4 * w, 4 * w, 3),
            nn.MaxPool2d(2),
            _convolution(4 * w, 8 * w, 3),
            _convolution(8 * w, 8 * w, 3),
        ]
        return nn.Sequential(*stages), 8 * w


def _convolution(before: int, after: int, side: int, stride: int = 1) -> nn.Module:
    """Convolution, batch normalisation (Ioffe 2015), ReLU."""
    from torch import nn

    convolution = nn.Conv2d(before, after, side, stride=stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
