"""The published JSON Schema of Evidence, made from the dataclasses that are the contract.

docs/schemas/evidence.schema.json is `schema_text()`; a test says when it is not.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SEVERITIES = ["info", "caution", "stop"]
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "float": {"type": "number"},
    "int": {"type": "integer", "minimum": 0},
    "bool": {"type": "boolean"},
    "Mapping[str, str]": {"type": "object", "additionalProperties": {"type": "string"}},
    "Mapping[str, Scalar]": {"type": "object", "additionalProperties": _SCALAR},
    "Mapping[str, Sequence[Scalar]]": {"type": "object", "additionalProperties": {"type": "array", "items": _SCALAR}},
    "tuple[Estimate, ...]": {"type": "array", "items": {"$ref": "#/$defs/Estimate"}},
    "tuple[Figure, ...]": {"type": "array", "items": {"$ref": "#/$defs/Figure"}},
    "tuple[Finding, ...]": {"type": "array", "items": {"$ref": "#/$defs/Finding"}},
}


def evidence_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `Evidence.to_json`, format 1."""
    estimate = _object(Estimate, always=("metric", "value"))
    estimate["properties"]["value"] = {"type": ["number", "null"]}
    known = {"properties": {"value": {"type": "number"}}, "not": {"required": ["exact"]}}
    estimate["allOf"] = [
        {"if": {"properties": {"value": {"type": "null"}}}, "then": {"required": ["why_not"]}},
        {"if": known, "then": {"required": ["low", "high", "level", "n_rows"]}},
    ]
    finding = _object(Finding, always=("id", "severity", "values"))
    finding["properties"]["severity"] = {"enum": SEVERITIES}
    names = tuple(item.name for item in fields(Evidence))
    evidence = _object(Evidence, always=("format", *names))
    evidence["properties"] = {"format": {"const": 1}, **evidence["properties"]}
    return {
        "$schema": DRAFT,
        "title": "Bedside evidence, format 1",
        **evidence,
        "$defs": {
            "Estimate": estimate,
            "Figure": _object(Figure, always=tuple(item.name for item in fields(Figure))),
            "Finding": finding,
        },
    }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(evidence_schema(), indent=2, ensure_ascii=False) + "\n"


def _object(kind: type[Any], always: tuple[str, ...]) -> dict[str, Any]:
    """A dataclass as a JSON object: what is None is left out, so nothing but `always` is required."""
    properties = {}
    for item in fields(kind):
        annotation = str(item.type).removesuffix(" | None")
        properties[item.name] = dict(_TYPES[annotation])
        if isinstance(item.default, bool | str):
            properties[item.name]["default"] = item.default
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
        "properties": properties,
        "required": list(always),
        "additionalProperties": False,
    }
