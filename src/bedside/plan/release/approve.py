"""Approve: a named person raises or lowers a release's stage; an override carries its reason and shows for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.digest import canonical_json
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.gates import STAGES, Stage, lower
from bedside.evidence.keys import SigningKey, TrustedKeys
from bedside.evidence.ledger import Ledger
from bedside.evidence.signing import Envelope, Verified, sign, verify
from bedside.plan.release.layout import APPROVALS
from bedside.plan.release.opened import Opened

APPROVAL_PAYLOAD = "application/vnd.bedside.approval+json"


@dataclass(frozen=True)
class Approval:
    """One signed approval: its number, the stage, and the gates (or caps) overridden, each with its reason."""

    number: int
    stage: Stage
    overrides: Mapping[str, str]
    signer: Verified
    file: str


def obstacles(record: Mapping[str, Any], stage: Stage) -> list[str]:
    """What stands between a release and a stage: gate ids, caps by reason, `risk` for autonomous."""
    out: list[str] = []
    if STAGES.index(stage) >= STAGES.index("shadow"):
        out += [each["id"] for each in record["judgements"] if each["verdict"] == "fail"]
        out += [subject for reason, subject in record["reasons"] if reason == "stage_capped"]
        if not record["judgements"]:
            out.append("no_gates")
    if STAGES.index(stage) >= STAGES.index("assist"):
        out += [each["id"] for each in record["judgements"] if each["verdict"] == "not_enough"]
    if stage == "autonomous" and record["facts"]["task"]["risk"] != "low":
        out.append("risk")
    return list(dict.fromkeys(out))


def approve(
    workspace: Workspace, release: Opened, *, stage: Stage, overrides: Mapping[str, str], key: SigningKey
) -> Approval:
    """Sign an approval into the release and the ledger; raises BedsideError naming what is not overridden."""
    if stage not in STAGES:
        raise BedsideError(f"no stage is called '{stage}'", "one of " + ", ".join(STAGES))
    standing = obstacles(release.record, stage)
    missing = [each for each in standing if each not in overrides]
    if missing:
        raise BedsideError(
            f"{release.record['name']} does not meet {stage}: {', '.join(missing)}",
            f'add --override "{missing[0]}" --reason "why it is safe" for each, in your own name',
        )
    for gate, reason in overrides.items():
        if gate not in standing:
            raise BedsideError(f"'{gate}' does not stand in the way of {stage}", "override only " + ", ".join(standing))
        if len(reason.strip()) < 10:
            raise BedsideError(f"the override of '{gate}' has no real reason", "say in a sentence why it is safe")
    folder = release.folder / APPROVALS
    with workspace.lock("approvals"):
        number = len(list(folder.glob("*.dsse.json"))) + 1 if folder.exists() else 1
        body = {
            "format": 1,
            "release": release.digest,
            "number": number,
            "stage": stage,
            "overrides": dict(overrides),
            "name": key.name,
        }
        make_folder(folder)
        file = folder / f"{number:04d}.dsse.json"
        # The file first: what the ledger knows of must lie in the release, or `verify` takes it for removed.
        atomic_write(file, sign(APPROVAL_PAYLOAD, canonical_json(body), key).to_bytes())
        Ledger(workspace.ledger_url).append("approve", body, key)
    signer = verify(Envelope.from_bytes(file.read_bytes()), {key.key_id: key.name})
    return Approval(number, stage, dict(overrides), signer, file.name)


def approvals(release: Opened, trusted: TrustedKeys) -> list[Approval]:
    """Every approval in order, each checked; raises IntegrityError for one that was changed or belongs elsewhere."""
    folder = release.folder / APPROVALS
    if not folder.exists():
        return []
    out = []
    for number, file in enumerate(sorted(folder.iterdir()), start=1):
        signer = verify(Envelope.from_bytes(file.read_bytes()), trusted)
        body = _body(signer)
        if (
            body.get("release") != release.digest
            or body.get("number") != number
            or file.name != f"{number:04d}.dsse.json"
        ):
            raise IntegrityError(f"{APPROVALS}/{file.name} does not belong to this release at this place")
        out.append(Approval(number, body["stage"], body["overrides"], signer, file.name))
    return out


def _body(signer: Verified) -> dict[str, Any]:
    """What an approval says; raises IntegrityError when it is none."""
    try:
        body = json.loads(signer.payload) if signer.payload_type == APPROVAL_PAYLOAD else None
    except ValueError:
        body = None
    if (
        not isinstance(body, dict)
        or body.get("format") != 1
        or body.get("stage") not in STAGES
        or not isinstance(body.get("overrides"), dict)
        or not all(isinstance(reason, str) for reason in body["overrides"].values())
    ):
        raise IntegrityError(f"a file in {APPROVALS} is no approval of format 1", "remove it")
    return body


def stage_now(release: Opened, trusted: TrustedKeys) -> Stage:
    """The stage in force: the last approval by a trusted key, else the stage the evidence gave."""
    stage: Stage = release.record["stage"]
    for each in approvals(release, trusted):
        if each.signer.trusted:
            bound = [gate for gate in obstacles(release.record, each.stage) if gate not in each.overrides]
            stage = lower(each.stage, release.record["stage"]) if bound else each.stage
    return stage
