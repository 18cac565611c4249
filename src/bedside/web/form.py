"""The form of Try it: one input for each field that a release takes, with its unit, levels and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bedside.serve.served import Served


@dataclass(frozen=True)
class FormField:
    """One input: `kind` is the field's, `seen` what training showed of a number, `levels` what may be chosen."""

    name: str
    kind: str
    unit: str | None
    description: str | None
    levels: tuple[str, ...]
    seen: tuple[float, float] | None


def fields_of(served: Served) -> tuple[list[FormField], list[FormField]]:
    """The fields of a row but its image: those that the model looks at, and the others."""
    schema = served.input_schema
    observed = served.pipeline.fitted.observed
    asked: list[FormField] = []
    others: list[FormField] = []
    for name, each in schema["properties"].items():
        if each["x-kind"] == "image":
            continue
        levels = tuple(each.get("x-levels") or sorted(observed.get(name, {}).get("levels", ())))
        seen = each.get("x-seen")
        (asked if name in schema["required"] else others).append(
            FormField(
                name,
                each["x-kind"],
                each.get("x-unit"),
                each.get("description"),
                levels,
                None if seen is None else (seen[0], seen[1]),
            )
        )
    return asked, others


def example_of(served: Served) -> dict[str, Any]:
    """The synthetic row that comes with the release, numbers shortened to what a person would type."""
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in served.example.items()
    }
