"""Approve: a named person raises or lowers a release's stage; an override carries its reason and shows for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.digest import canonical_json
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.gates import STAGES, Stage
from bedside.evidence.keys import SigningKey, TrustedKeys, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.evidence.signing import Envelope, sign, verify
from bedside.plan.release.approvals import APPROVAL_PAYLOAD, Approval, obstacles
from bedside.plan.release.layout import APPROVALS
from bedside.plan.release.opened import Opened
from bedside.plan.release.verify import verify_release


def approve(
    workspace: Workspace,
    release: Opened,
    *,
    stage: Stage,
    overrides: Mapping[str, str],
    key: SigningKey,
    trust_signer: bool = False,
) -> Approval:
    """Sign an approval into the release and the ledger.

    Raises IntegrityError for a release that does not verify, BedsideError naming what is not overridden, and for one of
    a signer unknown in this workspace, unless the approver vouches for that key (`trust_signer`), which is recorded.
    """
    if stage not in STAGES:
        raise BedsideError(f"no stage is called '{stage}'", "one of " + ", ".join(STAGES))
    trusted = trusted_keys(workspace.keys)
    refuse_broken(release, trusted)
    known = release.signer.key_id in trusted
    if not known and not trust_signer:
        raise BedsideError(
            f"{release.folder} is signed by an unknown signer ({release.signer.key_id[:12]})",
            "trust the key (keys/trusted in the workspace), or vouch for it in your own name: --trust-signer",
        )
    standing = obstacles(release, stage)
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
        body: dict[str, Any] = {
            "format": 1,
            "release": release.digest,
            "number": number,
            "stage": stage,
            "overrides": dict(overrides),
            "name": key.name,
        }
        if not known:
            body["vouched"] = release.signer.key_id
        make_folder(folder)
        file = folder / f"{number:04d}.dsse.json"
        # The file first: what the ledger knows of must lie in the release, or `verify` takes it for removed.
        atomic_write(file, sign(APPROVAL_PAYLOAD, canonical_json(body), key).to_bytes())
        Ledger(workspace.ledger_url).append("approve", body, key)
    signer = verify(Envelope.from_bytes(file.read_bytes()), {key.key_id: key.name})
    return Approval(number, stage, dict(overrides), signer, file.name, body.get("vouched"))


def refuse_broken(release: Opened, trusted: TrustedKeys) -> None:
    """Raise IntegrityError for a release whose bytes, verdicts or estimates are not what they should be (its model is
    not loaded for that)."""
    verification = verify_release(release.folder, trusted, load_model=False)
    failed = [each for each in verification.answers if each.result == "fail"]
    if failed:
        raise IntegrityError(f"{release.folder} does not verify: {failed[0].detail}", "`bedside verify` tells all")
