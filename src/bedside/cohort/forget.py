"""Forget: removing a subject's bytes from a store, for good.

What this module cannot see is marked by others: the memo and the outputs of runs and releases that were made from an
erased cohort are found by its digest and marked by the plan layer (through `mark`), and a source file outside the
store stays where its owner put it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.schema import FILE_KINDS
from bedside.cohort.store import Store

ACTION = "forget"

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Forgotten:
    """What an erasure removed and touched, by digest; no identity.

    `rewritten` maps each erased cohort to the one without the subject, `removed` are the objects whose bytes are gone,
    `derived` the cohorts still stored whose lineage names an erased one (their values may carry its influence).
    """

    rewritten: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


def forget(store: Store, subject: str, *, mark: Callable[[Forgotten], None] | None = None) -> Forgotten:
    """Remove a subject's rows, events and own files from every cohort of a store.

    Each cohort that holds the subject is written anew without it and its old objects are removed; a file-like field's
    object (and the objects its JSON manifest names) goes when no other subject uses it. `mark` is called with what is
    about to happen (`removed` then names only the subject's files) before any byte is removed, so a caller that marks
    what was derived has done so even if the erasure is killed; after a kill, call again. Hold the workspace's lock.
    """
    store.sweep()
    erased = [digest for digest in store.cohorts() if subject in store.subjects(digest)]
    if not erased:
        return Forgotten()
    theirs = pl.col("subject") == subject
    rewritten: dict[str, str] = {}
    objects: set[str] = set()
    for digest in erased:
        cohort = store.get_cohort(digest, check=False)
        objects |= _files(cohort, theirs)
        rewritten[digest] = _put_without(store, cohort, subject)
    if objects:
        objects = _with_named(store, objects)
        kept = [_files(store.get_cohort(digest, check=False), ~theirs) for digest in store.cohorts()]
        objects -= _with_named(store, set().union(*kept))
    planned = Forgotten(rewritten, tuple(sorted(objects)), _derived(store, erased))
    if mark is not None:
        mark(planned)
    return replace(planned, removed=tuple(store.erase(cohorts=erased, objects=objects)))


def _put_without(store: Store, cohort: Cohort, subject: str) -> str:
    events = None if cohort.events is None else cohort.events.filter(pl.col("subject_id") != subject)
    rest = replace(cohort, frame=cohort.frame.filter(pl.col("subject") != subject), events=events)
    for lineage in store.lineages(cohort.digest):
        store.put_cohort(replace(rest, lineage=(*lineage, Origin(ACTION, {}, (cohort.digest,)))))
    return rest.digest


def _derived(store: Store, erased: Iterable[str]) -> tuple[str, ...]:
    """The cohorts, other than the erased ones, that were made from them, directly or through one another."""
    roots = set(erased)
    inputs = {
        digest: {
            item for line in store.lineages(digest) for link in line if link.action != ACTION for item in link.inputs
        }
        for digest in store.cohorts()
    }
    found = set(roots)
    while new := {digest for digest, given in inputs.items() if digest not in found and given & found}:
        found |= new
    return tuple(sorted(found - roots))


def _files(cohort: Cohort, rows: pl.Expr) -> set[str]:
    """The digests that the file-like fields hold in these rows."""
    frame = cohort.frame.filter(rows)
    names = [item.name for item in cohort.schema.fields if item.kind in FILE_KINDS]
    values = {value for name in names for value in frame[name].drop_nulls().unique()}
    return {value for value in values if _DIGEST.fullmatch(value)}


def _with_named(store: Store, digests: set[str]) -> set[str]:
    """Digests with those that their JSON manifests name, at any depth."""
    found: set[str] = set()
    new = set(digests)
    while new:
        found |= new
        named = {item for digest in new if store.has(digest) for item in _named(store, digest)}
        new = named - found
    return found


def _named(store: Store, digest: str) -> set[str]:
    if store.peek(digest, 1) not in (b"{", b"["):
        return set()
    try:
        manifest = json.loads(store.get(digest))
    except ValueError:
        return set()  # some other file that begins like JSON
    found, left = set(), [manifest]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and _DIGEST.fullmatch(value):
            found.add(value)
    return found
