"""Checkpoints of training: one file after each epoch, wholly there or not at all, bound to what it is of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.cohort.atomic import publish, temporary_file
from bedside.cohort.digest import canonical_json

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT = "training.safetensors"


@dataclass
class Progress:
    """Where training stands: epochs planned (None: not yet timed) and done, the best so far, and a row an epoch."""

    planned: int | None
    done: int = 0
    best: int = 0
    best_loss: float = math.inf
    history: tuple[dict[str, float], ...] = ()

    def finished(self, patience: float) -> bool:
        """Whether all epochs are done, or the loss on the search part has long not improved."""
        if self.planned is None:
            return False
        waited = self.done - self.best
        return self.done >= self.planned or (self.best > 0 and waited >= max(5, round(patience * self.planned)))


def write(
    path: Path,
    key: str,
    progress: Progress,
    network: nn.Module,
    averaged: nn.Module,
    best: dict[str, Tensor],
    optimiser: Any,
) -> None:
    """One file, wholly there or not at all: tensors, and the rest as JSON in its header."""
    from safetensors.torch import save_file

    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in averaged.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in state.items()}
    said = {**asdict(progress), "best_loss": None if math.isinf(progress.best_loss) else progress.best_loss}
    header = {"state": canonical_json({"format": 1, "key": key, "progress": said}).decode()}
    with temporary_file(path.parent) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=header)
        publish(temporary, path)


def read(path: Path, key: str) -> tuple[dict[str, Tensor], Progress] | None:
    """What was written, None when there is nothing, or it is of another fit."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            state = json.loads((opened.metadata() or {}).get("state", "{}"))
            if state.get("format") != 1 or state.get("key") != key:
                return None
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError):
        return None
    said = state["progress"]
    loss = math.inf if said["best_loss"] is None else said["best_loss"]
    return tensors, Progress(**{**said, "best_loss": loss, "history": tuple(said["history"])})


def restore(
    found: tuple[dict[str, Tensor], Progress],
    network: nn.Module,
    averaged: nn.Module,
    best: dict[str, Tensor],
    optimiser: Any,
) -> Progress:
    tensors, progress = found
    network.load_state_dict(_under(tensors, "network."))
    averaged.load_state_dict(_under(tensors, "averaged."))
    best.update({name: tensor.to(best[name].device) for name, tensor in _under(tensors, "best.").items()})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimiser.").items():
        number, what = name.split(".", 1)
        state.setdefault(int(number), {})[what] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
