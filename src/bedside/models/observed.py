"""What the training part showed of each input field: for the input schema, for flags, and for golden rows.

A range ends at the fifth smallest and fifth largest value, and a level is listed when at least five rows had it, so
that no single patient is described. Of images only their usual size is kept; invented ones are noise of that size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.files import Files, MemoryFiles
from bedside.cohort.manifest import file_fields, manifests
from bedside.cohort.schema import Field, physical_type
from bedside.prepare.arrays import noise

MIN_ROWS = 5
_QUANTILES = np.linspace(0, 1, 21)


def observe(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """For each input field: share missing, and range and quantiles, or shares of the levels, as JSON."""
    out = {item.name: _observe(cohort[item.name], item) for item in cohort.schema.inputs}
    for item in cohort.schema.inputs:
        if item.kind == "image" and cohort.files is not None:
            out[item.name] |= _sizes(cohort, item.name)
    return out


def _sizes(cohort: Cohort, name: str) -> dict[str, Any]:
    """The median size of the images, and 1 channel when all are grey, else 3."""
    shapes = [each.shape for each in manifests(cohort, name).values()]
    if not shapes:
        return {}
    height, width = np.median(np.array([shape[:2] for shape in shapes]), axis=0)
    return {"height": round(float(height)), "width": round(float(width)), "channels": max(s[2] for s in shapes)}


def _observe(column: pl.Series, item: Field) -> dict[str, Any]:
    n = len(column)
    seen = column.drop_nulls()
    out: dict[str, Any] = {"kind": item.kind, "missing": (n - len(seen)) / n if n else 0.0}
    if len(seen) == 0:
        return out
    if item.kind in ("number", "time"):
        values = np.sort(seen.to_physical().cast(pl.Float64).to_numpy())
        end = min(MIN_ROWS, (len(values) + 1) // 2) - 1
        low, high = float(values[end]), float(values[-1 - end])
        out |= {"low": low, "high": high, "whole": bool((values == np.round(values)).all())}
        out["quantiles"] = [float(q) for q in np.clip(np.quantile(values, _QUANTILES), low, high)]
    elif item.kind == "boolean":
        out["true"] = float(seen.cast(pl.Float64).to_numpy().mean())
    elif item.kind in ("category", "ordinal"):
        counts = seen.value_counts().sort(item.name)
        kept = counts.filter(pl.col("count") >= MIN_ROWS)
        out["levels"] = {level: count / len(seen) for level, count in kept.iter_rows()}
    return out


def draw(fields: Sequence[Field], observed: Mapping[str, Mapping[str, Any]], n: int, seed: int) -> Cohort:
    """A cohort of n invented rows, each field drawn on its own from what training showed (texts stay missing)."""
    rng = np.random.default_rng(seed)
    files = MemoryFiles()
    columns = {}
    for item in fields:
        seen = observed[item.name]
        missing = rng.random(n) < seen["missing"]
        if "channels" in seen:
            values = [None if gone else _noise(seen, rng, files) for gone in missing]
        else:
            values = _drawn(item, seen, n, rng, missing)
        columns[item.name] = pl.Series(values, dtype=physical_type(item.kind))
    ids = [f"golden-{i}" for i in range(n)]
    drawn = Cohort.of(pl.DataFrame(columns), fields, row_id=ids, name="golden")
    return drawn.with_files(files) if file_fields(drawn) else drawn


def _noise(seen: Mapping[str, Any], rng: np.random.Generator, files: Files) -> str:
    made, data = noise(rng, seen["height"], seen["width"], seen["channels"])
    files.put(data)
    return files.put(made.to_bytes())


def _drawn(item: Field, seen: Mapping[str, Any], n: int, rng: np.random.Generator, missing: Any) -> list[Any]:
    values: list[Any]
    if "quantiles" in seen:
        numbers = np.interp(rng.random(n), _QUANTILES, seen["quantiles"])
        numbers = np.round(numbers) if seen["whole"] else numbers
        values = [_moment(v) for v in numbers] if item.kind == "time" else numbers.tolist()
    elif "true" in seen:
        values = (rng.random(n) < seen["true"]).tolist()
    elif seen.get("levels"):
        shares = np.array(list(seen["levels"].values()))
        values = rng.choice(np.array(list(seen["levels"])), size=n, p=shares / shares.sum()).tolist()
    else:
        values = [None] * n
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _moment(microseconds: float) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).replace(tzinfo=None)


def outside(cohort: Cohort, observed: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """Where rows leave what training showed: row_id, field, why (below, above, unseen, missing), one line each.

    "missing" is said only of a field that training never lacked.
    """
    tests: dict[tuple[str, str], pl.Expr] = {}
    for name, seen in observed.items():
        column = pl.col(name)
        if "quantiles" in seen:
            number = column.to_physical().cast(pl.Float64)
            tests |= {(name, "below"): number < seen["low"], (name, "above"): number > seen["high"]}
        elif "levels" in seen:
            tests[name, "unseen"] = ~column.is_in(list(seen["levels"]))
        if seen["missing"] == 0:
            tests[name, "missing"] = column.is_null()
    # All tests in one pass: in service a row is asked at a time, and each pass has its price.
    flags = cohort.frame.select(test.alias(f"{i}") for i, test in enumerate(tests.values()))
    pieces = [pl.DataFrame(schema={"row_id": pl.String, "field": pl.String, "why": pl.String})]
    for (name, why), flag in zip(tests, flags.iter_columns(), strict=True):
        if flag.any():
            rows = cohort.frame["row_id"].filter(flag)
            pieces.append(pl.DataFrame({"row_id": rows}).with_columns(field=pl.lit(name), why=pl.lit(why)))
    return pl.concat(pieces)
