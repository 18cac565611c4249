"""Erase: `bedside forget`. What was derived from an erased cohort is undone or marked.

Undone are remembered actions, with the splits, predictions, models and files of releases that they kept in the store;
runs and releases, which were given to people, are marked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from bedside.cohort.atomic import atomic_write
from bedside.cohort.forget import Forgotten, forget
from bedside.cohort.quarantine import Quarantine
from bedside.cohort.store import Store
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.models.imaging.squares import PIXELS
from bedside.plan.memo.artifacts import folder_files
from bedside.plan.memo.memo import Derived, Memo
from bedside.plan.memo.scratch import sweep
from bedside.plan.release.layout import LOCAL_KEY, mark_of


@dataclass(frozen=True)
class Erasure:
    """How many cohorts and objects were touched, remembered actions undone, and the runs and releases marked."""

    cohorts: int
    objects: int
    actions: int
    runs: tuple[str, ...]


def erase(workspace: Workspace, subject: str) -> Erasure:
    """Erase a subject from the workspace; the ledger notes that it was done, not whom."""
    counted: list[Erasure] = []

    def mark(made: Forgotten) -> None:
        digests = {*made.rewritten, *made.removed, *made.derived}
        memo = Memo(workspace.memo_url, workspace.lock, 1)
        derived = memo.derived(digests)
        # Objects before the memory of them: killed in between, the erasure is done again and finds them still.
        objects = workspace.store.erase(objects=_objects(workspace.store, derived))
        actions = memo.taint(derived.keys)
        counted.append(Erasure(0, len(objects), actions, _mark_folders(workspace, digests)))

    with workspace.lock("forget"):
        for left in ("scratch", "fitting"):  # also the checkpoints of fits that were killed
            sweep(workspace.cache / left)
        if (workspace.cache / PIXELS).exists():  # decoded images, made again when they are needed
            shutil.rmtree(workspace.cache / PIXELS)
        made = forget(workspace.store, subject, mark=mark)
        refused = Quarantine(workspace.quarantine).forget(subject)
    objects = refused + len(made.removed) + sum(each.objects for each in counted)
    runs = tuple(sorted({name for each in counted for name in each.runs}))
    if made.rewritten or made.removed or refused:
        body = {"cohorts": len(made.rewritten), "objects": objects, "marked": list(runs)}
        Ledger(workspace.ledger_url).append("forget", body, load_or_create_key(workspace.keys, LOCAL_KEY))
    return Erasure(len(made.rewritten), objects, sum(each.actions for each in counted), runs)


def _objects(store: Store, derived: Derived) -> set[str]:
    """The objects that only undone actions had kept: splits, predictions, models, the files of releases."""
    live = _with_files(store, derived.live)
    return _with_files(store, derived.gone) - live


def _with_files(store: Store, digests: Iterable[str]) -> set[str]:
    """The digests that are objects, and the files that those of folders name."""
    found = {digest for digest in digests if store.has(digest)}
    for digest in tuple(found):
        if store.peek(digest, 1) == b"{":
            found |= set(folder_files(store, digest).values())
    return found


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
