"""Verify: is a release what its signer signed, and do its numbers follow from its own rows?

Needs the release and nothing else: predictions, outcomes and groups lie in it under keyed ids, and every estimate that
rests on them alone is worked out again and compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from bedside.cohort import plugins
from bedside.errors import BedsideError, IntegrityError, MissingExtra
from bedside.evidence.estimate import Estimate
from bedside.evidence.gates import JUDGED_PARTS
from bedside.evidence.glossary import text
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.ledger import GENESIS, Head, Ledger
from bedside.plan.actions.deciding import decide
from bedside.plan.file.defaults import checks_of
from bedside.plan.memo.provenance import versions
from bedside.plan.release import contents
from bedside.plan.release.approve import Approval, approvals, stage_now
from bedside.plan.release.layout import mark_of
from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.serving import CLOSE, largest_difference

TOLERANCE = 1e-9


def _of_bands(spec: Any) -> Any:
    """A check's spec as it is put to a release's rows, whose group fields are cut already."""
    name, parameters = plugins.parse_spec(spec)
    if "cuts" not in parameters:
        return spec
    return {"name": name, **{key: value for key, value in parameters.items() if key != "cuts"}}


NUMBERS = ("value", "low", "high")
COUNTS = ("n_subjects", "n_rows", "n_events")
BEFORE_CHECKS = {
    "clean",
    "describe",
    "split",
    "fit",
    "latency",
}  # whose evidence stands before that of the plan's checks
Result = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Answer:
    """One question put to a release: `id` is a glossary word, `detail` plain facts without identity."""

    id: str
    result: Result
    detail: str


@dataclass(frozen=True)
class Verification:
    """All answers. `ok` when nothing failed; what could not be asked is `unknown`, and said."""

    answers: tuple[Answer, ...]
    release: Opened | None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(each.result != "fail" for each in self.answers)


def verify_release(folder: Path, trusted: TrustedKeys, ledger: Ledger | None = None) -> Verification:
    """Ask every question; a broken signature or digest ends it, since nothing after it could be believed."""
    try:
        release = open_release(folder, trusted)
        approved = approvals(release, trusted)
    except IntegrityError as error:
        return Verification((Answer("verify_integrity", "fail", error.what),), None)
    held = f"{len(release.files) + 1 + len(approved)} files, release {release.digest[:12]}"
    answers = [Answer("verify_integrity", "ok", held)]
    signer = release.signer
    if signer.trusted:
        answers.append(Answer("verify_signer", "ok", f"{signer.name} ({signer.key_id[:12]})"))
    else:
        answers.append(Answer("verify_signer", "unknown", f"unknown signer ({signer.key_id[:12]})"))
    answers.append(_ask("verify_gates", lambda: _gates(release)))
    answers.append(_ask("verify_recompute", lambda: _recompute(release)))
    answers.append(_ask("verify_golden", lambda: _golden(release)))
    if release.has_serving:
        answers.append(_ask("verify_serving", lambda: _serving(release)))
    answers.append(_ask("verify_stage", lambda: _stage(release, approved, trusted)))
    answers.append(_ledger(release, approved, ledger, trusted))
    return Verification(tuple(answers), release)


def _ask(question: str, answer: Callable[[], Answer]) -> Answer:
    """The answer; `fail` where what was signed is no release's content, `unknown` where a library is missing here."""
    try:
        return answer()
    except (ImportError, MissingExtra) as error:
        return Answer(question, "unknown", f"a library is not installed here: {error}")
    except BedsideError as error:
        return Answer(question, "fail", error.what)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, pl.exceptions.PolarsError) as error:
        return Answer(question, "fail", f"its content cannot be read ({type(error).__name__})")


def _gates(release: Opened) -> Answer:
    """Verdicts and stage worked out again from the stored evidence."""
    record = release.record
    keeps_rows = record["privacy"]["model_keeps_rows"]
    decision, judgements = decide(release.plan, list(release.evidence), record["asked"], keeps_rows=keeps_rows)
    if [each.to_json() for each in judgements] != record["judgements"]:
        return Answer("verify_gates", "fail", "the verdicts do not follow from the evidence")
    if (decision.stage, [list(each) for each in decision.reasons]) != (record["stage"], record["reasons"]):
        return Answer("verify_gates", "fail", f"the stage {record['stage']} does not follow from the verdicts")
    return Answer("verify_gates", "ok", f"{len(judgements)} verdicts and the stage follow from the evidence")


def _recompute(release: Opened) -> Answer:
    """What every check that rests on the release's own rows says of them, against the stored evidence."""
    specs = release.record["checks"]
    same_version = release.record["facts"]["versions"]["bedside"] == versions()["bedside"]
    declared = checks_of(release.plan) if same_version else release.plan.checks
    names = [plugins.parse_spec(spec)[0] for spec in specs]
    before, stored = release.evidence[: -len(specs)], release.evidence[-len(specs) :]
    # Evidence that no check of the plan gave could say anything, and gates would be judged on it.
    if (
        specs[: len(declared)] != declared
        or [each.check for each in stored] != names
        or not {each.check for each in before} <= BEFORE_CHECKS
        or any(item.part in JUDGED_PARTS for each in before for item in each.estimates)
    ):
        return Answer("verify_recompute", "fail", "the evidence is not that of the plan's checks")
    if "rows/cohort.parquet" not in release.files:
        return Answer(
            "verify_recompute", "unknown", "released without rows: integrity holds, numbers cannot be recomputed"
        )
    from bedside.checks import run_checks

    cohort = contents.read_cohort(release.read, "rows/cohort")
    predictions = contents.read_predictions(release.read, "rows/predictions", release.task)
    reference = {
        name: contents.read_predictions(release.read, f"rows/reference-{name}", release.task)
        for name in release.record["reference"]
    }
    compared = 0
    for spec, name, old in zip(specs, names, stored, strict=True):
        check = plugins.build("checks", spec)
        if check.needs != "predictions" or check.looks_at == "inputs":
            continue
        (made,) = run_checks(
            [_of_bands(spec)],
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
    return Answer("verify_recompute", "ok", f"{compared} estimates recomputed from {len(cohort)} rows")


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


def _golden(release: Opened) -> Answer:
    if release.model_is_graph and not release.signer.trusted:
        return Answer("verify_golden", "unknown", "a graph of an unknown signer is not run")
    raw = contents.read_cohort(release.read, "golden/inputs")
    kept = contents.read_predictions(release.read, "golden/predictions", release.task)
    if release.pipeline.keeps_rows != release.record["privacy"]["model_keeps_rows"]:
        return Answer("verify_golden", "fail", "whether the model keeps training rows is not what the release says")
    worst = largest_difference(release.predict(raw), kept)
    result: Result = "ok" if worst <= CLOSE else "fail"
    return Answer("verify_golden", result, f"{len(raw)} golden rows, largest difference {worst:.1e}")


def _serving(release: Opened) -> Answer:
    """The serving form's answers to the golden rows; a graph is run only when a trusted key has signed it."""
    if not release.signer.trusted:
        return Answer("verify_serving", "unknown", "a graph of an unknown signer is not run")
    raw = contents.read_cohort(release.read, "golden/inputs")
    kept = contents.read_predictions(release.read, "golden/predictions", release.task)
    worst = largest_difference(release.serving.predict(release.clean(raw)), kept)
    exporter = release.serving.model.served.made["exporter"]
    result: Result = "ok" if worst <= CLOSE else "fail"
    return Answer("verify_serving", result, f"ONNX ({exporter}), largest difference {worst:.1e}")


def _stage(release: Opened, approved: Sequence[Approval], trusted: TrustedKeys) -> Answer:
    overridden = sorted({gate for each in approved for gate in each.overrides})
    told = [str(stage_now(release, trusted)), f"{len(approved)} approvals"]
    told += [f"overridden: {', '.join(overridden)}"] if overridden else []
    told += [text("erased_since", "en")] if mark_of(release.folder).exists() else []
    return Answer("verify_stage", "ok", "; ".join(told))


def _ledger(release: Opened, approved: Sequence[Approval], ledger: Ledger | None, trusted: TrustedKeys) -> Answer:
    if ledger is None:
        return Answer("verify_ledger", "unknown", "no ledger here")
    head, listed, removed = Head(0, GENESIS), False, []
    mine = {(each.number, each.stage, tuple(sorted(each.overrides.items()))) for each in approved}
    try:
        for entry in ledger.entries(trusted):
            head = Head(entry.index + 1, entry.hash)
            body = entry.body
            if body.get("release") != release.digest:
                continue
            listed = listed or entry.kind == "release"
            if entry.kind == "approve":
                said = (body.get("number"), body.get("stage"), tuple(sorted(body.get("overrides", {}).items())))
                removed += [] if said in mine else [body.get("number")]
    except IntegrityError as error:
        return Answer("verify_ledger", "fail", error.what)
    told = f"length {head.length}, head {head.hash[:12]}"
    if removed:
        return Answer("verify_ledger", "fail", f"approval {removed[0]} was entered and is not in the release; {told}")
    if listed:
        return Answer("verify_ledger", "ok", f"entered; {told}")
    return Answer("verify_ledger", "unknown", f"this release is not entered in this workspace's ledger ({told})")


def as_rows(verification: Verification) -> list[dict[str, Any]]:
    """The answers as JSON rows."""
    return [{"id": each.id, "result": each.result, "detail": each.detail} for each in verification.answers]
