"""A workspace's secret keys in one file (mode 0600), to be kept apart from its backups; under a passphrase if given.

Canonical JSON, format 1: `keys` maps a file's name to its bytes in base64, or, with a passphrase, `sealed` is that
object under AES-256-GCM with a key by scrypt (RFC 7914; N = 2^17, r = 8, p = 1) from `salt`.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bedside.cohort.atomic import atomic_write
from bedside.cohort.digest import canonical_json
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key
from bedside.plan.release.layout import LOCAL_KEY

FORMAT = 1
_ABOUT = b"bedside keys 1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")


def write_keys(workspace: Workspace, file: Path, passphrase: str | None = None) -> None:
    """Write the keys of a workspace; raises BedsideError where the file is there already or cannot be written."""
    if file.exists():
        raise BedsideError(f"{file} is there already", "name another, so that no key is lost")
    load_or_create_key(workspace.keys, LOCAL_KEY)
    kept = {each.name: _text(each.read_bytes()) for each in sorted(workspace.keys.iterdir()) if _is_key(each)}
    told: dict[str, Any] = {"format": FORMAT}
    if passphrase is None:
        told["keys"] = kept
    else:
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        sealed = AESGCM(_stretched(passphrase, salt)).encrypt(nonce, canonical_json(kept), _ABOUT)
        told |= {"salt": _text(salt), "nonce": _text(nonce), "sealed": _text(sealed)}
    atomic_write(file, canonical_json(told))


def read_keys(file: Path, passphrase: str | None = None) -> Mapping[str, bytes]:
    """The keys of a file by name. Raises BedsideError where it can be read by others, or the passphrase is missing or
    wrong, IntegrityError where it is no key file."""
    try:
        if file.stat().st_mode & 0o077:
            raise BedsideError(f"{file} can be read by others", f"chmod 600 {file}")
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            raise IntegrityError(f"{file} is of another format", "read it with a newer bedside")
        kept = told.get("keys")
        if kept is None:
            kept = json.loads(_opened(file, told, passphrase))
        if not all(_NAME.fullmatch(name) for name in kept):
            raise IntegrityError(f"{file} names what is no key", "use another")
        return {name: base64.b64decode(value, validate=True) for name, value in kept.items()}
    except OSError as error:
        raise BedsideError(
            f"{file} cannot be read: {error.strerror}", "name the file of `bedside backup --keys`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{file} is no key file", "name the file of `bedside backup --keys`") from None


def _opened(file: Path, told: Mapping[str, str], passphrase: str | None) -> bytes:
    if passphrase is None:
        raise BedsideError(f"{file} is sealed", "give its passphrase with --passphrase-file")
    salt, nonce, sealed = (base64.b64decode(told[name]) for name in ("salt", "nonce", "sealed"))
    try:
        return AESGCM(_stretched(passphrase, salt)).decrypt(nonce, sealed, _ABOUT)
    except InvalidTag:
        raise BedsideError(f"the passphrase does not open {file}, or the file was changed", "try another") from None


def _stretched(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << 17, r=8, p=1).derive(passphrase.encode())


def _is_key(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and _NAME.fullmatch(path.name) is not None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
