"""Residual risk as Evidence: planted identities and how each fared, a re-scan of real output, and the gates on both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.gates import Gate, Judgement, judge
from bedside.evidence.metrics.proportions import clopper_pearson, proportion
from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.batch import Done, refused_by_reason
from bedside.prepare.deidentify.planted import PLACES, Fate, fates
from bedside.prepare.deidentify.rescan import rescan

CHECK = "deidentify"
PATIENTS = 4  # about 16 000 planted values
PART = "test"
ACTIONS = {
    "X": "deid_removed",
    "Z": "deid_emptied",
    "D": "deid_replaced",
    "U": "deid_uid_mapped",
    "S": "deid_date_shifted",
    "C": "deid_text_cleaned",
    "K": "deid_kept",
    "private": "deid_private_removed",
    "safe_private": "deid_private_kept",
    "own": "deid_own_found",
    "pseudonym": "deid_pseudonym",
    "recursed": "deid_looked_into",
}
# A leak in more than one planted value of a thousand is not accepted; one found in the re-scan stops at once.
_ALL = {"place": "deid_place_all"}
GATES = (
    Gate("deid_leak_rate", high=0.001, at=_ALL),
    Gate("deid_action_accuracy", low=0.99, at=_ALL),
)


def planted_evidence(applier: Applier, *, patients: int = PATIENTS, seed: int = 0, level: float = 0.95) -> Evidence:
    """Leak rate, correct actions and what should be kept, on planted values, over all and by place."""
    found = list(fates(applier, patients=patients, seed=seed))
    estimates = []
    for place in ("all", *PLACES, "file_meta"):
        mine = [each for each in found if place in ("all", each.place)]
        estimates += _planted(mine, place, level)
    return Evidence(CHECK, tuple(estimates))


def _planted(found: Sequence[Fate], place: str, level: float) -> list[Estimate]:
    identities = [each.leaked for each in found if each.leaked is not None]
    kept = [each.right for each in found if each.letter == "K" and each.leaked is None]
    told = [
        ("deid_leak_rate", identities),
        ("deid_action_accuracy", [each.right for each in found]),
        ("deid_kept_share", kept),
    ]
    out = []
    for metric, hits in told:
        if hits:
            made = clopper_pearson(sum(hits), len(hits), level=level)
            out.append(
                Estimate(
                    metric,
                    made.value,
                    made.low,
                    made.high,
                    level,
                    n_rows=len(hits),
                    n_events=sum(hits),
                    part=PART,
                    at={"place": f"deid_place_{place}"},
                    method=made.method,
                    unit="1",
                )
            )
    return out


def batch_evidence(done: Done, applier: Applier, *, level: float = 0.95) -> Evidence:
    """What was done with real files, and how much of what identified their patients can still be found."""
    n = done.files + len(done.refused)
    estimates = [
        _exact("deid_files", done.files, n),
        _exact("deid_files_refused", len(done.refused), n),
        _exact("deid_files_slow", done.slow, n),
        _exact("deid_patients", len(done.patients), n),
    ]
    estimates += [
        _exact("deid_values", count, done.files, action=ACTIONS[letter])
        for letter, count in sorted(done.values.items())
    ]
    rescanned = _rescanned(done, applier, level)
    estimates.append(rescanned)
    findings = [Finding("deid_pixels_not_read", "caution", {"count": done.perhaps_burned_in})]
    if rescanned.n_events:
        findings.insert(0, Finding("deid_identity_in_output", "stop", {"count": rescanned.n_events}))
    findings += [
        Finding("deid_refused_because", "info", {"count": count, "reason": reason})
        for reason, count in list(refused_by_reason(done.refused).items())[:20]
    ]
    if applier.profile.clean:
        findings.append(Finding("deid_text_cleaned_by_rules", "caution"))
    return Evidence(CHECK, tuple(estimates), findings=tuple(findings))


def _rescanned(done: Done, applier: Applier, level: float) -> Estimate:
    found: dict[str, list[bool]] = defaultdict(list)
    for before, after, pseudonym in done.sample:
        found[pseudonym] += rescan(before, after, applier.profile)
    hits = [hit for each in found.values() for hit in each]
    if not hits:
        return Estimate("deid_rescan_leak_rate", None, n_rows=0, part=PART, unit="1", why_not="why_no_rows")
    subjects = [code for code, each in enumerate(found.values()) for _ in each]
    made = proportion([float(hit) for hit in hits], level=level, subject=subjects, method="clopper_pearson")
    return Estimate(
        "deid_rescan_leak_rate",
        made.value,
        made.low,
        made.high,
        level,
        n_subjects=made.n_subjects,
        n_rows=len(hits),
        n_events=sum(hits),
        part=PART,
        method=made.method,
        unit="1",
    )


def _exact(metric: str, value: int, n: int, **at: str) -> Estimate:
    return Estimate(metric, float(value), n_rows=n, part=PART, at=at or None, unit="1", exact=True)


def judgements(evidence: Evidence) -> list[Judgement]:
    """The gates on leaks and actions, each judged on its interval's bad end."""
    return [judge(gate, evidence) for gate in GATES]
