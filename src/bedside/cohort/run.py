"""Run: where, with which seed and budget, and for whom a piece of work is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path


def _silent(_done: float, _message: str) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Run:
    """The circumstances of one fit.

    `folder` is scratch space of this work alone; `threads` is recorded because it changes weights; `budget_minutes` is
    per fit; `report(done, message)` takes progress in 0..1; `cancelled()` asks a long loop to stop. `cache` is a folder
    of disposable things that any run may share (decoded pixels).
    """

    folder: Path
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    budget_minutes: float | None = None
    cache: Path | None = None
    report: Callable[[float, str], None] = field(default=_silent, compare=False)
    cancelled: Callable[[], bool] = field(default=_never, compare=False)

    def inside(self, name: str) -> Run:
        """The same run with a folder of its own below this one, made now."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return replace(self, folder=folder)
