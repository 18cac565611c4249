"""Data dictionary: a file that says what each column is, as CSV (REDCap's too), JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from bedside.errors import DataError
from bedside.intake.delimited import batches, tell_dialect
from bedside.intake.encoding import tell_encoding
from bedside.intake.source import locate

_HEADINGS = {
    "name": ("name", "field", "variable", "column", "variable / field name", "field name", "variable name"),
    "kind": ("kind", "type", "field type", "data type"),
    "unit": ("unit", "units"),
    "low": ("low", "min", "minimum", "text validation min"),
    "high": ("high", "max", "maximum", "text validation max"),
    "levels": ("levels", "values"),
    "codes": ("codes", "choices", "choices, calculations, or slider labels"),
    "label": ("label", "field label"),
    "description": ("description", "definition", "field note"),
    "roles": ("roles", "role"),
    "missing": ("missing", "missing values", "missing codes"),
}
_KINDS = {
    "integer": "number", "int": "number", "float": "number", "double": "number", "numeric": "number", "real": "number",
    "calc": "number", "slider": "number", "string": "text", "notes": "text", "str": "text", "factor": "category",
    "categorical": "category", "nominal": "category", "radio": "category", "dropdown": "category", "bool": "boolean",
    "logical": "boolean", "yesno": "boolean", "truefalse": "boolean", "date": "time", "datetime": "time",
}  # fmt: skip
_LISTS = ("levels", "roles", "missing")


def read_dictionary(path: Path) -> dict[str, dict[str, Any]]:
    """Declarations by column name; raises DataError naming the file, and the row or key that cannot be read."""
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return _structured(path)
    source = locate(path)
    if source.format != "text":
        raise DataError(f"{path}: a data dictionary is CSV, JSON or YAML", "export it as CSV")
    encoding = tell_encoding(source, None)
    dialect = tell_dialect(source, source.sample().decode(encoding, "replace"))
    keys = {name: _heading(name) for name in dialect.names}
    if "name" not in keys.values():
        raise DataError(f"{path}: no column tells the field's name", f"call it one of {', '.join(_HEADINGS['name'])}")
    table = pl.concat([frame for _, frame in batches(source, encoding, dialect, dialect.names)])
    out: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        cells = {keys[name]: value.strip() for name, value in row.items() if keys[name] is not None and value.strip()}
        name = cells.pop("name", None)
        if name is None or name in out:
            why = "has no name" if name is None else f"names '{name}' again"
            raise DataError(f"{path}: row {number} {why}", "give each field one row")
        out[name] = {key: _cell(path, name, key, text) for key, text in cells.items() if key is not None}
    return out


def _structured(path: Path) -> dict[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read: {reason}", "check it against JSON or YAML") from None
    if isinstance(content, Mapping) and "fields" in content:
        content = content["fields"]
    if isinstance(content, list) and all(isinstance(item, Mapping) and "name" in item for item in content):
        content = {item["name"]: {key: value for key, value in item.items() if key != "name"} for item in content}
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: no fields in it", "write {name: {kind: …, unit: …}}")
    return {str(name): dict(spec) if isinstance(spec, Mapping) else {"kind": spec} for name, spec in content.items()}


def _heading(name: str) -> str | None:
    plain = " ".join(name.lower().replace("_", " ").split())
    return next((key for key, known in _HEADINGS.items() if plain in known), None)


def _cell(path: Path, name: str, key: str, text: str) -> Any:
    if key == "kind":
        return _KINDS.get(text.lower(), text.lower())
    if key in ("low", "high"):
        try:
            return float(text)
        except ValueError:
            raise DataError(f"{path}: field '{name}': {key} is no number", "write a number, or nothing") from None
    if key in _LISTS:
        return [part.strip() for part in text.split("|")]
    if key == "codes":
        # REDCap writes "1, Male | 2, Female".
        pairs = [part.replace("=", ",", 1).split(",", 1) for part in text.split("|")]
        if any(len(pair) != 2 for pair in pairs):
            raise DataError(f"{path}: field '{name}': cannot read its codes", "write 1, Male | 2, Female")
        return {code.strip(): meaning.strip() for code, meaning in pairs}
    return text
