"""Making the network of a fitted pipeline smaller or faster, by one method or several in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import PlanError
from bedside.models.imaging.onnx_int8 import quantised
from bedside.models.imaging.onnx_network import OnnxNetwork
from bedside.models.pipeline import Pipeline
from bedside.models.task import Classify


@dataclass(frozen=True)
class Methods:
    """What is done to a network: eight-bit integers. Raises PlanError when nothing is."""

    int8: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise PlanError("nothing says how to compress", "say --int8")

    @property
    def names(self) -> tuple[str, ...]:
        """What is done, in order."""
        return ("int8",) if self.int8 else ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"int8": self.int8}


def compressed(pipeline: Pipeline, methods: Methods, train: Cohort, *, run: Run) -> Pipeline:
    """The pipeline around the network made smaller; calibration and threshold stay those that were released.

    `train` is the training part of that pipeline's own fit. Raises PlanError for a pipeline without a network of
    classes.
    """
    task = pipeline.task
    served = pipeline.served()
    if not isinstance(served.model, OnnxNetwork) or not isinstance(task, Classify):
        raise PlanError(f"'{pipeline.model.name}' is no network that tells classes apart", "compress a network")
    return served.with_model(quantised(served.model, served.prepare(train), task.truth(train), run.seed))
