"""Pseudonyms: the keyed, one-way mapping of patients, UIDs and dates. Same key, same patient: same pseudonym.

Everything is an HMAC-SHA-256 of the original value under a site's secret, which lies in the workspace's `keys/` (mode
0600) and never beside the data. Who has the key can repeat the mapping; nobody can invert it but by trying values.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from pathlib import Path

from bedside.cohort.atomic import make_folder
from bedside.cohort.digest import sha256_hex
from bedside.errors import BedsideError
from bedside.evidence.keys import write_new

KEY_FILE = "deidentify.key"
STANDARD_ROOT = b"1.2.840.10008."  # UIDs of the standard itself: classes, syntaxes, well-known frames of reference
MOST_DAYS = 3650

_UID = re.compile(rb"[0-9.]{1,64}")


class Pseudonyms:
    """The mapping under one key (at least 16 bytes)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise BedsideError("the de-identification key is shorter than 16 bytes", "remove it; a new one is made")
        self._key = key
        self._uids: dict[bytes, bytes] = {}

    @property
    def fingerprint(self) -> str:
        """What tells this key from another without giving it away."""
        return sha256_hex(self._digest(b"fingerprint", b""))[:16]

    def patient(self, identity: bytes) -> str:
        """Sixteen letters and digits for a patient."""
        return base64.b32encode(self._digest(b"patient", identity)[:10]).decode()

    def uid(self, value: bytes) -> bytes:
        """A UID under 2.25 for one of the user's; those of the standard stay, as does an empty one."""
        found = self._uids.get(value)
        if found is None:
            plain = value.strip(b"\0 ")
            if not plain or (plain.startswith(STANDARD_ROOT) and _UID.fullmatch(plain)):
                found = plain
            else:
                number = int.from_bytes(self._digest(b"uid", plain)[:16], "big")
                found = b"2.25.%d" % number
            if len(self._uids) > 200_000:
                self._uids.clear()
            self._uids[value] = found
        return found

    def days(self, patient: str) -> int:
        """How many days a patient's dates go back: 1 to MOST_DAYS, one number a patient."""
        return 1 + int.from_bytes(self._digest(b"days", patient.encode())[:8], "big") % MOST_DAYS

    def _digest(self, purpose: bytes, value: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + value, "sha256")


def load_or_create(keys_folder: Path) -> bytes:
    """The key of a workspace; the first call makes it. Raises BedsideError where others may read it."""
    file = keys_folder / KEY_FILE
    if not file.exists():
        make_folder(keys_folder)
        write_new(file, os.urandom(32).hex().encode() + b"\n", mode=0o600)
    if file.stat().st_mode & 0o077:
        raise BedsideError(f"the key {file} can be read by others", f"chmod 600 {file}")
    try:
        return bytes.fromhex(file.read_text(encoding="ascii"))
    except ValueError:
        raise BedsideError(f"{file} holds no key", "restore it from a backup, or remove it to begin anew") from None
