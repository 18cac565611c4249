"""Augmentation: each row is turned about by numbers drawn from (seed, epoch, row id), so any epoch can be replayed.

Sets are named for the modality: a change is in a set only where such an image could have been taken so. A mirrored
chest has its heart on the wrong side; a cell has no right side up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bedside.errors import PlanError
from bedside.models.seeded import uniforms

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """How far an image may be changed in training; everything else about it stays.

    `flip` mirrors left and right in half of the epochs, `flip_vertical` top and bottom; `shift` is a share of the
    side, `scale` and `contrast` are relative, `rotate` is in degrees, `brightness` in spreads of the training pixels.
    """

    flip: bool = False
    flip_vertical: bool = False
    shift: float = 0.08
    scale: float = 0.12
    rotate: float = 8.0
    brightness: float = 0.2
    contrast: float = 0.2

    @classmethod
    def of(cls, spec: Any) -> Augment | None:
        """From a name, {name: {what: value, …}}, true (general) or false (none); None: images stay as they are.

        Raises PlanError naming the sets and what each may change.
        """
        spec = {True: "general", False: "none"}[spec] if isinstance(spec, bool) else spec
        name, changes = next(iter(spec.items())) if isinstance(spec, Mapping) and len(spec) == 1 else (spec, {})
        if name == "none" and not changes:
            return None
        if not isinstance(name, str) or name not in SETS or not isinstance(changes, Mapping):
            raise PlanError(f"augment {spec!r} is not known", f"one of {', '.join([*SETS, 'none'])}")
        kinds = {item.name: type(getattr(SETS[name], item.name)) for item in fields(cls)}
        for what, value in changes.items():
            if what not in kinds:
                raise PlanError(f"augment: {name} has no {what!r}", f"it has: {', '.join(kinds)}")
            switch = kinds[what] is bool
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (isinstance(value, bool) if switch else number and 0 <= value <= LIMITS[what]):
                told = "true or false" if switch else f"a number from 0 to {LIMITS[what]:g}"
                raise PlanError(f"augment: {what} is {value!r}", f"give {told}")
        return replace(SETS[name], **changes)

    def __call__(self, batch: Tensor, ids: list[str], seed: int, epoch: int) -> Tensor:
        """A batch (n, c, h, w) changed; what lies outside the picture becomes 0, the training mean."""
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        drawn = np.stack([uniforms(8, seed, "augment", epoch, name) for name in ids])
        span = 2.0 * drawn - 1.0
        angle = np.deg2rad(self.rotate * span[:, 0])
        zoom = 1.0 + self.scale * span[:, 1]
        across = np.where(drawn[:, 2] < 0.5, -1.0, 1.0) if self.flip else np.ones(len(ids))
        down = np.where(drawn[:, 7] < 0.5, -1.0, 1.0) if self.flip_vertical else np.ones(len(ids))
        theta = np.zeros((len(ids), 2, 3))
        theta[:, 0, 0], theta[:, 0, 1] = across * np.cos(angle) * zoom, -np.sin(angle) * zoom
        theta[:, 1, 0], theta[:, 1, 1] = across * np.sin(angle) * zoom, np.cos(angle) * zoom
        theta[:, 1, :2] *= down[:, None]
        theta[:, :, 2] = 2.0 * self.shift * span[:, 3:5]
        grid = affine_grid(torch.from_numpy(theta).to(batch), list(batch.shape), align_corners=False)
        moved = grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        gain = torch.from_numpy(1.0 + self.contrast * span[:, 5]).to(batch)[:, None, None, None]
        lift = torch.from_numpy(self.brightness * span[:, 6]).to(batch)[:, None, None, None]
        return moved * gain + lift

    def to_json(self) -> dict[str, float | bool]:
        """A JSON object."""
        return asdict(self)


LIMITS = {"shift": 0.5, "scale": 0.9, "rotate": 180.0, "brightness": 2.0, "contrast": 0.9}
SETS = {
    "general": Augment(),  # nothing that depends on the anatomy
    "ultrasound": Augment(flip=True),  # the probe may be turned round; depth stays down, where shadows fall
    "chest_xray": Augment(shift=0.05, scale=0.1, rotate=5.0),  # the heart stays on its side
    "microscopy": Augment(flip=True, flip_vertical=True, rotate=180.0, shift=0.05, scale=0.1),
    "photo": Augment(flip=True, scale=0.2, rotate=15.0, brightness=0.3, contrast=0.3),
}


def mixed_shares(ids: list[str], alpha: float, seed: int, epoch: int) -> np.ndarray:
    """For each row the share of itself that mixup keeps, from Beta(α, α) (Zhang 2018), shape (n,)."""
    from scipy.special import betaincinv

    drawn = np.array([uniforms(1, seed, "mixup", epoch, name)[0] for name in ids])
    shares: np.ndarray = betaincinv(alpha, alpha, drawn)
    return np.maximum(shares, 1.0 - shares)  # the larger share is the row's own, so no row vanishes


def mixup(x: Tensor, targets: Tensor, weights: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row mixed with the one before it: x (n, c, h, w), targets (n, classes), weights (n,), shares (n,).

    Of labels, targets and weights are both (n, labels). Weight times target is mixed, so any loss that is linear in
    the targets becomes the mix of both rows' losses.
    """
    each = weights if weights.ndim == 2 else weights[:, None]
    own, other = shares[:, None] * each, (1.0 - shares)[:, None] * each.roll(1, 0)
    whole = own + other
    mixed = (own * targets + other * targets.roll(1, 0)) / whole.clamp(min=1e-12)
    at = shares[:, None, None, None]
    return at * x + (1.0 - at) * x.roll(1, 0), mixed, whole.reshape(weights.shape)
