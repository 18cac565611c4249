"""Vision transformers: the image as a grid of patches that attend to each other.

The published class token is left out: the head sees the mean of the normalised patches, which does as well (Beyer
2022), and the last map, patch by patch, is what it sees.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.errors import PlanError
from bedside.models.imaging.classifier import ImageClassifier, Limits

if TYPE_CHECKING:
    from torch import nn


@dataclass(eq=False)
class ViT(ImageClassifier):
    """Vision transformer (Dosovitskiy 2021); the default is ViT-S/16 (Touvron 2021), 21 million weights.

    `width` numbers a patch, `depth` blocks of `heads` heads; MONAI's network without its Tanh head.
    """

    name: ClassVar[str] = "vit"
    summary: ClassVar[tuple[str, str]] = (
        "Vision transformer (ViT-S/16): wants pretrained weights or very many images",
        "视觉 Transformer（ViT-S/16）：需要预训练权重或极大量影像",
    )
    space: ClassVar[dict[str, Any]] = {"learning_rate": (5e-5, 2e-3, "log"), "decay": (1e-2, 0.3, "log")}
    limits: ClassVar[Limits] = {
        **ImageClassifier.limits,
        "patch": (2, 64, int),
        "width": (4, 2048, int),
        "depth": (1, 64, int),
        "heads": (1, 64, int),
    }

    learning_rate: float = 5e-4
    decay: float = 0.05
    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6

    def stride(self) -> int:
        """A patch."""
        return self.patch

    def last_block(self) -> tuple[str, ...]:
        """The last block and the normalisation after it."""
        return (f"blocks.{self.depth - 1}", "norm")

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → maps of side s / patch. Raises PlanError for an image that patches do not fill."""
        from einops.layers.torch import Rearrange
        from monai.networks.nets import ViT as Network
        from torch import nn

        if self.image % self.patch:
            raise PlanError(f"'{self.name}': {self.image} pixels are no whole patches of {self.patch}", "change image")
        if self.width % self.heads:
            raise PlanError(f"'{self.name}': width {self.width} is no multiple of {self.heads} heads", "change width")
        network = Network(
            in_channels=channels,
            img_size=self.image,
            patch_size=self.patch,
            hidden_size=self.width,
            mlp_dim=4 * self.width,
            num_layers=self.depth,
            num_heads=self.heads,
            qkv_bias=True,
            spatial_dims=2,
        )
        for block in network.blocks:
            block.norm_cross_attn = nn.Identity()  # there is nothing to cross with, and its weights would never learn
        parts = [
            ("patch_embedding", network.patch_embedding),
            ("blocks", nn.Sequential(*network.blocks)),
            ("norm", network.norm),
            ("map", Rearrange("n (h w) d -> n d h w", h=self.image // self.patch)),
        ]
        return nn.Sequential(OrderedDict(parts)), self.width


@dataclass(eq=False)
class Swin(ImageClassifier):
    """Swin transformer (Liu 2021), attention inside shifted windows; the default is Swin-T, 28 million weights.

    `depths` blocks and `heads` heads a stage, `width` numbers a patch of 4 × 4 pixels, doubled and the side halved
    between stages, `window` patches wide. MONAI's backbone, without the merging after its last stage.
    """

    name: ClassVar[str] = "swin"
    summary: ClassVar[tuple[str, str]] = (
        "Swin transformer (Swin-T): attention in windows; wants pretrained weights or very many images",
        "Swin Transformer（Swin-T）：窗口注意力；需要预训练权重或极大量影像",
    )
    space: ClassVar[dict[str, Any]] = {"learning_rate": (5e-5, 2e-3, "log"), "decay": (1e-2, 0.3, "log")}
    limits: ClassVar[Limits] = {
        **ImageClassifier.limits,
        "width": (4, 512, int),
        "depths": (1, 64, int),
        "heads": (1, 64, int),
        "window": (2, 32, int),
    }

    learning_rate: float = 5e-4
    decay: float = 0.05
    width: int = 96
    depths: Sequence[int] = (2, 2, 6, 2)
    heads: Sequence[int] = (3, 6, 12, 24)
    window: int = 7

    def last_block(self) -> tuple[str, ...]:
        """The last stage and the normalisation after it."""
        return ("layers4", "norm")

    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """Image side s → normalised maps of side s / 32. Raises PlanError for heads that do not fit the width."""
        from einops.layers.torch import Rearrange
        from monai.networks.nets.swin_unetr import SwinTransformer as Network
        from torch import nn

        widths = [self.width * 2**stage for stage in range(4)]
        for name, value in (("depths", self.depths), ("heads", self.heads)):
            if not isinstance(value, list | tuple) or len(value) != 4:
                raise PlanError(f"'{self.name}': {name} is {value!r}", "give four numbers, one a stage")
        if any(w % h for w, h in zip(widths, self.heads, strict=True)):
            raise PlanError(
                f"'{self.name}': widths {widths} are no multiples of heads {list(self.heads)}", "change heads"
            )
        network = Network(
            in_chans=channels,
            embed_dim=self.width,
            window_size=(self.window, self.window),
            patch_size=(4, 4),
            depths=tuple(self.depths),
            num_heads=tuple(self.heads),
            drop_path_rate=0.1,
            patch_norm=True,
            spatial_dims=2,
        )
        last = network.layers4[0]
        last.downsample = None
        parts = [
            ("patch_embed", network.patch_embed),
            ("layers1", network.layers1[0]),
            ("layers2", network.layers2[0]),
            ("layers3", network.layers3[0]),
            ("layers4", last),
            ("last", Rearrange("n d h w -> n h w d")),
            ("norm", nn.LayerNorm(widths[-1])),
            ("map", Rearrange("n h w d -> n d h w")),
        ]
        return nn.Sequential(OrderedDict(parts)), widths[-1]
