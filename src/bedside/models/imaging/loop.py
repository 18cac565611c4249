"""The training loop of networks, under Lightning Fabric: AdamW, warm-up and cosine, averaged weights, exact resume.

Everything that is left to chance is drawn anew for each epoch from (seed, epoch, row id), so the state after an epoch
is weights, optimiser and history alone: training that was killed goes on from its last whole epoch and ends with the
same bytes as training that was not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.run import Run
from bedside.errors import BedsideError, PlanError
from bedside.models.imaging import checkpoint
from bedside.models.imaging.augment import Augment, mixed_shares, mixup
from bedside.models.imaging.checkpoint import Progress
from bedside.models.imaging.losses import LabelLoss, Loss
from bedside.models.imaging.stages import Stages
from bedside.models.seeded import reseed, shuffled

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    """How to train. `half_life` of the averaged weights and `warm_up` are in epochs, `patience` a share of them.

    `mixup` is the α of Zhang 2018 (0: none); `stages` say when which part learns; `devices` is a number of GPUs,
    `precision` as Fabric names it (None: bf16-mixed on a GPU, else 32-true).
    """

    learning_rate: float
    batch: int
    decay: float
    loss: Loss | LabelLoss
    augment: Augment | None = None
    mixup: float = 0.0
    stages: Stages = Stages()  # noqa: RUF009 (frozen)
    devices: int = 1
    precision: str | None = None
    warm_up: float = 1.0
    half_life: float = 1.0
    patience: float = 0.34
    clip: float = 5.0

    def fabric(self, device: str) -> Any:
        """The Fabric to train with; several GPUs share each batch (one process, `DataParallel`).

        Raises PlanError for GPUs that are not there.
        """
        import torch
        from lightning_fabric import Fabric

        gpu = device != "cpu"
        found = torch.cuda.device_count() if gpu else 1
        if self.devices > found:
            raise PlanError(f"devices is {self.devices}, and there {'are' if found != 1 else 'is'} {found} to train on")
        return Fabric(
            accelerator="cuda" if gpu else "cpu",
            devices=self.devices,
            strategy="dp" if self.devices > 1 else "auto",
            precision=self.precision or ("bf16-mixed" if gpu else "32-true"),
        )


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs by rows (→ (n, c, h, w) as float32), targets (rows, classes), weights with mean 1, and the row ids that
    chance is drawn from. Of labels both are (rows, labels), and the weights, 0 where unknown, sum to the rows.
    """

    inputs: Callable[[Sequence[int] | NDArray[np.int64]], NDArray[np.float32]]
    y: Tensor
    w: Tensor
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: NDArray[np.int64], device: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and weights of some rows."""
        import torch

        at = torch.from_numpy(rows)
        return torch.from_numpy(self.inputs(rows)).to(device), self.y[at].to(device), self.w[at].to(device)


def trained(
    network: nn.Module,
    examples: Examples,
    held_out: Examples | None,
    *,
    recipe: Recipe,
    budget: Budget,
    run: Run,
    key: str,
) -> tuple[dict[str, Tensor], Progress]:
    """The averaged weights of the best epoch on `held_out` (of the last one without it), and how they were reached.

    Works inside `seeded`. `run.folder` holds a checkpoint after each epoch, bound to `key` (a digest of all that
    decides the result); it is removed at the end. Raises BedsideError when cancelled or when the loss is not finite.
    """
    import torch

    fabric = recipe.fabric(run.device)
    optimiser = torch.optim.AdamW(recipe.stages.groups(network, recipe.decay), lr=recipe.learning_rate, fused=True)
    averaged = copy.deepcopy(network).eval().requires_grad_(False).to(fabric.device)
    best = _copied(averaged)
    module, tuned = fabric.setup(network, optimiser)
    progress = Progress(budget.planned())
    path = run.folder / checkpoint.CHECKPOINT
    found = checkpoint.read(path, key)
    if found is not None:
        progress = checkpoint.restore(found, network, averaged, best, optimiser)
    if progress.planned is None:
        _warm(fabric, module, tuned, examples, recipe)
    while not progress.finished(recipe.patience):
        started = time.monotonic()
        epoch = progress.done
        recipe.stages.enter(network, epoch)
        row = _epoch(fabric, module, tuned, averaged, examples, progress, recipe, run)
        if held_out is not None:
            row["tune_loss"] = _loss_on(averaged, held_out, recipe, fabric.device)
        if not all(math.isfinite(value) for value in row.values()):
            raise BedsideError(f"training diverged in epoch {epoch + 1}: the loss is not finite", "lower learning_rate")
        if progress.planned is None and recipe.stages.whole(epoch):  # epochs in which less learns are shorter
            progress.planned = max(epoch + 1, budget.planned(time.monotonic() - started) or 0)
        progress.done = epoch + 1
        progress.history = (*progress.history, row)
        if held_out is None or row["tune_loss"] < progress.best_loss:
            progress.best, progress.best_loss = progress.done, row.get("tune_loss", row["train_loss"])
            best = _copied(averaged)
        checkpoint.write(path, key, progress, network, averaged, best, optimiser)
        run.report(progress.done / (progress.planned or progress.done), f"epoch {progress.done}")
    path.unlink(missing_ok=True)
    return {name: tensor.cpu() for name, tensor in best.items()}, progress


def _warm(fabric: Any, module: Any, optimiser: Any, examples: Examples, recipe: Recipe) -> None:
    """One pass forth and back that leaves no trace, so that the epoch that is timed does not load the kernels."""
    module.eval()
    x, y, w = examples.batch(np.arange(min(recipe.batch, len(examples))), fabric.device)
    fabric.backward(recipe.loss(module(x), y, w))
    optimiser.zero_grad()


def _epoch(
    fabric: Any,
    module: Any,
    optimiser: Any,
    averaged: nn.Module,
    examples: Examples,
    progress: Progress,
    recipe: Recipe,
    run: Run,
) -> dict[str, float]:
    """One pass over the rows in an order of its own; returns its row of the history."""
    import torch

    epoch = progress.done
    reseed(run.seed, "epoch", epoch)
    order = shuffled(examples.ids, run.seed, "order", epoch)
    # Never one row alone: there is nothing to normalise it by.
    batches = np.array_split(order, min(math.ceil(len(order) / recipe.batch), max(1, len(order) // 2)))
    total, rate = 0.0, 0.0
    for number, rows in enumerate(batches):
        if run.cancelled():
            raise BedsideError("cancelled while training", "run again: it goes on from its last whole epoch")
        rate = recipe.learning_rate * _shape_of_rate(epoch + number / len(batches), recipe.warm_up, progress.planned)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        x, y, w = examples.batch(rows, fabric.device)
        ids = [examples.ids[i] for i in rows]
        if recipe.augment is not None:
            x = recipe.augment(x, ids, run.seed, epoch)
        if recipe.mixup > 0:
            shares = torch.from_numpy(mixed_shares(ids, recipe.mixup, run.seed, epoch)).to(x)
            x, y, w = mixup(x, y, w, shares)
        optimiser.zero_grad()
        loss = recipe.loss(module(x), y, w)
        fabric.backward(loss)
        fabric.clip_gradients(module, optimiser, max_norm=recipe.clip, error_if_nonfinite=False)
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


def _loss_on(network: nn.Module, examples: Examples, recipe: Recipe, device: Any) -> float:
    """The loss without smoothing, on rows as they are."""
    import torch

    loss, total, weight = recipe.loss.judging(), 0.0, 0.0
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(examples)), math.ceil(len(examples) / 64)):
            x, y, w = examples.batch(rows, device)
            total += float(loss(network(x), y, w)) * len(rows)
            weight += float(w.sum())
    return total / weight


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


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
