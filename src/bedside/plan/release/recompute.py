"""Recompute: every estimate of a release that rests on its own rows, worked out again and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from bedside.cohort import plugins
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import JUDGED_PARTS
from bedside.plan.actions.acting import place_of
from bedside.plan.actions.grouping import of_bands
from bedside.plan.file.defaults import checks_of
from bedside.plan.memo.artifacts import folder_digest
from bedside.plan.memo.provenance import versions
from bedside.plan.release import contents
from bedside.plan.release.answers import Answer
from bedside.plan.release.opened import Opened

TOLERANCE = 1e-9
NUMBERS = ("value", "low", "high")
COUNTS = ("n_subjects", "n_rows", "n_events")
BEFORE_CHECKS = {"clean", "describe", "split", "fit", "latency"}  # whose evidence stands before the plan's checks


def recompute(release: Opened) -> Answer:
    """What every check that rests on the release's own rows says of them, against the stored evidence."""
    specs = release.record["checks"]
    same_version = release.record["facts"]["versions"]["bedside"] == versions()["bedside"]
    declared = checks_of(release.plan) if same_version else release.plan.checks
    names = [plugins.parse_spec(spec)[0] for spec in specs]
    acts = [plugins.parse_spec(spec)[0] for spec in release.plan.actions]
    end = len(release.evidence) - len(acts)
    first = max(0, end - len(specs))
    before, stored, acted = release.evidence[:first], release.evidence[first:end], release.evidence[end:]
    # Evidence that no check or action of the plan gave could say anything, and gates would be judged on it.
    if (
        specs[: len(declared)] != declared
        or [each.check for each in stored] != names
        or [each.check for each in acted] != acts
        or not {each.check for each in before} <= BEFORE_CHECKS
        or any(item.part in JUDGED_PARTS for each in before for item in each.estimates)
    ):
        return Answer("verify_recompute", "fail", "the evidence is not that of the plan's checks and actions")
    changed = _not_of_its_action(release, acted)
    if changed is not None:
        return Answer("verify_recompute", "fail", f"the files in {changed} are not those that the action left")
    if "rows/cohort.parquet" not in release.files:
        return Answer(
            "verify_recompute", "unknown", "released without rows: integrity holds, numbers cannot be recomputed"
        )
    from bedside.checks import run_checks

    cohort = contents.read_cohort(release.read, "rows/cohort")
    predictions = contents.read_predictions(release.read, "rows/predictions", release.task)
    groups = [item.name for item in cohort.schema.fields if item.kind != "number"]
    reference = {
        name: contents.read_predictions(release.read, f"rows/reference-{name}", release.task)
        for name in release.record["reference"]
    }
    compared, as_signed = 0, sum(len(each.estimates) for each in acted)
    for spec, name, old in zip(specs, names, stored, strict=True):
        check = plugins.build("checks", spec)
        if check.needs != "predictions" or check.looks_at == "inputs":
            as_signed += len(old.estimates)
            continue
        (made,) = run_checks(
            [of_bands(spec, groups)],
            predictions,
            cohort,
            task=release.task,
            seed=release.plan.split.seed,
            level=release.plan.level,
            reference=reference,
        )
        difference = first_difference(list(made.estimates), list(old.estimates), same_version=same_version)
        if difference is None and same_version and [f.id for f in made.findings] != [f.id for f in old.findings]:
            difference = "its findings are not those of the rows"
        if difference is not None:
            return Answer("verify_recompute", "fail", f"{name}: {difference}")
        compared += len(made.estimates)
    told = f"{compared} estimates recomputed from {len(cohort)} rows"
    told += f"; {as_signed} that need more than these rows stand as signed" if as_signed else ""
    return Answer("verify_recompute", "ok", told)


def _not_of_its_action(release: Opened, acted: Sequence[Evidence]) -> str | None:
    """The first folder whose files are not those that an action's evidence names."""
    folders: dict[str, dict[str, str]] = {}
    for name, digest in release.files.items():
        top, _, rest = name.partition("/")
        if top == "actions":
            place, _, file = rest.partition("/")
            folders.setdefault(f"{top}/{place}", {})[file] = digest
    for number, each in enumerate(acted, start=1):
        files = folders.pop(place_of(number, each.check), None)
        if each.sources.get("files") != (None if files is None else folder_digest(files)):
            return place_of(number, each.check)
    return next(iter(folders), None)


def first_difference(again: list[Estimate], stored: list[Estimate], *, same_version: bool) -> str | None:
    """What differs first between stored estimates and the same ones worked out again (numbers within 1e-9), or None.

    An estimate that only the recomputation has was left out of the evidence, unless this bedside is another version,
    whose checks may ask more.
    """
    found = {_question(item): item for item in again}
    for old in stored:
        new = found.pop(_question(old), None)
        if new is None:
            return f"{old.metric} is in the evidence but does not follow from the rows"
        for name in (*NUMBERS, *COUNTS):
            x, y = getattr(new, name), getattr(old, name)
            if (x is None) != (y is None) or (x is not None and not np.isclose(x, y, rtol=TOLERANCE, atol=TOLERANCE)):
                return f"{old.metric} {name} is {y} in the evidence and {x} recomputed"
    if found and same_version:
        return f"{next(iter(found.values())).metric} follows from the rows but was left out of the evidence"
    return None


def _question(item: Estimate) -> str:
    """What an estimate is of."""
    return json.dumps([item.metric, item.part, item.group, item.at, item.versus], sort_keys=True)
