"""Compare two runs or releases: plans, estimates and verdicts side by side; paired where the rows are the same."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import Judgement
from bedside.models.task import task_from_json
from bedside.plan import contents


@dataclass(frozen=True)
class Side:
    """One of the two: its name, facts, evidence and verdicts."""

    name: str
    facts: Mapping[str, Any]
    evidence: tuple[Evidence, ...]
    judgements: tuple[Judgement, ...]
    stage: str | None
    plan: str


@dataclass(frozen=True)
class Comparison:
    """Both sides; the metrics both estimated; paired differences a − b (empty unless judged on the same rows)."""

    a: Side
    b: Side
    shared: tuple[tuple[Estimate, Estimate], ...]
    paired: tuple[Estimate, ...]
    plan_changes: tuple[str, ...]


def side(folder: Path) -> Side:
    """A run's or a release's folder, read; raises DataError when it is neither."""
    for record in ("release.json", "run.json"):
        if (folder / record).is_file():
            data = json.loads((folder / record).read_bytes())
            judged = data if record == "release.json" else data["judged"]
            pieces = json.loads((folder / "evidence.json").read_bytes())
            return Side(
                name=folder.name,
                facts=data["facts"],
                evidence=tuple(Evidence.from_json(each) for each in pieces),
                judgements=tuple(Judgement.from_json(each) for each in judged["judgements"]),
                stage=judged["stage"],
                plan=(folder / "plan.yaml").read_text(encoding="utf-8"),
            )
    raise DataError(f"{folder} is neither a run nor a release", "name a folder that `bedside run` printed")


def compare(a: Path, b: Path, *, seed: int = 0) -> Comparison:
    """Compare two folders; raises DataError when they predict different things."""
    first, second = side(a), side(b)
    if first.facts["task"] != second.facts["task"]:
        raise DataError(
            f"{first.name} and {second.name} have different tasks", "only answers to the same question compare"
        )
    others = {_key(item): item for piece in second.evidence for item in piece.estimates}
    shared = tuple(
        (item, others[_key(item)])
        for piece in first.evidence
        for item in piece.estimates
        if item.group is None and item.versus is None and _key(item) in others
    )
    changes = difflib.unified_diff(
        first.plan.splitlines(), second.plan.splitlines(), first.name, second.name, "", "", 0
    )
    return Comparison(first, second, shared, _paired(a, b, first, second, seed), tuple(changes)[2:])


def _key(item: Estimate) -> str:
    return json.dumps([item.metric, item.part, item.group, item.at, item.versus], sort_keys=True)


def _paired(a: Path, b: Path, first: Side, second: Side, seed: int) -> tuple[Estimate, ...]:
    """Paired differences, when both carry rows and were judged on the same ones in the same order."""
    same = first.facts["digests"].get("evaluated") == second.facts["digests"].get("evaluated")
    if not same or not (a / "rows").is_dir() or not (b / "rows").is_dir():
        return ()
    from bedside.checks import run_checks

    task = task_from_json(first.facts["task"])
    cohort = contents.read_cohort(a / "rows", "cohort")
    mine = contents.read_predictions(a / "rows", "predictions", task)
    theirs = contents.read_predictions(b / "rows", "predictions", task)
    theirs = theirs.with_columns(row_id=mine.frame["row_id"])
    made = run_checks(["baseline"], mine, cohort, task=task, seed=seed, reference={second.name: theirs})
    return tuple(item for piece in made for item in piece.estimates)
