"""Keys: who signs in a workspace, and whose signatures it trusts.

A keys folder holds `NAME.pem` (Ed25519 private key, PKCS #8, mode 0600), `NAME.pub` (its public key) and
`trusted/NAME.pub` (one file per key this workspace trusts). A key's id is the SHA-256 of its 32 raw public bytes, so
trust is no more than a set of ids with names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bedside.cohort.atomic import sync_folder, temporary_file
from bedside.cohort.digest import sha256_hex
from bedside.errors import BedsideError

TrustedKeys = Mapping[str, str]
"""Key id → name of the person or site it belongs to."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class SigningKey:
    """A private key and the name it has in its workspace."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> bytes:
        """The 32 raw bytes of the public key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, hexadecimal."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature (RFC 8032) of a message."""
        return self.private.sign(message)


def key_id(public: bytes) -> str:
    """SHA-256 of a raw public key (32 bytes), hexadecimal."""
    return sha256_hex(public)


def load_or_create_key(keys_folder: Path, name: str = "local") -> SigningKey:
    """The key of that name in a keys folder; the first call makes it and trusts it in this workspace only.

    Raises BedsideError for a bad name, a key file others may read, one that holds no Ed25519 key, or a folder that
    cannot be written.
    """
    _check_name(name)
    private_file, public_file = keys_folder / f"{name}.pem", keys_folder / f"{name}.pub"
    try:
        if not private_file.exists():
            write_new(private_file, _private_pem(Ed25519PrivateKey.generate()), mode=0o600)
        key = SigningKey(name, _read_private(private_file))
        # The public file is written last: where it is missing, a creation was cut short and is finished now. Where it
        # is there and the key is not trusted, somebody withdrew the trust, and so it stays.
        if not public_file.exists():
            _trust(keys_folder, key.public, name)
            write_new(public_file, _public_pem(key.public), mode=0o644)
    except OSError as error:
        raise BedsideError(
            f"the key '{name}' in {keys_folder} cannot be made or read: {error.strerror or error}",
            "make the folder readable and writable for you, or choose another workspace with --home",
        ) from error
    if _read_public(public_file) != key.public:
        raise BedsideError(
            f"{public_file} is not the public key of {private_file.name}", f"delete {public_file}; it is then made anew"
        )
    return key


def trust(keys_folder: Path, public_file: Path, name: str | None = None) -> str:
    """Trust the key of a public PEM file in this workspace, under its file's name unless given; returns its key id.

    Raises BedsideError where the file holds no Ed25519 public key or another key is trusted under that name.
    """
    name = public_file.stem if name is None else name
    _check_name(name)
    public = _read_public(public_file)
    try:
        _trust(keys_folder, public, name)
    except OSError as error:
        raise BedsideError(
            f"{keys_folder / 'trusted'} cannot be written: {error.strerror or error}", "make the folder writable"
        ) from error
    return key_id(public)


def trusted_keys(keys_folder: Path) -> dict[str, str]:
    """Key id → name of every key in `trusted/` of a keys folder; BedsideError for a file that holds none."""
    return {key_id(_read_public(file)): file.stem for file in sorted((keys_folder / "trusted").glob("*.pub"))}


def _trust(keys_folder: Path, public: bytes, name: str) -> None:
    file = keys_folder / "trusted" / f"{name}.pub"
    write_new(file, _public_pem(public), mode=0o644)
    if _read_public(file) != public:
        raise BedsideError(f"another key is trusted under the name '{name}' ({file})", "choose another name")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BedsideError(
            f"'{name}' cannot name a key", "use 1 to 64 letters, digits and . _ @ -, with a letter or digit first"
        )


def write_new(file: Path, data: bytes, mode: int) -> None:
    """Write a file whole and durably, unless it is there: the first of two processes wins, a kill leaves nothing."""
    with temporary_file(file.parent) as aside:
        aside.write_bytes(data)
        aside.chmod(mode)
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        try:
            file.hardlink_to(aside)
        except FileExistsError:
            return
    sync_folder(file.parent)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(public: bytes) -> bytes:
    return Ed25519PublicKey.from_public_bytes(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read_private(file: Path) -> Ed25519PrivateKey:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise BedsideError(f"the private key {file} can be read by others (mode {mode:04o})", f"chmod 600 {file}")
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BedsideError(
            f"{file} holds no private key that can be read without a password",
            "give an unencrypted Ed25519 PKCS #8 PEM",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BedsideError(f"{file} is not an Ed25519 key", "give an unencrypted Ed25519 PKCS #8 PEM")
    return key


def _read_public(file: Path) -> bytes:
    way_out = "give an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)"
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise BedsideError(f"{file} cannot be read: {error.strerror or error}", way_out) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BedsideError(f"{file} holds no public key", way_out) from error
    if not isinstance(key, Ed25519PublicKey):
        raise BedsideError(f"{file} is not an Ed25519 key", way_out)
    return key.public_bytes_raw()
