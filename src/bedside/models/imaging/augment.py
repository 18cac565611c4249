"""Augmentation: each row is turned about by numbers drawn from (seed, epoch, row id), so any epoch can be replayed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from bedside.models.seeded import uniforms

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """How far an image may be changed in training; everything else about it stays.

    `flip` mirrors left and right in half of the epochs; `shift` is a share of the side, `scale` and `contrast` are
    relative, `rotate` is in degrees, `brightness` in spreads of the training pixels.
    """

    flip: bool = True
    shift: float = 0.08
    scale: float = 0.12
    rotate: float = 8.0
    brightness: float = 0.2
    contrast: float = 0.2

    def __call__(self, batch: Tensor, ids: list[str], seed: int, epoch: int) -> Tensor:
        """A batch (n, c, h, w) changed; what lies outside the picture becomes 0, the training mean."""
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        drawn = np.stack([uniforms(7, seed, "augment", epoch, name) for name in ids])
        span = 2.0 * drawn - 1.0
        angle = np.deg2rad(self.rotate * span[:, 0])
        zoom = 1.0 + self.scale * span[:, 1]
        mirror = np.where(drawn[:, 2] < 0.5, -1.0, 1.0) if self.flip else np.ones(len(ids))
        theta = np.zeros((len(ids), 2, 3))
        theta[:, 0, 0], theta[:, 0, 1] = mirror * np.cos(angle) * zoom, -np.sin(angle) * zoom
        theta[:, 1, 0], theta[:, 1, 1] = mirror * np.sin(angle) * zoom, np.cos(angle) * zoom
        theta[:, :, 2] = 2.0 * self.shift * span[:, 3:5]
        grid = affine_grid(torch.from_numpy(theta).to(batch), list(batch.shape), align_corners=False)
        moved = grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        gain = torch.from_numpy(1.0 + self.contrast * span[:, 5]).to(batch)[:, None, None, None]
        lift = torch.from_numpy(self.brightness * span[:, 6]).to(batch)[:, None, None, None]
        return moved * gain + lift

    def to_json(self) -> dict[str, float | bool]:
        """A JSON object."""
        return asdict(self)
