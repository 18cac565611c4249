"""What every image classifier shares: pixels in, training by the one loop, probabilities out, saved without pickle."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest, sha256_hex
from bedside.cohort.run import Run
from bedside.errors import DataError, IntegrityError, PlanError
from bedside.evidence.estimate import Figure, Finding
from bedside.models.imaging.augment import Augment
from bedside.models.imaging.checkpoint import Progress
from bedside.models.imaging.loop import Budget, Examples, Recipe, trained
from bedside.models.imaging.losses import Loss
from bedside.models.imaging.one_label import OneLabel
from bedside.models.imaging.pixels import Pixels, image_field
from bedside.models.imaging.squares import Squares, cached
from bedside.models.imaging.stages import Stages
from bedside.models.imaging.weights import Weights
from bedside.models.predictions import Predictions
from bedside.models.rows import ClassWeight, in_row_order, target
from bedside.models.rows import weights as class_weights
from bedside.models.saved import SavedModel, not_fitted
from bedside.models.seeded import seeded, with_threads
from bedside.models.task import Classify, Multilabel, Task, task_from_json

if TYPE_CHECKING:
    from torch import nn

    from bedside.cohort.store import Store
    from bedside.models.imaging.onnx_network import OnnxNetwork

FILE = "network.safetensors"
AT_ONCE = 32  # images in a batch of predictions
DEVICES = ("cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
FEWEST_IMAGES = 4  # fewer cannot hold two classes twice
Limits = Mapping[str, tuple[float, float, Any]]  # of a parameter, or of each of its numbers: lowest, highest, type


@dataclass(frozen=True, eq=False)
class LearntNetwork:
    """What fitting leaves: the task, how pixels become inputs, the network in evaluation mode, how it was trained."""

    task: Classify | Multilabel
    pixels: Pixels
    network: nn.Module
    progress: Progress
    threads: int
    device: str


@dataclass(eq=False)
class ImageClassifier(SavedModel):
    """Learns classes, or several labels at once, from one image field; subclasses build the encoder.

    `image` is the side of the square in pixels, `budget` {minutes: m} or {epochs: n}, `colour` None looks for itself,
    `class_weight` as for tables ("balanced", "costs" or by label), `augment` names the modality whose images are turned
    about in training (ultrasound, chest_xray, microscopy, photo, general, none), `loss` is cross_entropy,
    {label_smoothing: a} or {focal: γ}, `mixup` its α; `device` is cpu or cuda, `devices` a number of GPUs, `precision`
    32-true or bf16-mixed; `weights` {file, licence, digest} begin the encoder, and `transfer` says in which stages it
    learns on.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel")
    modality: ClassVar[str] = "image"
    extra: ClassVar[str | None] = "imaging"
    default_steps: ClassVar[tuple[Any, ...]] = ()
    interpretable: ClassVar[bool] = False
    keeps_rows: ClassVar[bool] = False
    summary: ClassVar[tuple[str, str]] = ("", "")
    epochs: ClassVar[int] = 40  # without a budget
    limits: ClassVar[Limits] = {
        "image": (16, 2048, int),
        "batch": (2, 4096, int),
        "learning_rate": (1e-8, 10, (int, float)),
        "decay": (0, 10, (int, float)),
        "mixup": (0, 10, (int, float)),
        "devices": (1, 64, int),
        "dropout": (0, 0.9, (int, float)),
    }

    image: int = 128
    budget: Any = None
    learning_rate: float = 2e-3
    batch: int = 16
    decay: float = 0.02
    loss: Any = "label_smoothing"
    class_weight: ClassWeight = None
    augment: Any = "general"
    mixup: float = 0.0
    colour: bool | None = None
    dropout: float = 0.2
    device: str | None = None
    devices: int = 1
    precision: str | None = None
    weights: Any = None
    transfer: Any = None

    learnt_: LearntNetwork | None = field(default=None, init=False, repr=False)

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__, as JSON."""
        return {name: value for name, value in super().parameters().items() if name != "learnt_"}

    @abstractmethod
    def encoder(self, channels: int) -> tuple[nn.Sequential, int]:
        """With fresh weights, from (n, channels, image, image) to maps (n, d, h, w), and their number d."""

    @abstractmethod
    def last_block(self) -> tuple[str, ...]:
        """The encoder's layers nearest to the head, which transfer frees first."""

    def stride(self) -> int:
        """Pixels a side that one cell of the last map stands for; an image must not be smaller."""
        return 32

    def build(self, channels: int, classes: int) -> nn.Module:
        """The network with fresh weights, to logits (n, classes): `features`, then their means and one linear layer."""
        from torch import nn

        features, d = self.encoder(channels)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(self.dropout), nn.Linear(d, classes))
        return nn.Sequential(OrderedDict(features=features, head=head))

    def target_layer(self) -> str:
        """The last map, of side image / stride: all that the head sees, so its class maps are exact (Zhou 2016)."""
        return "features"

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn; `tune` chooses the epoch. Raises DataError for data, PlanError for parameters that do not fit."""
        import torch

        if not isinstance(task, Classify | Multilabel):
            raise PlanError(f"'{self.name}' does not {task.kind}", "it can classify, and predict several labels")
        self.check()
        train = in_row_order(train)
        name = image_field(train, self.name)
        y = target(train, task, self.name)
        if len(y) < FEWEST_IMAGES:
            raise DataError(f"{len(y)} images are too few for '{self.name}'", f"give at least {FEWEST_IMAGES}")
        recipe = self.recipe()
        if isinstance(task, Multilabel):
            recipe = replace(recipe, loss=recipe.loss.by_label())
        run = run if self.device is None else replace(run, device=self.device)
        tune = None if tune is None or not len(tune) else in_row_order(tune)
        with seeded(run.seed, "fit", threads=run.threads, device=run.device), cached(run) as folder:
            pixels = Pixels.learnt(Squares(train, name, self.image, folder), name, self.colour)
            examples = self._examples(pixels, train, task, y, folder)
            held_out = None
            if tune is not None:
                held_out = self._examples(pixels, tune, task, target(tune, task, self.name, one_class=True), folder)
            network = self.build(len(pixels.mean), len(task.columns))
            if self.weights is not None:
                Weights.of(self.weights).into(network.get_submodule("features"), self.name)
            tensors, progress = trained(
                network,
                examples,
                held_out,
                recipe=recipe,
                budget=Budget.of(self.budget, run, self.epochs),
                run=run,
                key=self._key(train, tune, task, run, torch.__version__),
            )
        network = network.to("cpu")
        network.load_state_dict(tensors)
        self.learnt_ = LearntNetwork(
            task, pixels, network.eval().requires_grad_(False), progress, run.threads, run.device
        )
        return self

    def recipe(self) -> Recipe:
        """How it is trained; raises PlanError for a loss or an augmentation that is not known."""
        return Recipe(
            self.learning_rate,
            self.batch,
            self.decay,
            Loss.of(self.loss),
            Augment.of(self.augment),
            self.mixup,
            self.stages(),
            devices=self.devices,
            precision=self.precision,
        )

    def stages(self) -> Stages:
        """When which part learns: by stages with pretrained weights, else all at once; raises PlanError."""
        if self.weights is not None:
            return Stages.of(self.transfer, self.last_block())
        if self.transfer is not None:
            raise PlanError(f"'{self.name}': transfer is for pretrained weights, and there are none", "give weights")
        return Stages()

    def _examples(self, pixels: Pixels, part: Cohort, task: Classify | Multilabel, y: Any, folder: Path) -> Examples:
        """What the loop takes of a part whose class codes, or labels (rows, labels), are y."""
        import torch

        if isinstance(task, Multilabel):
            targets, w = (y == 1).astype(np.float32), self._label_weights(part, task, y)
        else:
            targets = np.eye(len(task.classes), dtype=np.float32)[y.astype(np.int64)]
            given = class_weights(part, task, y, self.class_weight)
            w = np.ones(len(y)) if given is None else given
        return Examples(
            partial(pixels.taken, Squares(part, pixels.field, pixels.size, folder)),
            torch.from_numpy(targets),
            torch.from_numpy(w.astype(np.float32)),
            part.frame["row_id"].to_list(),
        )

    def _label_weights(self, part: Cohort, task: Multilabel, y: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights (rows, labels), 0 where a label is unknown, that sum to the rows."""
        w = np.zeros(y.shape)
        for i, label in enumerate(task.labels):
            known = np.flatnonzero(y[:, i] >= 0)
            if len(known):
                given = class_weights(part.take(known), label, y[known, i], self.class_weight)
                w[known, i] = 1.0 if given is None else given
        return w * (len(y) / w.sum())

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Probabilities of classes or labels, one image a row, in row order; raises DataError for one without image."""
        import torch

        learnt = self.learnt
        p = np.zeros((len(cohort), len(learnt.task.columns)))
        for start in range(0, len(cohort), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(cohort)))
            with torch.inference_mode(), with_threads(learnt.threads):
                logits = learnt.network(torch.from_numpy(self.inputs(cohort.take(rows))))
                classes = isinstance(learnt.task, Classify)
                p[rows] = (torch.softmax(logits.double(), dim=1) if classes else torch.sigmoid(logits.double())).numpy()
        return Predictions.of_probabilities(learnt.task, cohort.frame["row_id"], p)

    def of_label(self, name: str) -> OneLabel:
        """One label of several, as a network of two classes; raises DataError for an unknown one."""
        task = self.learnt.task
        if not isinstance(task, Multilabel) or name not in task.targets:
            known = ", ".join(task.targets) if isinstance(task, Multilabel) else "none"
            raise DataError(f"no label is called '{name}'", f"labels: {known}")
        index = task.targets.index(name)
        return OneLabel(self, task.labels[index], index)

    def network(self) -> nn.Module:
        """The fitted network in evaluation mode."""
        return self.learnt.network

    def inputs(self, cohort: Cohort) -> NDArray[np.float32]:
        """What the network takes, shape (rows, channels, image, image)."""
        return self.learnt.pixels.inputs(cohort)

    def pictures(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs as images in 0..1 again."""
        return self.learnt.pixels.pictures(inputs)

    def spent(self) -> dict[str, Any]:
        """The epochs that its budget came to, {} where it had none."""
        return {} if self.budget is None else {"budget": {"epochs": self.learnt.progress.planned}}

    def covered(self, cohort: Cohort) -> NDArray[np.bool_]:
        """Where the inputs hold picture, not filling, shape (rows, image, image)."""
        return self.learnt.pixels.covered(cohort)

    def laid(self, planes: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Planes (h, w) over the images as the inputs show them, shape (rows, image, image)."""
        return self.learnt.pixels.laid(planes)

    def export(self) -> OnnxNetwork:
        """The serving form: an ONNX graph that answers the same without torch, and says where it looked."""
        from bedside.models.imaging.onnx_export import exported

        learnt = self.learnt
        return exported(learnt.network, self.target_layer(), learnt.pixels, learnt.task, {"model": self.name})

    def learning_curve(self) -> Figure:
        """Loss on train and (where there was one) on the search part by epoch, as a tidy table."""
        points = [
            (epoch, float(f"{row[series]:.6g}"), series)
            for series in ("train_loss", "tune_loss")
            for epoch, row in enumerate(self.learnt.progress.history, 1)
            if series in row
        ]
        columns = dict(zip(("epoch", "loss", "series"), map(list, zip(*points, strict=True)), strict=True))
        return Figure("learning_curve", "line", columns, {"x": "epoch", "y": "loss", "series": "series"}, part="train")

    def findings(self) -> tuple[Finding, ...]:
        """How long it was trained, and whether that was long enough."""
        progress = self.learnt.progress
        values = {"model": self.name, "epochs": progress.done, "planned": progress.planned or progress.done}
        found = [Finding("network_trained", "info", {**values, "best": progress.best})]
        if self.weights is not None:
            found.append(Weights.of(self.weights).finding(self.name))
        if progress.done == progress.planned == progress.best and progress.done > 1 and self._still_falling():
            found.append(Finding("training_cut_short", "caution", values))
        return tuple(found)

    def _still_falling(self) -> bool:
        """Whether the loss on the search part fell by more than 2 % over the last tenth of the epochs."""
        losses = [row["tune_loss"] for row in self.learnt.progress.history if "tune_loss" in row]
        back = max(1, len(losses) // 10)
        return len(losses) > back and losses[-1] < 0.98 * losses[-1 - back]

    @property
    def learnt(self) -> LearntNetwork:
        """The fitted state; raises BedsideError before fit."""
        if self.learnt_ is None:
            raise not_fitted(self.name)
        return self.learnt_

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Task, pixels and history as JSON, weights as safetensors."""
        from safetensors.torch import save

        learnt = self.learnt
        progress = learnt.progress
        return {
            "task": learnt.task.to_json(),
            "pixels": learnt.pixels.to_json(),
            "planned": progress.planned,
            "best": progress.best,
            "history": [dict(row) for row in progress.history],
            "threads": learnt.threads,
            "device": learnt.device,
        }, {FILE: save({name: tensor.contiguous() for name, tensor in learnt.network.state_dict().items()})}

    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`; raises IntegrityError when the weights are not those of this network."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        task = task_from_json(state["task"])
        if not isinstance(task, Classify | Multilabel):
            raise IntegrityError(f"'{self.name}' was saved with a task that it cannot do")
        pixels = Pixels.from_json(state["pixels"])
        with seeded(0, threads=1):
            network = self.build(len(pixels.mean), len(task.columns))
        try:
            network.load_state_dict(load(files[FILE]))
        except (RuntimeError, KeyError, SafetensorError) as error:
            raise IntegrityError(f"{FILE} does not hold the weights of '{self.name}': {error}") from None
        history = tuple(state["history"])
        progress = Progress(state["planned"], len(history), state["best"], history=history)
        self.learnt_ = LearntNetwork(
            task, pixels, network.eval().requires_grad_(False), progress, state["threads"], state["device"]
        )

    def check(self) -> None:
        """Raise PlanError for a parameter that is out of range or does not fit the others."""
        for name, (low, high, kind) in self.limits.items():
            value = getattr(self, name)
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, bool) or not isinstance(each, kind) or not low <= each <= high:
                    raise PlanError(f"'{self.name}': {name} is {value!r}", f"give a number from {low} to {high}")
        for name, choices in (("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in (None, *choices):
                raise PlanError(f"'{self.name}': {name} is {getattr(self, name)!r}", f"one of {', '.join(choices)}")
        if self.image < self.stride():
            raise PlanError(
                f"'{self.name}': image is {self.image}, and one cell of its last map is {self.stride()} pixels wide",
                f"give image: {self.stride()} or more, or a network of fewer steps such as small_cnn",
            )

    def _key(self, train: Cohort, tune: Cohort | None, task: Task, run: Run, version: str) -> str:
        """A digest of all that decides the weights: what a checkpoint is a checkpoint of."""
        parts = [None if part is None or not len(part) else part.digest for part in (train, tune)]
        return json_digest(
            {
                "model": self.name,
                "parameters": sha256_hex(repr(sorted(self.parameters().items())).encode()),
                "parts": parts,
                "task": task.to_json(),
                "seed": run.seed,
                "threads": run.threads,
                "device": run.device,
                "torch": version,
            }
        )
