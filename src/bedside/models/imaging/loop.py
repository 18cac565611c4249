"""The training loop of networks, under Lightning Fabric: AdamW, warm-up and cosine, averaged weights, exact resume.

Everything that is left to chance is drawn anew for each epoch from (seed, epoch, row id), so the state after an epoch
is weights, optimiser and history alone: training that was killed goes on from its last whole epoch and ends with the
same bytes as training that was not.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bedside.cohort.atomic import publish, temporary_file
from bedside.cohort.digest import canonical_json
from bedside.cohort.run import Run
from bedside.errors import BedsideError, PlanError
from bedside.models.seeded import reseed, shuffled

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT = "training.safetensors"
MOST_EPOCHS = 200  # more than this a budget in minutes never buys


@dataclass(frozen=True)
class Budget:
    """How long to train: `epochs`, or `minutes` that are turned into epochs once, after timing the first."""

    epochs: int | None = None
    minutes: float | None = None

    @classmethod
    def of(cls, spec: Any, run: Run, default: int) -> Budget:
        """From {minutes: m} or {epochs: n}; None: the run's own minutes, else `default` epochs. Raises PlanError."""
        if spec is None:
            return cls(epochs=default) if run.budget_minutes is None else cls(minutes=run.budget_minutes)
        if not isinstance(spec, Mapping) or len(spec) != 1 or next(iter(spec)) not in ("minutes", "epochs"):
            raise PlanError(f"budget {spec!r} cannot be read", "write {minutes: 15} or {epochs: 40}")
        name, value = next(iter(spec.items()))
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (name == "minutes" and isinstance(value, float))) or not value > 0:
            raise PlanError(f"budget: {name} is {value!r}", "give a number above 0")
        return cls(**{name: value})

    def planned(self, seconds: float | None = None) -> int | None:
        """Epochs in all: as asked, or as many as fit when one takes `seconds`; None while that is unknown."""
        if self.epochs is not None:
            return self.epochs
        if seconds is None or self.minutes is None:
            return None
        return max(1, min(MOST_EPOCHS, int(self.minutes * 60 / max(seconds, 1e-3))))


@dataclass(frozen=True)
class Recipe:
    """How to train. `half_life` of the averaged weights and `warm_up` are in epochs, `patience` a share of them."""

    learning_rate: float
    batch: int
    decay: float
    smoothing: float
    warm_up: float = 1.0
    half_life: float = 1.0
    patience: float = 0.34
    clip: float = 5.0


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs (rows, c, h, w), class codes, weights with mean 1, and the row ids that chance is drawn from."""

    x: Tensor
    y: Tensor
    w: Tensor
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)


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


def trained(
    network: nn.Module,
    examples: Examples,
    held_out: Examples | None,
    *,
    recipe: Recipe,
    budget: Budget,
    augment: Callable[[Tensor, list[str], int, int], Tensor] | None,
    run: Run,
    key: str,
) -> tuple[dict[str, Tensor], Progress]:
    """The averaged weights of the best epoch on `held_out` (of the last one without it), and how they were reached.

    Works inside `seeded`. `run.folder` holds a checkpoint after each epoch, bound to `key` (a digest of all that
    decides the result); it is removed at the end. Raises BedsideError when cancelled or when the loss is not finite.
    """
    import torch
    from lightning_fabric import Fabric

    gpu = run.device != "cpu"
    fabric = Fabric(accelerator="cuda" if gpu else "cpu", devices=1, precision="bf16-mixed" if gpu else "32-true")
    optimiser = torch.optim.AdamW(_groups(network, recipe.decay), lr=recipe.learning_rate, fused=True)
    averaged = copy.deepcopy(network).eval().requires_grad_(False).to(fabric.device)
    best = _copied(averaged)
    module, tuned = fabric.setup(network, optimiser)
    progress = Progress(budget.planned())
    path = run.folder / CHECKPOINT
    found = _read(path, key)
    if found is not None:
        progress = _restore(found, network, averaged, best, optimiser)
    examples = _on(examples, fabric.device)
    held_out = None if held_out is None else _on(held_out, fabric.device)
    if progress.planned is None:
        _warm(fabric, module, tuned, examples, recipe)
    while not progress.finished(recipe.patience):
        started = time.monotonic()
        epoch = progress.done
        row = _epoch(fabric, module, tuned, averaged, examples, progress, recipe, augment, run)
        if held_out is not None:
            row["tune_loss"] = _loss_on(averaged, held_out, recipe)
        if not all(math.isfinite(value) for value in row.values()):
            raise BedsideError(f"training diverged in epoch {epoch + 1}: the loss is not finite", "lower learning_rate")
        if progress.planned is None:
            progress.planned = budget.planned(time.monotonic() - started)
        progress.done = epoch + 1
        progress.history = (*progress.history, row)
        if held_out is None or row["tune_loss"] < progress.best_loss:
            progress.best, progress.best_loss = progress.done, row.get("tune_loss", row["train_loss"])
            best = _copied(averaged)
        _write(path, key, progress, network, averaged, best, optimiser)
        run.report(progress.done / (progress.planned or progress.done), f"epoch {progress.done}")
    path.unlink(missing_ok=True)
    return {name: tensor.cpu() for name, tensor in best.items()}, progress


def _warm(fabric: Any, module: Any, optimiser: Any, examples: Examples, recipe: Recipe) -> None:
    """One pass forth and back that leaves no trace, so that the epoch that is timed does not load the kernels."""
    module.eval()
    n = min(recipe.batch, len(examples))
    fabric.backward(_loss(module(examples.x[:n]), examples.y[:n], examples.w[:n], recipe.smoothing))
    optimiser.zero_grad()


def _epoch(
    fabric: Any,
    module: Any,
    optimiser: Any,
    averaged: nn.Module,
    examples: Examples,
    progress: Progress,
    recipe: Recipe,
    augment: Callable[[Tensor, list[str], int, int], Tensor] | None,
    run: Run,
) -> dict[str, float]:
    """One pass over the rows in an order of its own; returns its row of the history."""
    import torch

    epoch = progress.done
    reseed(run.seed, "epoch", epoch)
    module.train()
    order = shuffled(examples.ids, run.seed, "order", epoch)
    # Never one row alone: there is nothing to normalise it by.
    batches = np.array_split(order, min(math.ceil(len(order) / recipe.batch), max(1, len(order) // 2)))
    total, rate = 0.0, 0.0
    for number, rows in enumerate(batches):
        if run.cancelled():
            raise BedsideError("cancelled while training", "run again: it goes on from its last whole epoch")
        rate = recipe.learning_rate * _shape_of_rate(epoch + number / len(batches), recipe.warm_up, progress.planned)
        for group in optimiser.param_groups:
            group["lr"] = rate
        at = torch.from_numpy(rows).to(examples.y.device)
        x = examples.x[at]
        if augment is not None:
            x = augment(x, [examples.ids[i] for i in rows], run.seed, epoch)
        optimiser.zero_grad()
        loss = _loss(module(x), examples.y[at], examples.w[at], recipe.smoothing)
        fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        optimiser.step()
        _average(averaged, module.module, epoch * len(batches) + number, recipe.half_life * len(batches))
        total += float(loss.detach()) * len(rows)
    return {"train_loss": total / len(order), "learning_rate": rate}


def _shape_of_rate(at: float, warm_up: float, planned: int | None) -> float:
    """Linear over the first `warm_up` epochs, then half a cosine to a hundredth (Loshchilov 2017); `at` in epochs."""
    if at < warm_up:
        return 0.05 + 0.95 * at / warm_up
    if planned is None or planned <= warm_up:
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (at - warm_up) / (planned - warm_up))))


def _loss(logits: Tensor, y: Tensor, w: Tensor, smoothing: float) -> Tensor:
    """Mean weighted cross-entropy of (n, classes) logits."""
    from torch.nn.functional import cross_entropy

    return (w * cross_entropy(logits.float(), y, reduction="none", label_smoothing=smoothing)).mean()


def _loss_on(network: nn.Module, examples: Examples, recipe: Recipe) -> float:
    import torch

    with torch.inference_mode():
        logits = torch.cat([network(piece) for piece in examples.x.split(64)])
        return float(_loss(logits, examples.y, examples.w, 0.0) / examples.w.mean())


def _average(averaged: nn.Module, network: nn.Module, step: int, half_life: float) -> None:
    """Exponential moving average of weights and statistics (Polyak 1992), short in the first steps."""
    import torch

    keep = min(0.5 ** (1.0 / max(half_life, 1.0)), (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1.0 - keep)
            else:
                mean.copy_(new)


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and normalisation (He 2019)."""
    heavy = [p for p in network.parameters() if p.ndim > 1]
    light = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]


def _on(examples: Examples, device: Any) -> Examples:
    return replace(examples, x=examples.x.to(device), y=examples.y.to(device), w=examples.w.to(device))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _write(
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


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], Progress] | None:
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


def _restore(
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
