"""Compare two runs or releases: plans, estimates and verdicts side by side; paired where the rows are the same."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.workspace import Workspace
from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import Judgement
from bedside.evidence.keys import TrustedKeys
from bedside.models.predictions import Predictions
from bedside.models.task import task_from_json
from bedside.plan.memo.artifacts import read_parquet_bytes
from bedside.plan.release import contents
from bedside.plan.release.contents import Read
from bedside.plan.release.layout import SIGNATURE
from bedside.plan.release.opened import Opened, open_release

_NOBODY: TrustedKeys = MappingProxyType({})


@dataclass(frozen=True)
class Side:
    """One of the two: its name, facts, evidence, verdicts with the stage, plan, and the release when it is one."""

    name: str
    facts: Mapping[str, Any]
    evidence: tuple[Evidence, ...]
    judged: Mapping[str, Any]
    plan: str
    release: Opened | None
    folder: Path
    kept: str | None

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """The verdicts."""
        return tuple(Judgement.from_json(each) for each in self.judged["judgements"])

    @property
    def stage(self) -> str | None:
        """The stage that the evidence gave."""
        return None if self.judged["stage"] is None else str(self.judged["stage"])

    def judged_on(self) -> tuple[Cohort, Predictions] | None:
        """The rows it was judged on with its predictions for them; None where they are not at hand (a release without
        rows, a run that was taken out of its workspace)."""
        task = task_from_json(self.facts["task"])
        if self.release is not None:
            if "rows/cohort.parquet" not in self.release.files:
                return None
            cohort = contents.read_cohort(self.release.read, "rows/cohort")
            return cohort, contents.read_predictions(self.release.read, "rows/predictions", task)
        home = self.folder.resolve().parents[1]
        if self.kept is None or (not (home / "memo.sqlite").exists() and not (home / "config.yaml").exists()):
            return None
        store = Workspace(home).store
        evaluated = self.facts["digests"]["evaluated"]
        if not store.has(self.kept):
            return None
        return store.get_cohort(evaluated), Predictions(task, read_parquet_bytes(store.get(self.kept)))


@dataclass(frozen=True)
class Comparison:
    """Both sides; the metrics both estimated; paired differences a − b (empty unless judged on the same rows)."""

    a: Side
    b: Side
    shared: tuple[tuple[Estimate, Estimate], ...]
    paired: tuple[Estimate, ...]
    plan_changes: tuple[str, ...]


def side(folder: Path, trusted: TrustedKeys = _NOBODY) -> Side:
    """A run's or a release's folder, read; raises DataError when it is neither, IntegrityError for a release that is
    not as it was signed."""
    release = open_release(folder, trusted) if (folder / SIGNATURE).is_file() else None
    if release is None and not (folder / "run.json").is_file():
        raise DataError(f"{folder} is neither a run nor a release", "name a folder that `bedside run` printed")
    read = _reader(folder) if release is None else release.read
    data = json.loads(read("run.json" if release is None else "release.json"))
    judged = data["judged"] if release is None else data
    return Side(
        name=folder.resolve().name,
        facts=data["facts"],
        evidence=tuple(Evidence.from_json(each) for each in json.loads(read("evidence.json"))),
        judged=judged,
        plan=read("plan.yaml").decode(),
        release=release,
        folder=folder,
        kept=data.get("kept"),
    )


def _reader(folder: Path) -> Read:
    return lambda name: (folder / name).read_bytes()


def compare(a: Path, b: Path, *, seed: int = 0) -> Comparison:
    """Compare two folders; raises DataError when they predict different things."""
    first, second = side(a), side(b)
    if _question(first) != _question(second):
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
    return Comparison(first, second, shared, _paired(first, second, seed), tuple(changes)[2:])


def _question(side: Side) -> tuple[Any, ...]:
    task = side.facts["task"]
    asked = [(each["target"], each.get("classes")) for each in task.get("labels", [task])]
    return task["kind"], asked


def _key(item: Estimate) -> str:
    return json.dumps([item.metric, item.part, item.group, item.at, item.versus], sort_keys=True)


def _paired(first: Side, second: Side, seed: int) -> tuple[Estimate, ...]:
    """Paired differences, when both were judged on the same rows in the same order and these are at hand."""
    evaluated = first.facts["digests"].get("evaluated")
    if evaluated is None or evaluated != second.facts["digests"].get("evaluated"):
        return ()
    mine, theirs = first.judged_on(), second.judged_on()
    if mine is None or theirs is None:
        return ()
    from bedside.checks import run_checks

    (cohort, ours), (_, other) = mine, theirs
    other = other.with_columns(row_id=ours.frame["row_id"])
    made = run_checks(["baseline"], ours, cohort, task=ours.task, seed=seed, reference={second.name: other})
    return tuple(item for piece in made for item in piece.estimates)
