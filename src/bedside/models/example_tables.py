"""The example that models for tables are judged on, and the tasks of all examples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.models.example_images import SHADES
from bedside.models.task import Classify, Multilabel, Regress, Task

TARGETS = {"event": "category", "grade": "category", "stay": "number"}
IMAGE_TARGETS = ("blob", "shade", "marks")


def example(rows: int = 240, seed: int = 0) -> Cohort:
    """A cohort on which age, marker, smoker, sex and ward predict `event` (no, yes), `grade` (a, b, c) and `stay`."""
    rng = np.random.default_rng(seed)
    age, marker, noise = rng.normal(60, 12, rows), rng.lognormal(0, 0.6, rows), rng.normal(size=rows)
    smoker, sex = rng.random(rows) < 0.3, rng.choice(["f", "m"], rows)
    ward = rng.choice(["icu", "medical", "surgical"], rows, p=[0.2, 0.5, 0.3])
    z = (age - 60) / 8 + 2.5 * np.log(marker) + 1.0 * smoker + 0.8 * (sex == "m") + 1.2 * (ward == "icu") - 0.9
    z = z + 0.5 * rng.normal(size=rows)
    columns = {
        "age": pl.Series(np.where(rng.random(rows) < 0.05, np.nan, age)),
        "marker": pl.Series(np.where(rng.random(rows) < 0.1, np.nan, marker)),
        "noise": pl.Series(noise),
        "smoker": pl.Series(smoker),
        "sex": pl.Series(sex),
        "ward": pl.Series([None if gone else w for w, gone in zip(ward, rng.random(rows) < 0.05, strict=True)]),
        "event": pl.Series(np.where(z > 0, "yes", "no")),
        "grade": pl.Series(np.array(["a", "b", "c"])[np.digitize(z, [-1.0, 1.0])]),
        "stay": pl.Series(5 + z),
    }
    kinds = {"smoker": "boolean", "sex": "category", "ward": "category", "event": "category", "grade": "category"}
    fields = [
        Field(name, kinds.get(name, "number"), ("target",) if name in TARGETS else ("input",))  # type: ignore[arg-type]
        for name in columns
    ]
    subject = [f"s{i // 2}" for i in range(rows)]
    return Cohort.of(pl.DataFrame(columns), fields, subject=subject, row_id=[f"r{i:04d}" for i in range(rows)])


def with_labels(cohort: Cohort) -> Cohort:
    """The example with two labels for its targets: `bleed` (true where stay is above 5) and `ache` (yes where it is
    above 6); a fifth of each, and never both, is unknown."""
    stay, which = cohort["stay"].to_numpy(), np.random.default_rng(3).random(len(cohort))
    ache = np.where(stay > 6, "yes", "no")
    columns = {
        "bleed": pl.Series([None if u < 0.2 else bool(v) for u, v in zip(which, stay > 5, strict=True)]),
        "ache": pl.Series([None if u > 0.8 else str(v) for u, v in zip(which, ache, strict=True)]),
    }
    fields = [Field("bleed", "boolean", ("target",)), Field("ache", "category", ("target",))]
    return only(cohort, "", TARGETS).with_columns(columns, fields)


def task_of(target: str) -> Task:
    """The task of one of the examples' targets: two classes (event, blob), three (grade, shade), a number (stay), or
    two labels (labels, marks)."""
    if target == "marks":
        return Multilabel(tuple(Classify(name, ("false", "true"), "true") for name in ("bright", "dark")))
    if target == "labels":
        bleed, ache = Classify("bleed", ("false", "true"), "true"), Classify("ache", ("no", "yes"), "yes")
        return Multilabel((bleed, ache))
    if target in IMAGE_TARGETS:
        return Classify("blob", ("no", "yes"), "yes") if target == "blob" else Classify("shade", SHADES)
    if target == "stay":
        return Regress("stay")
    return Classify("event", ("no", "yes"), "yes") if target == "event" else Classify("grade", ("a", "b", "c"))


def only(cohort: Cohort, target: str, targets: Iterable[str]) -> Cohort:
    """The cohort without the `targets` other than `target`."""
    return cohort.keeping([name for name in cohort.schema.names if name == target or name not in targets])
