"""Erase: `bedside forget`. What was derived from an erased cohort is undone (memo) or marked (runs, releases)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bedside.cohort.atomic import atomic_write
from bedside.cohort.forget import Forgotten, forget
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.plan.memo import Memo
from bedside.plan.release import LOCAL_KEY

MARK = "ERASED.json"


@dataclass(frozen=True)
class Erasure:
    """How many cohorts and objects were touched, remembered actions undone, and the runs and releases marked."""

    cohorts: int
    objects: int
    actions: int
    runs: tuple[str, ...]


def erase(workspace: Workspace, subject: str) -> Erasure:
    """Erase a subject from the workspace; the ledger notes that it was done, not whom."""
    counted: list[tuple[int, tuple[str, ...]]] = []

    def mark(made: Forgotten) -> None:
        digests = {*made.rewritten, *made.removed, *made.derived}
        undone = Memo(workspace.memo_url, workspace.lock, 1).taint(digests)
        counted.append((undone, _mark_folders(workspace, digests)))

    with workspace.lock("forget"):
        made = forget(workspace.store, subject, mark=mark)
    actions = sum(each for each, _ in counted)
    runs = tuple(sorted({name for _, names in counted for name in names}))
    if made.rewritten or made.removed:
        body = {"cohorts": len(made.rewritten), "objects": len(made.removed), "marked": list(runs)}
        Ledger(workspace.ledger_url).append("forget", body, load_or_create_key(workspace.keys, LOCAL_KEY))
    return Erasure(len(made.rewritten), len(made.removed), actions, runs)


def _mark_folders(workspace: Workspace, digests: set[str]) -> tuple[str, ...]:
    """Note beside every run and release that rests on an erased cohort (releases themselves stay as signed)."""
    names = []
    for folder in sorted([*workspace.runs.iterdir(), *workspace.releases.iterdir()]):
        record = folder / ("run.json" if folder.parent == workspace.runs else "release.json")
        if not record.is_file():
            continue
        facts = json.loads(record.read_bytes())["facts"]
        if digests & set(facts["digests"].values()):
            note = {"format": 1, "why": "a patient was erased from the data this rests on"}
            atomic_write(mark_of(folder), json.dumps(note).encode())
            names.append(folder.name)
    return tuple(names)


def mark_of(folder: Path) -> Path:
    """Where the mark of a run or release lies: beside its folder, since a release's own files are signed."""
    return folder.parent / f"{folder.name}.{MARK}"
