"""Verify: is a release what its signer signed, and do its numbers follow from its own rows?

Needs the release and nothing else: predictions, outcomes and groups lie in it under keyed ids, and every estimate that
rests on them alone is worked out again and compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bedside.cohort import plugins
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import judge
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.ledger import Head, Ledger
from bedside.plan import contents
from bedside.plan.approve import approvals, stage_now
from bedside.plan.opened import Opened, open_release
from bedside.plan.plan_file import parse_plan
from bedside.plan.provenance import versions

TOLERANCE = 1e-9
GOLDEN_TOLERANCE = 1e-5
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
    files = len(contents.file_digests(folder))
    answers = [Answer("verify_integrity", "ok", f"{files} files, release {release.digest[:12]}")]
    signer = release.signer
    if signer.trusted:
        answers.append(Answer("verify_signer", "ok", f"{signer.name} ({signer.key_id[:12]})"))
    else:
        answers.append(Answer("verify_signer", "unknown", f"unknown signer ({signer.key_id[:12]})"))
    answers.append(_gates(release))
    answers.append(_recompute(release))
    answers.append(_golden(release))
    overridden = sorted({gate for each in approved for gate in each.overrides})
    told = f"{stage_now(release, trusted)}; {len(approved)} approvals"
    answers.append(
        Answer("verify_stage", "ok", told + (f"; overridden: {', '.join(overridden)}" if overridden else ""))
    )
    answers.append(_ledger(release, ledger, trusted))
    return Verification(tuple(answers), release)


def stored_evidence(release: Opened) -> list[Evidence]:
    """The evidence as it was when the release was made."""
    return [Evidence.from_json(each) for each in json.loads((release.folder / "evidence.json").read_bytes())]


def _gates(release: Opened) -> Answer:
    from bedside.evidence.estimate import join

    plan, _ = parse_plan((release.folder / "plan.yaml").read_text(encoding="utf-8"), "plan.yaml")
    everything = join("all", stored_evidence(release))
    again = [judge(gate, everything).to_json() for gate in plan.declared_gates()]
    if again != release.record["judgements"]:
        return Answer("verify_gates", "fail", "the verdicts do not follow from the evidence")
    return Answer("verify_gates", "ok", f"{len(again)} verdicts follow from the evidence")


def _recompute(release: Opened) -> Answer:
    folder = release.folder / "rows"
    if not folder.exists():
        return Answer(
            "verify_recompute", "unknown", "released without rows: integrity holds, numbers cannot be recomputed"
        )
    from bedside.checks import run_checks

    cohort = contents.read_cohort(folder, "cohort")
    predictions = contents.read_predictions(folder, "predictions", release.task)
    reference = {
        name: contents.read_predictions(folder, f"reference-{name}", release.task)
        for name in release.record["reference"]
    }
    stored = {each.check: each for each in stored_evidence(release)}
    same_version = release.record["facts"]["versions"].get("bedside") == versions().get("bedside")
    compared = 0
    for spec in release.record["checks"]:
        name = plugins.parse_spec(spec)[0]
        check = plugins.build("checks", spec)
        if check.needs != "predictions" or check.looks_at == "inputs":
            continue
        try:
            made = run_checks(
                [spec],
                predictions,
                cohort,
                task=release.task,
                seed=release.record["seed"],
                level=release.record["level"],
                reference=reference,
            )
        except BedsideError as error:
            return Answer("verify_recompute", "fail", f"{name}: {error.what}")
        again = [item for piece in made for item in piece.estimates]
        difference = first_difference(again, list(stored[name].estimates), same_version=same_version)
        if difference is not None:
            return Answer("verify_recompute", "fail", f"{name}: {difference}")
        compared += len(again)
    return Answer("verify_recompute", "ok", f"{compared} estimates recomputed from {len(cohort)} rows")


NUMBERS = ("value", "low", "high")
COUNTS = ("n_rows", "n_subjects", "n_events")


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
    folder = release.folder / "golden"
    raw = contents.read_cohort(folder, "inputs")
    kept = contents.read_predictions(folder, "predictions", release.task)
    try:
        made = release.predict(raw)
    except ImportError as error:
        return Answer("verify_golden", "unknown", f"the model's library is not installed here: {error}")
    except BedsideError as error:
        return Answer("verify_golden", "fail", error.what)
    worst = max(
        float(np.abs(made.frame[name].to_numpy() - kept.frame[name].to_numpy()).max()) for name in release.task.columns
    )
    result: Result = "ok" if worst <= GOLDEN_TOLERANCE else "fail"
    return Answer("verify_golden", result, f"{len(raw)} golden rows, largest difference {worst:.1e}")


def _ledger(release: Opened, ledger: Ledger | None, trusted: TrustedKeys) -> Answer:
    if ledger is None:
        return Answer("verify_ledger", "unknown", "no ledger here")
    try:
        head: Head = ledger.verify(trusted=trusted).head
        listed = any(e.kind == "release" and e.body["release"] == release.digest for e in ledger.entries())
    except IntegrityError as error:
        return Answer("verify_ledger", "fail", error.what)
    told = f"length {head.length}, head {head.hash[:12]}"
    if listed:
        return Answer("verify_ledger", "ok", f"entered; {told}")
    return Answer("verify_ledger", "unknown", f"this release is not entered in this workspace's ledger ({told})")


def as_rows(verification: Verification) -> list[dict[str, Any]]:
    """The answers as JSON rows."""
    return [{"id": each.id, "result": each.result, "detail": each.detail} for each in verification.answers]
