"""A release as it is served: opened, loaded, and found to answer its golden rows as it did when it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.gates import Stage
from bedside.models.predictions import Predictions
from bedside.models.task import Multilabel, Task
from bedside.plan.release import contents
from bedside.plan.release.opened import Opened
from bedside.serve import explain

CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Served:
    """A loaded release and the stage in force. `typical` is what each field adds on average (see `explain`)."""

    opened: Opened
    stage: Stage
    pipeline: Any
    typical: Mapping[str, float] | None

    def at(self, stage: Stage) -> Served:
        """The same at another stage."""
        return self if stage == self.stage else replace(self, stage=stage)

    @property
    def digest(self) -> str:
        """The release's digest."""
        return self.opened.digest

    @property
    def name(self) -> str:
        """The name it was released under."""
        return str(self.opened.record["name"])

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.opened.task

    @property
    def predicts(self) -> str:
        """The target, or the labels."""
        return ", ".join(self.task.targets) if isinstance(self.task, Multilabel) else self.task.target

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of one row."""
        return dict(json.loads(self.opened.read("input.schema.json")))

    @cached_property
    def example(self) -> dict[str, Any]:
        """A synthetic row."""
        return dict(json.loads(self.opened.read("example.json")))

    @property
    def image_field(self) -> str | None:
        """The field that takes an image, where there is one."""
        return next((item.name for item in self.opened.schema.inputs if item.kind == "image"), None)

    def predict(self, cleaned: Cohort) -> Predictions:
        """Predictions of cleaned rows."""
        made: Predictions = self.pipeline.predict(cleaned)
        return made


def load_served(opened: Opened, stage: Stage) -> Served:
    """Load a release whose bytes have been checked; raises BedsideError where it cannot be served here, and
    IntegrityError where it does not answer as it did."""
    if opened.has_serving:
        pipeline = opened.serving
    else:
        model = json.loads(opened.read("model/pipeline.json"))["fitted"]["model"]["name"]
        if plugins.load("models", model).extra == "imaging":
            raise BedsideError(f"the network '{model}' has no form that is served", "run its plan again")
        pipeline = opened.pipeline
    golden = opened.clean(contents.read_cohort(opened.read, "golden/inputs"))
    kept = contents.read_predictions(opened.read, "golden/predictions", opened.task)
    made = pipeline.predict(golden)
    gap = max(float(np.abs(made.frame[c].to_numpy() - kept.frame[c].to_numpy()).max()) for c in opened.task.columns)
    if not gap <= CLOSE:
        raise IntegrityError(f"its golden rows are answered otherwise than when it was made (by {gap:.1e})")
    return Served(opened, stage, pipeline, explain.typical(pipeline, golden, opened.task))
