"""Old files still read: a pipeline of format 1, frozen, answers its frozen rows as it did.

Written once by `write(Path("tests/fixtures/pipeline_format_1"))`; it is never written again for format 1.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.models.conformance import TARGETS, example, task_of
from bedside.models.pipeline import Pipeline

FIXTURE = Path(__file__).parents[1] / "fixtures" / "pipeline_format_1"
MODELS = {"logistic": "logistic", "lightgbm": {"name": "lightgbm", "rounds": 5}}


def write(folder: Path) -> None:
    """Fit and save the two pipelines with the rows they answer, and their answers."""
    cohort = example()
    cohort = cohort.keeping([name for name in cohort.schema.names if name == "event" or name not in TARGETS])
    train, search, calibrate = (cohort.take(np.arange(a, b)) for a, b in ((0, 120), (120, 160), (160, 240)))
    for name, spec in MODELS.items():
        pipeline = Pipeline(spec).fit(train, search, calibrate, task=task_of("event"), run=Run(folder, seed=1))
        (folder / name).mkdir(parents=True)
        pipeline.save(folder / name)
        rows = pipeline.golden(16, seed=1)
        answers = {"rows": rows.frame.to_dict(as_series=False), "p": pipeline.predict(rows).score.tolist()}
        (folder / f"{name}.json").write_text(json.dumps(answers))


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_of_format_1_still_answers(name: str) -> None:
    pipeline = Pipeline.load(FIXTURE / name)
    answers = json.loads((FIXTURE / f"{name}.json").read_text())
    rows = pl.DataFrame(answers["rows"])
    cohort = Cohort.of(rows, pipeline.input_schema.fields, row_id=rows["row_id"])
    assert np.abs(pipeline.predict(cohort).score - np.array(answers["p"])).max() < 1e-9
