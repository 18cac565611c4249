"""Verify: is a release what its signer signed, and do its numbers follow from its own rows?

Needs the release and nothing else: predictions, outcomes and groups lie in it under keyed ids, and every estimate that
rests on them alone is worked out again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bedside.errors import BedsideError, IntegrityError, MissingExtra
from bedside.evidence.glossary import text
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.ledger import GENESIS, Head, Ledger
from bedside.evidence.signing import Verified
from bedside.plan.actions.deciding import decide
from bedside.plan.release import contents
from bedside.plan.release.answers import Answer, Result
from bedside.plan.release.approvals import Approval, approvals, stage_now
from bedside.plan.release.layout import mark_of
from bedside.plan.release.opened import Opened, open_release
from bedside.plan.release.recompute import recompute
from bedside.plan.release.serving import CLOSE, largest_difference


@dataclass(frozen=True)
class Verification:
    """All answers. `ok` when nothing failed; what could not be asked is `unknown`, and said."""

    answers: tuple[Answer, ...]
    release: Opened | None

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(each.result != "fail" for each in self.answers)


def verify_release(
    folder: Path, trusted: TrustedKeys, ledger: Ledger | None = None, *, load_model: bool | None = None
) -> Verification:
    """Ask every question; a broken signature or digest ends it, since nothing after it could be believed.

    The model is loaded, for its golden rows, only when the signer is trusted, or as `load_model` says.
    """
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
    answers.append(_ask("verify_recompute", lambda: recompute(release)))
    load = signer.trusted if load_model is None else load_model
    answers.append(_ask("verify_golden", lambda: _golden(release)) if load else _not_loaded("verify_golden", signer))
    if release.has_serving and not load:
        answers.append(_not_loaded("verify_serving", signer))
    elif release.has_serving:
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


def _not_loaded(question: str, signer: Verified) -> Answer:
    why = "not asked for" if signer.trusted else "the model of an unknown signer is not loaded unless asked"
    return Answer(question, "unknown", f"{why} (--load-model)")


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
    """The serving form's answers to the golden rows."""
    raw = contents.read_cohort(release.read, "golden/inputs")
    kept = contents.read_predictions(release.read, "golden/predictions", release.task)
    worst = largest_difference(release.serving.predict(release.clean(raw)), kept)
    result: Result = "ok" if worst <= CLOSE else "fail"
    return Answer("verify_serving", result, f"ONNX, {len(raw)} golden rows, largest difference {worst:.1e}")


def _stage(release: Opened, approved: Sequence[Approval], trusted: TrustedKeys) -> Answer:
    overridden = sorted({gate for each in approved for gate in each.overrides})
    told = [str(stage_now(release, trusted)), f"{len(approved)} approvals"]
    if not release.signer.trusted and stage_now(release, trusted) != release.record["stage"]:
        told.append(f"it says {release.record['stage']}, which an unknown signer may not")
    told += [f"approval {each.number} vouches for its signer" for each in approved if each.vouched is not None]
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
