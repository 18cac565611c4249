"""Approvals: what named people signed of a release since it was made, and the stage that is in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedside.errors import IntegrityError
from bedside.evidence.gates import STAGES, Stage, lower
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.policy import allows_autonomous
from bedside.evidence.signing import Envelope, Verified, verify
from bedside.plan.release.layout import APPROVALS
from bedside.plan.release.opened import Opened

APPROVAL_PAYLOAD = "application/vnd.bedside.approval+json"


@dataclass(frozen=True)
class Approval:
    """One signed approval: its number, the stage, and the gates (or caps) overridden, each with its reason.

    `vouched` is the id of the release's own key where the approver, who found it unknown here, took it for good.
    """

    number: int
    stage: Stage
    overrides: Mapping[str, str]
    signer: Verified
    file: str
    vouched: str | None = None


def obstacles(release: Opened, stage: Stage) -> list[str]:
    """What stands between a release and a stage: gate ids, caps by reason; `risk` and `policy` for autonomous."""
    record = release.record
    out: list[str] = []
    if STAGES.index(stage) >= STAGES.index("shadow"):
        out += [each["id"] for each in record["judgements"] if each["verdict"] == "fail"]
        out += [subject for reason, subject in record["reasons"] if reason == "stage_capped"]
        if not record["judgements"]:
            out.append("no_gates")
    if STAGES.index(stage) >= STAGES.index("assist"):
        out += [each["id"] for each in record["judgements"] if each["verdict"] == "not_enough"]
    if stage == "autonomous":
        out += ["risk"] if record["facts"]["task"]["risk"] != "low" else []
        out += [] if allows_autonomous(release.plan.gates) else ["policy"]
    return list(dict.fromkeys(out))


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
        out.append(Approval(number, body["stage"], body["overrides"], signer, file.name, body.get("vouched")))
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
        or not isinstance(body.get("vouched"), str | None)
        or not all(isinstance(reason, str) for reason in body["overrides"].values())
    ):
        raise IntegrityError(f"a file in {APPROVALS} is no approval of format 1", "remove it")
    return body


def stage_now(release: Opened, trusted: TrustedKeys) -> Stage:
    """The stage in force: that of the last approval by a trusted key, else the one that the evidence gave.

    What an unknown signer wrote is believed no further than `research`, but where a trusted approver vouched for it.
    """
    known = release.signer.key_id in trusted
    stage: Stage = release.record["stage"] if known else "research"
    for each in approvals(release, trusted):
        if not each.signer.trusted or not (known or each.vouched == release.signer.key_id):
            continue
        bound = [gate for gate in obstacles(release, each.stage) if gate not in each.overrides]
        stage = lower(each.stage, release.record["stage"]) if bound else each.stage
    return stage
