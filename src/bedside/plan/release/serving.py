"""The serving form of a release: its pipeline with the network in ONNX Runtime, proved equal on the golden rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bedside.cohort.atomic import make_folder
from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError
from bedside.models.predictions import Predictions

CLOSE = 1e-5


def write_serving(folder: Path, pipeline: Any, golden: Cohort, predicted: Predictions) -> None:
    """Save the serving form of a pipeline whose model is a network; nothing is written for another.

    `golden` are rows after cleaning, `predicted` the pipeline's own answers. Raises BedsideError when the serving form
    answers otherwise by more than 1e-5, after calibration.
    """
    served = pipeline.served()
    if served is pipeline:
        return
    gap = largest_difference(served.predict(golden), predicted)
    if not gap <= CLOSE:
        raise BedsideError(
            f"in ONNX Runtime the model differs by up to {gap:.1e} on the golden rows",
            f"more than {CLOSE:g} is not served: calibrate by sigmoid or temperature, or choose another network",
        )
    make_folder(folder)
    served.save(folder)


def largest_difference(a: Predictions, b: Predictions) -> float:
    """The largest difference between two answers to the same rows, over all columns of the task."""
    return max(
        float(np.abs(a.frame[name].to_numpy() - b.frame[name].to_numpy()).max(initial=0.0)) for name in a.task.columns
    )
