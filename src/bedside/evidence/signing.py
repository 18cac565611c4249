"""DSSE envelopes over in-toto Statements: bytes, who signed them, and whether anyone here trusts the signer.

An envelope is the JSON of DSSE 1.0.2 (https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md) with
one Ed25519 signature over PAE(payloadType, payload). Two additions, which the standard allows: the field `format`, and
a signature extension of kind `urn:bedside:ed25519-public-key:1` that carries the public key, so that a signature can
be checked by someone who has never met the signer, and its signer be called unknown. A key that travels with its
signature proves only that the bytes are those somebody signed; trust comes from the verifier's own keys folder.

Envelopes are stored as canonical JSON and read strictly: one changed byte anywhere is an IntegrityError.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bedside.cohort.digest import canonical_json
from bedside.errors import IntegrityError
from bedside.evidence.keys import SigningKey, TrustedKeys, key_id

FORMAT = 1
PUBLIC_KEY_EXTENSION = "urn:bedside:ed25519-public-key:1"
STATEMENT_PAYLOAD = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
RELEASE_PREDICATE = "urn:bedside:release:1"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WAY_OUT = "get the file again from where it came"


@dataclass(frozen=True)
class Envelope:
    """A payload, what it is, and one signature with the public key that checks it (32 and 64 raw bytes)."""

    payload_type: str
    payload: bytes
    public_key: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Canonical JSON of the DSSE envelope."""
        public_key = _base64(self.public_key)
        signature = {
            "keyid": key_id(self.public_key),
            "sig": _base64(self.signature),
            "extension": {"kind": PUBLIC_KEY_EXTENSION, "ext": {"publicKey": public_key}},
        }
        return canonical_json(
            {
                "format": FORMAT,
                "payload": _base64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [signature],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read an envelope; IntegrityError unless it is, byte for byte, what `to_bytes` writes."""
        try:
            fields = json.loads(data)
            (signature,) = fields["signatures"]
            envelope = cls(
                payload_type=_text(fields["payloadType"]),
                payload=base64.b64decode(fields["payload"]),
                public_key=base64.b64decode(signature["extension"]["ext"]["publicKey"]),
                signature=base64.b64decode(signature["sig"]),
            )
            written = envelope.to_bytes()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise IntegrityError(f"not a signed envelope of format {FORMAT}: {error}", _WAY_OUT) from error
        if written != data:
            raise IntegrityError(f"the envelope is not the canonical JSON of format {FORMAT}: it was changed", _WAY_OUT)
        return envelope


@dataclass(frozen=True)
class Verified:
    """A payload whose signature is right, by whom, and whether that key is trusted here."""

    payload_type: str
    payload: bytes
    key_id: str
    name: str
    trusted: bool


@dataclass(frozen=True)
class Statement:
    """An in-toto Statement v1: files by name and SHA-256, and what is said of them (`predicate`, a JSON object)."""

    subjects: Mapping[str, str]
    predicate_type: str
    predicate: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical JSON, subjects in the order of their names; ValueError for a digest that is no SHA-256."""
        for name, digest in self.subjects.items():
            if _SHA256.fullmatch(digest) is None:
                raise ValueError(f"'{digest}' is not the SHA-256 of {name}")
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": self.subjects[name]}} for name in sorted(self.subjects)
                ],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read a statement; IntegrityError unless it is, byte for byte, what `to_bytes` writes."""
        try:
            fields = json.loads(data)
            statement = cls(
                subjects={_text(subject["name"]): subject["digest"]["sha256"] for subject in fields["subject"]},
                predicate_type=_text(fields["predicateType"]),
                predicate=fields["predicate"],
            )
            written = statement.to_bytes()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"the signed payload is not an in-toto statement: {error}", _WAY_OUT) from error
        if written != data:
            raise IntegrityError("the signed payload is not an in-toto statement in canonical JSON", _WAY_OUT)
        return statement


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: "DSSEv1" LEN(type) type LEN(payload) payload, lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
    """The envelope of a payload signed by a key; the same payload and key give the same bytes (RFC 8032)."""
    return Envelope(payload_type, payload, key.public, key.sign(pae(payload_type, payload)))


def verify(envelope: Envelope, trusted: TrustedKeys) -> Verified:
    """Check an envelope's signature: IntegrityError when it is wrong.

    A right signature by a key that is not among `trusted` (key id → name) comes back with `trusted=False` and the name
    "unknown signer": the bytes are whole, but nobody here vouches for who signed them.
    """
    message = pae(envelope.payload_type, envelope.payload)
    try:
        Ed25519PublicKey.from_public_bytes(envelope.public_key).verify(envelope.signature, message)
    except (InvalidSignature, ValueError) as error:
        raise IntegrityError("the signature does not belong to these bytes", _WAY_OUT) from error
    signer = key_id(envelope.public_key)
    return Verified(
        payload_type=envelope.payload_type,
        payload=envelope.payload,
        key_id=signer,
        name=trusted.get(signer, "unknown signer"),
        trusted=signer in trusted,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
