"""Answer: new rows read as the plan read its own, cleaned, and predicted by a release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import file_fields, files_of, objects_of
from bedside.cohort.schema import physical_type
from bedside.errors import DataError
from bedside.models.predictions import Predictions
from bedside.plan.release.opened import Opened

SEPARATOR = "; "


def read_like(release: Opened, path: Path, *, with_target: bool) -> Cohort:
    """Data in the plan's own form (or a JSON row, or a list of rows) read as the plan's was, its fields of the kinds
    that the release was fitted on. Every input must be there, other fields may be; without `with_target` the outcome is
    ignored, and a reader that can (`read_new`) takes single files and folders without labels."""
    if path.suffix.lower() == ".json" and not with_target:
        return rows_of_json(release, path)
    targets = release.task.targets
    spec = dict(release.reader)
    if not with_target and set(targets) & set(spec.get("dictionary", {})):
        spec["dictionary"] = {name: said for name, said in spec["dictionary"].items() if name not in targets}
    reader = plugins.build("readers", spec)
    cohort = reader.read(path) if with_target else getattr(reader, "read_new", reader.read)(path)
    wanted = [item.name for item in release.schema.inputs] + list(targets if with_target else ())
    missing = [name for name in wanted if name not in cohort.schema]
    if missing:
        raise DataError(f"{path} lacks the columns {missing[:10]}", "the release's fields are in its input.schema.json")
    return conform(cohort.keeping([*release.schema.names, *wanted]), release)


def conform(cohort: Cohort, release: Opened) -> Cohort:
    """The cohort with the release's field descriptions; raises DataError where a column has another kind."""
    changed: dict[str, pl.Series] = {}
    described = [item for item in release.schema.fields if item.name in cohort.schema]
    for item in described:
        column = cohort[item.name]
        if cohort.schema[item.name].kind == item.kind:
            continue
        if column.null_count() == len(column):
            changed[item.name] = pl.Series(item.name, [None] * len(column), dtype=physical_type(item.kind))
        elif item.kind in ("category", "ordinal", "text") and column.dtype == pl.Float64:
            whole = (column.drop_nulls() == column.drop_nulls().round(0)).all()
            changed[item.name] = column.cast(pl.Int64).cast(pl.String) if whole else column.cast(pl.String)
        elif column.dtype == physical_type(item.kind):
            changed[item.name] = column
        else:
            kind = cohort.schema[item.name].kind
            raise DataError(
                f"column '{item.name}' is a {kind}; the release takes a {item.kind}", "see input.schema.json"
            )
    return cohort.with_columns(changed, described)


def rows_of_json(release: Opened, path: Path) -> Cohort:
    """A JSON object, or a list of them, as raw rows."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", "see the release's example.json") from None
    rows = data if isinstance(data, list) else [data]
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path}: rows are JSON objects", "see the release's example.json")
    return rows_of(release, rows)


def rows_of(release: Opened, rows: Sequence[Mapping[str, Any]]) -> Cohort:
    """Rows given as JSON objects (at least one) as raw rows, numbered from 0; raises DataError as `Opened.row` does."""
    single = [release.row(row) for row in rows]
    frame = pl.concat([each.frame for each in single])
    ids = pl.Series([str(i) for i in range(len(rows))], dtype=pl.String)
    files = MemoryFiles()
    for each in single:
        for digest in objects_of(each) if file_fields(each) else []:
            files.put(files_of(each).get(digest))
    return Cohort(single[0].schema, frame.with_columns(ids.alias("row_id"), ids.alias("subject")), files=files)


def answer_table(release: Opened, raw: Cohort) -> pl.DataFrame:
    """One row an answer: row_id, probability of each class or label (or value), call, threshold (of labels one each),
    and `outside_training`: the inputs that lie outside what training showed, with how (below, above, unseen, missing).
    """
    cleaned = release.clean(raw)
    predictions: Predictions = release.served.predict(cleaned)
    keep = ["row_id", *release.task.columns]
    keep += [name for name in predictions.frame.columns if name.partition(":")[0] in ("call", "threshold")]
    outside: pl.DataFrame = release.served.outside(cleaned)
    told = (pl.col("field") + " " + pl.col("why")).str.join("; ").alias("outside_training")
    flags = outside.group_by("row_id").agg(told)
    answers = predictions.frame.select(keep).join(flags, on="row_id", how="left", maintain_order="left")
    return answers.with_columns(pl.col("outside_training").fill_null(""))


def nearest_cases(release: Opened, raw: Cohort, cases: Cohort, k: int) -> pl.DataFrame:
    """The k cases most like each row of `raw`, nearest first, in columns to join to the answers by `row_id`: `nearest`
    (their row ids), `nearest_distance` and `nearest_TARGET` (what became of them; of several labels each one's).

    `cases` are raw rows with their outcome, such as the table that the release was learnt from: it is given anew,
    because a release holds no patient. Distances are over the inputs (`bedside.checks.explain.nearest`), of images as
    the network sees them (`nearest_images`).
    """
    from bedside.checks.explain import nearest, nearest_images
    from bedside.models.imaging.network import as_network

    known, asked = release.clean(cases), release.clean(raw)
    if as_network(release.pipeline.model) is not None:
        positions, distances = nearest_images(release.pipeline, known, asked, k)
    else:
        inputs = [item.name for item in release.schema.inputs]
        positions, distances = nearest(known.keeping(inputs), asked.keeping(inputs), k)
    ids = known.frame["row_id"].to_list()
    lines = {
        "row_id": raw.frame["row_id"].to_list(),
        "nearest": [SEPARATOR.join(ids[i] for i in row) for row in positions],
        "nearest_distance": [SEPARATOR.join(f"{gap:.2f}" for gap in row) for row in distances],
    }
    for target in release.task.targets:
        outcome = known[target].cast(pl.String).fill_null("?").to_list()
        lines[f"nearest_{target}"] = [SEPARATOR.join(outcome[i] for i in row) for row in positions]
    return pl.DataFrame(lines, schema=dict.fromkeys(lines, pl.String))
