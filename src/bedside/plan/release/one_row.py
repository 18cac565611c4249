"""One row for a caller: the JSON Schema of what a release answers, and a synthetic example."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.manifest import file_fields, files_of, manifest
from bedside.cohort.schema import Schema


def input_schema(schema: Schema, observed: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one row that the release answers; ranges seen in training stand beside the plausible."""
    types = {"number": "number", "boolean": "boolean"}
    properties: dict[str, Any] = {}
    for item in schema.fields:
        each: dict[str, Any] = {"type": [types.get(item.kind, "string"), "null"]}
        if item.label or item.description:
            each["description"] = " — ".join(text for text in (item.label, item.description) if text)
        if item.unit:
            each["x-unit"] = item.unit
        each["x-kind"] = item.kind
        if item.kind == "image":
            each |= {"contentEncoding": "base64", "contentMediaType": "image/*"}
        if item.levels:
            each["x-levels"] = list(item.levels)
        if item.low is not None:
            each["minimum"] = item.low
        if item.high is not None:
            each["maximum"] = item.high
        seen = observed.get(item.name, {})
        if item.kind == "number" and "low" in seen:
            each["x-seen"] = [float(seen["low"]), float(seen["high"])]
        properties[item.name] = each
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Input of {name}",
        "type": "object",
        "properties": properties,
        "required": [item.name for item in schema.inputs],
        "additionalProperties": False,
    }


def one_row(cohort: Cohort, row: int = 0) -> dict[str, Any]:
    """One row's fields as JSON; an image is its file's bytes in base64."""
    values = cohort.frame.row(row, named=True)
    values = {name: values[name] for name in cohort.schema.names}
    for name in file_fields(cohort):
        if values[name] is not None:
            files = files_of(cohort)
            values[name] = base64.b64encode(files.get(manifest(files, values[name]).items[0])).decode()
    return {key: value if isinstance(value, float | bool | str | None) else str(value) for key, value in values.items()}
