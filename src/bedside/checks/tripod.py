"""TRIPOD+AI 2024: each of the 27 items (52 with sub-items) is filled by the run, needs the author, or does not apply.

Source: Collins GS, Moons KGM, Dhiman P, et al. BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378 (CC BY 4.0); the short
texts are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from bedside.errors import DataError
from bedside.evidence.estimate import Evidence

STUDIES = {"development": ("D",), "evaluation": ("E",), "both": ("D", "E")}


@cache
def checklist() -> tuple[dict[str, Any], ...]:
    """The items in order: item, section, topic, applies (D, E or D;E), en, zh, author, only_if, pointers."""
    text = resources.files("bedside.checks").joinpath("tripod_ai.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["items"])


def tripod(plan_facts: Mapping[str, Any], evidence: Iterable[Evidence]) -> list[dict[str, Any]]:
    """One row an item: item, section, topic, en, zh, `status` (filled, author, not_applicable), `pointers`, `answer`.

    `plan_facts` are the plan's own keys (cohort, clean, task, split, steps, model, …, nested mappings) and the run's
    (`study`: development, evaluation or both; rows, test_rows, versions); `author` maps an item's number to the
    author's words, which fill it. A pointer is `plan:<key>`, `check:<name>`, `metric:<id>`, `figure:<id>` or
    `finding:<id>`; those that lead somewhere are returned, also for items that need the author's words beside them.
    Raises DataError for another `study` or an author's answer to an item that does not exist.
    """
    study = plan_facts.get("study", "both")
    if study not in STUDIES:
        raise DataError(f"study '{study}' is unknown", f"one of {', '.join(STUDIES)}")
    answers: Mapping[str, str] = plan_facts.get("author") or {}
    unknown = set(answers) - {row["item"] for row in checklist()}
    if unknown:
        raise DataError(f"TRIPOD+AI has no item {sorted(unknown)}", "items are numbered 1, 2, 3a, … 27c")
    there = _there(evidence)
    return [_row(row, plan_facts, there, answers.get(row["item"]), STUDIES[study]) for row in checklist()]


def _row(
    row: Mapping[str, Any], facts: Mapping[str, Any], there: set[str], answer: str | None, parts: tuple[str, ...]
) -> dict[str, Any]:
    found = [pointer for pointer in row["pointers"] if _leads(pointer, facts, there)]
    if answer is not None:
        status = "filled"
    elif not set(row["applies"].split(";")) & set(parts) or not _applies(row["only_if"], facts, there):
        status = "not_applicable"
    else:
        status = "filled" if found and not row["author"] else "author"
    kept = {key: row[key] for key in ("item", "section", "topic", "en", "zh")}
    return {**kept, "status": status, "pointers": [] if status == "not_applicable" else found, "answer": answer}


def _applies(only_if: list[str], facts: Mapping[str, Any], there: set[str]) -> bool:
    """Whether the run used the method that an item is about."""
    return not only_if or any(_leads(pointer, facts, there) for pointer in only_if)


def _there(evidence: Iterable[Evidence]) -> set[str]:
    found = set()
    for piece in evidence:
        found.add(f"check:{piece.check}")
        found.update(f"metric:{item.metric}" for item in piece.estimates)
        found.update(f"figure:{item.id}" for item in piece.figures)
        found.update(f"finding:{item.id}" for item in piece.findings)
    return found


def _leads(pointer: str, facts: Mapping[str, Any], there: set[str]) -> bool:
    kind, _, key = pointer.partition(":")
    if kind != "plan":
        return pointer in there
    value: Any = facts
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return value is not None and value != [] and value != {}
