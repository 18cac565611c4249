"""Resize: every image to one size, as an operation of its manifest; no file is rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from bedside.cohort.cohort import Cohort
from bedside.cohort.manifest import manifests, with_manifests
from bedside.cohort.run import Run
from bedside.errors import PlanError
from bedside.prepare.steps.base import FittedStep, check_choice, chosen

LARGEST = 4096


@dataclass
class Resize(FittedStep):
    """Images of `image` × `image` pixels (or [height, width]): padded to keep the aspect, or stretched (`aspect`)."""

    image: int | Sequence[int] = 128
    aspect: str = "pad"
    fields: Sequence[str] | None = None

    name: ClassVar[str] = "resize"
    main: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        check_choice(self.name, "aspect", self.aspect, ("pad", "stretch"))
        self._size()

    def _size(self) -> tuple[int, int]:
        sides = [self.image, self.image] if isinstance(self.image, int) else list(self.image)
        whole = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= LARGEST for side in sides)
        if len(sides) != 2 or not whole:
            raise PlanError(f"step 'resize': image is {self.image!r}", f"a side, or [height, width], up to {LARGEST}")
        return sides[0], sides[1]

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which fields are images; raises PlanError when none is."""
        names = [item.name for item in chosen(train, ("image",), self.fields)]
        if not names:
            raise PlanError("step 'resize': no input is an image", "remove it, or read images")
        self.state_ = {"fields": names}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort whose images have the size."""
        height, width = self._size()
        op = {"op": "resize", "height": height, "width": width, "fit": self.aspect}
        self.require(cohort, self.state["fields"])
        for name in self.state["fields"]:
            changed = {
                digest: each if each.shape[:2] == (height, width) else each.with_op(op, (height, width, each.shape[2]))
                for digest, each in manifests(cohort, name).items()
            }
            cohort = with_manifests(cohort, name, changed)
        return cohort
