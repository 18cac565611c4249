"""Making the network of a fitted pipeline smaller or faster, by one method or several in a row."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import PlanError
from bedside.models.imaging.classifier import ImageClassifier
from bedside.models.imaging.distil import distilled
from bedside.models.imaging.onnx_int8 import quantised
from bedside.models.imaging.onnx_network import OnnxNetwork
from bedside.models.imaging.prune import By, pruned
from bedside.models.pipeline import Pipeline
from bedside.models.task import Classify

if TYPE_CHECKING:
    from torch import nn

AGAIN = 0.25  # of the epochs that the network was trained for, after pruning
SOFTER = 0.25  # of its learning rate


@dataclass(frozen=True)
class Methods:
    """What is done to a network, in this order: distilled into a small CNN, a share of its channels pruned (`by` the
    L1 norm of their filters or the scale of their normalisation), 8-bit integers. Raises PlanError when nothing is."""

    distill: bool = False
    int8: bool = False
    prune: float | None = None
    by: By = "l1"

    def __post_init__(self) -> None:
        if not self.names:
            raise PlanError("nothing says how to compress", "say --int8, --prune SHARE or --distill")

    @property
    def names(self) -> tuple[str, ...]:
        """What is done, in order."""
        done = {"distill": self.distill, "prune": self.prune is not None, "int8": self.int8}
        return tuple(name for name, wanted in done.items() if wanted)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def compressed(
    pipeline: Pipeline, methods: Methods, train: Cohort, search: Cohort, calibrate: Cohort, *, run: Run
) -> Pipeline:
    """The pipeline around the network made smaller: a small CNN when it is distilled only, else in its serving form.

    The parts are those of the pipeline's own fit. A network that learns (distilled, pruned) is calibrated again and
    gets a threshold of its own; in eight bits it keeps what it had. Raises PlanError for a pipeline whose model is no
    network of classes, and for a network that cannot be pruned.
    """
    task = pipeline.task
    if not isinstance(task, Classify) or not isinstance(pipeline.model, ImageClassifier):
        raise PlanError(f"'{pipeline.model.name}' is no network that tells classes apart", "compress such a release")
    seen, aside = _parts(pipeline, train), _parts(pipeline, search)
    held_out = aside if len(aside) else None
    if methods.distill:
        pupil = distilled(pipeline.model, seen, held_out, task=task, run=run.inside("distill"))
        pipeline = pipeline.with_model(pupil, calibrate)
        if methods.names == ("distill",):
            return pipeline
    if methods.prune is not None:
        model = pipeline.model
        smaller = pruned(model.network(), methods.prune, methods.by)
        epochs = max(1, math.ceil(AGAIN * (model.learnt.progress.planned or 1)))
        rate = SOFTER * model.learning_rate
        again = _around(model, smaller, budget={"epochs": epochs}, learning_rate=rate, weights=None, transfer=None)
        again.fit(seen, held_out, task=task, run=run.inside("prune"))
        pipeline = pipeline.with_model(again.export(), calibrate)
    served = pipeline.served()
    if not methods.int8:
        return served
    network: OnnxNetwork = served.model
    return served.with_model(quantised(network, served.prepare(train), task.truth(train), run.seed))


def _parts(pipeline: Pipeline, part: Cohort) -> Cohort:
    """A part as the model sees it, with its outcome."""
    target = pipeline.task.target
    return pipeline.prepare(part).with_columns({target: part[target]}, [part.schema[target]])


def _around(model: ImageClassifier, network: nn.Module, **changed: Any) -> ImageClassifier:
    """An unfitted model like another that begins with a given network."""

    class Around(type(model)):  # type: ignore[misc]
        def build(self, channels: int, classes: int) -> nn.Module:
            return network

    made: ImageClassifier = Around(**{**model.parameters(), **changed})
    return made
