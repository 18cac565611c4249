"""Keys, DSSE envelopes and in-toto statements: what a signature proves, and what it does not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import SigningKey, load_or_create_key, trust, trusted_keys
from bedside.evidence.signing import (
    RELEASE_PREDICATE,
    STATEMENT_PAYLOAD,
    Envelope,
    Statement,
    pae,
    sign,
    verify,
)

# RFC 8032, section 7.1, TEST 3.
RFC8032_SEED = "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"
RFC8032_PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
RFC8032_MESSAGE = "af82"
RFC8032_SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
STATEMENT = Statement(
    subjects={"model/model.json": "0" * 63 + "1", "evidence.json": "ab" * 32},
    predicate_type=RELEASE_PREDICATE,
    predicate={"format": 1, "stage": "shadow"},
)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey("rfc8032", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC8032_SEED)))


class TestKeys:
    def test_signature_is_that_of_rfc_8032(self, key: SigningKey) -> None:
        assert key.public.hex() == RFC8032_PUBLIC
        assert key.sign(bytes.fromhex(RFC8032_MESSAGE)).hex() == RFC8032_SIGNATURE

    def test_first_run_makes_a_private_key_and_trusts_it_here(self, tmp_path: Path) -> None:
        key = load_or_create_key(tmp_path / "keys")
        assert (tmp_path / "keys" / "local.pem").stat().st_mode & 0o777 == 0o600
        assert trusted_keys(tmp_path / "keys") == {key.key_id: "local"}
        assert load_or_create_key(tmp_path / "keys").key_id == key.key_id
        assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == ["local.pem", "local.pub", "trusted"]

    def test_processes_that_start_at_once_agree_on_one_key(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib; from bedside.evidence.keys import load_or_create_key; "
            "print(load_or_create_key(pathlib.Path(sys.argv[1])).key_id)"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        ids = [process.communicate(timeout=60)[0].strip() for process in started]
        assert len(set(ids)) == 1
        assert trusted_keys(tmp_path) == {ids[0]: "local"}

    def test_creation_cut_short_after_the_private_key_is_finished(self, tmp_path: Path) -> None:
        key = load_or_create_key(tmp_path)
        (tmp_path / "local.pub").unlink()
        (tmp_path / "trusted" / "local.pub").unlink()
        assert load_or_create_key(tmp_path).key_id == key.key_id
        assert key.key_id in trusted_keys(tmp_path)

    def test_withdrawn_trust_stays_withdrawn(self, tmp_path: Path) -> None:
        load_or_create_key(tmp_path)
        (tmp_path / "trusted" / "local.pub").unlink()
        load_or_create_key(tmp_path)
        assert trusted_keys(tmp_path) == {}

    def test_a_colleagues_public_key_is_trusted_by_name(self, tmp_path: Path) -> None:
        theirs = load_or_create_key(tmp_path / "theirs", "dr.li@ward-3")
        ours = tmp_path / "ours"
        assert trust(ours, tmp_path / "theirs" / "dr.li@ward-3.pub") == theirs.key_id
        assert trusted_keys(ours) == {theirs.key_id: "dr.li@ward-3"}

    def test_a_trusted_name_cannot_be_taken_by_another_key(self, tmp_path: Path) -> None:
        load_or_create_key(tmp_path / "a")
        load_or_create_key(tmp_path / "b")
        with pytest.raises(BedsideError, match="another key is trusted under the name 'local'"):
            trust(tmp_path / "a", tmp_path / "b" / "local.pub")

    @pytest.mark.parametrize("name", ["", "../local", "a/b", ".hidden", "x" * 65, "né", "a\n"])
    def test_a_name_that_could_leave_the_folder_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(BedsideError, match="cannot name a key"):
            load_or_create_key(tmp_path, name)

    def test_a_private_key_that_others_may_read_is_refused(self, tmp_path: Path) -> None:
        load_or_create_key(tmp_path)
        (tmp_path / "local.pem").chmod(0o640)
        with pytest.raises(BedsideError, match="mode 0640") as error:
            load_or_create_key(tmp_path)
        assert error.value.way_out == f"chmod 600 {tmp_path / 'local.pem'}"

    def test_other_keys_and_no_keys_are_named_errors(self, tmp_path: Path) -> None:
        other = ec.generate_private_key(ec.SECP256R1())
        pem = other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        locked = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
        for content, message in [
            (pem, "not an Ed25519 key"),
            (locked, "without a password"),
            (b"", "no private key"),
            (b"\xff\x00", "no private key"),
        ]:
            (tmp_path / "local.pem").write_bytes(content)
            (tmp_path / "local.pem").chmod(0o600)
            with pytest.raises(BedsideError, match=message):
                load_or_create_key(tmp_path)
        for content, message in [
            (
                other.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                ),
                "not an Ed25519 key",
            ),
            (b"not a key", "no public key"),
        ]:
            (tmp_path / "x.pub").write_bytes(content)
            with pytest.raises(BedsideError, match=message):
                trust(tmp_path, tmp_path / "x.pub")
        with pytest.raises(BedsideError, match="No such file"):
            trust(tmp_path, tmp_path / "absent.pub")

    def test_public_file_of_another_key_is_an_error(self, tmp_path: Path) -> None:
        load_or_create_key(tmp_path / "a")
        load_or_create_key(tmp_path / "b")
        (tmp_path / "a" / "local.pub").write_bytes((tmp_path / "b" / "local.pub").read_bytes())
        with pytest.raises(BedsideError, match="is not the public key of"):
            load_or_create_key(tmp_path / "a")

    def test_a_folder_that_cannot_be_made_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BedsideError, match="cannot be made or read: Not a directory"):
            load_or_create_key(tmp_path / "file" / "keys")

    def test_the_private_key_is_not_shown(self, key: SigningKey) -> None:
        assert "private" not in repr(key)


class TestEnvelope:
    def test_pae_is_that_of_the_dsse_protocol(self) -> None:
        # secure-systems-lab/dsse, protocol.md, "Test Vectors".
        assert (
            pae("http://example.com/HelloWorld", b"hello world")
            == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        )
        assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "  # lengths are of bytes

    def test_published_dsse_signature_is_over_our_pae(self) -> None:
        # Same source: the ECDSA P-256 signature of that example (r and s, 32 bytes each) checks against our encoding.
        signature = base64.b64decode(
            "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
        )
        x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
        y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
            encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:])),
            pae("http://example.com/HelloWorld", b"hello world"),
            ec.ECDSA(hashes.SHA256()),
        )

    def test_signed_by_a_trusted_key(self, key: SigningKey) -> None:
        found = verify(sign("text/plain", b"payload", key), {key.key_id: "Dr Li"})
        assert (found.payload, found.key_id, found.name, found.trusted) == (b"payload", key.key_id, "Dr Li", True)

    def test_signed_by_an_unknown_key_is_whole_but_not_trusted(self, key: SigningKey) -> None:
        found = verify(sign("text/plain", b"payload", key), {"0" * 64: "somebody else"})
        assert (found.payload, found.name, found.trusted) == (b"payload", "unknown signer", False)

    def test_a_wrong_signature_is_an_error_even_under_a_trusted_key(self, key: SigningKey) -> None:
        good = sign("text/plain", b"payload", key)
        for bad in [
            Envelope("text/plain", b"Payload", good.public_key, good.signature),
            Envelope("text/html", b"payload", good.public_key, good.signature),
            Envelope("text/plain", b"payload", good.public_key, bytes(64)),
            Envelope("text/plain", b"payload", good.public_key, b"short"),
            Envelope("text/plain", b"payload", b"short", good.signature),
        ]:
            with pytest.raises(IntegrityError, match="signature does not belong"):
                verify(bad, {key.key_id: "Dr Li"})

    def test_a_standard_dsse_reader_finds_its_fields(self, key: SigningKey) -> None:
        fields = json.loads(sign(STATEMENT_PAYLOAD, b"{}", key).to_bytes())
        (signature,) = fields["signatures"]
        assert base64.b64decode(fields["payload"]) == b"{}"
        assert fields["payloadType"] == STATEMENT_PAYLOAD
        assert signature["keyid"] == key.key_id
        assert base64.b64decode(signature["sig"]) == key.sign(pae(STATEMENT_PAYLOAD, b"{}"))

    def test_same_payload_and_key_give_the_same_bytes(self, key: SigningKey) -> None:
        assert sign("a", b"b", key).to_bytes() == sign("a", b"b", key).to_bytes()

    def test_every_flipped_bit_is_found(self, key: SigningKey) -> None:
        data = sign("text/plain", b"payload", key).to_bytes()
        trusted = {key.key_id: "Dr Li"}
        for position in range(len(data)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[position] ^= 1 << bit
                with pytest.raises(IntegrityError):
                    verify(Envelope.from_bytes(bytes(damaged)), trusted)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b'"text"',
            b"\xff",
            b"{}",
            b'{"signatures":[]}',
            b'{"format":1,"payload":"","payloadType":5,"signatures":[{"extension":{"ext":{"publicKey":""}},"sig":""}]}',
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_envelope_is_an_integrity_error(self, data: bytes) -> None:
        with pytest.raises(IntegrityError, match="envelope"):
            Envelope.from_bytes(data)

    def test_a_second_signature_and_unknown_fields_are_refused(self, key: SigningKey) -> None:
        fields = json.loads(sign("text/plain", b"payload", key).to_bytes())
        for changed in [
            {**fields, "signatures": fields["signatures"] * 2},
            {**fields, "note": "unsigned words beside a signature"},
            {**fields, "format": 2},
        ]:
            with pytest.raises(IntegrityError):
                Envelope.from_bytes(json.dumps(changed, separators=(",", ":"), sort_keys=True).encode())

    @settings(max_examples=50, deadline=None)
    @given(st.text(), st.binary())
    def test_round_trip(self, payload_type: str, payload: bytes) -> None:
        key = SigningKey("rfc8032", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC8032_SEED)))
        found = verify(Envelope.from_bytes(sign(payload_type, payload, key).to_bytes()), {})
        assert (found.payload_type, found.payload) == (payload_type, payload)

    def test_envelope_of_format_1_still_reads(self) -> None:
        # Frozen: written when format 1 was made, signed with the key of RFC 8032, 7.1, TEST 3.
        envelope = Envelope.from_bytes((FIXTURES / "envelope-format-1.json").read_bytes())
        found = verify(envelope, {})
        assert found.key_id == "dac073e0123bdea59dd9b3bda9cf6037f63aca82627d7abcd5c4ac29dd74003e"
        assert Statement.from_bytes(found.payload) == STATEMENT


class TestStatement:
    def test_bytes_are_an_in_toto_statement_in_order_of_names(self) -> None:
        # in-toto attestation spec v1: _type, subject[{name, digest}], predicateType, predicate.
        assert json.loads(STATEMENT.to_bytes()) == {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": "evidence.json", "digest": {"sha256": "ab" * 32}},
                {"name": "model/model.json", "digest": {"sha256": "0" * 63 + "1"}},
            ],
            "predicateType": "urn:bedside:release:1",
            "predicate": {"format": 1, "stage": "shadow"},
        }
        assert Statement.from_bytes(STATEMENT.to_bytes()) == STATEMENT

    def test_order_of_the_subjects_given_does_not_matter(self) -> None:
        turned = Statement(dict(reversed(list(STATEMENT.subjects.items()))), RELEASE_PREDICATE, STATEMENT.predicate)
        assert turned.to_bytes() == STATEMENT.to_bytes()

    def test_a_digest_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not the SHA-256 of model"):
            Statement({"model": "AB" * 32}, RELEASE_PREDICATE, {}).to_bytes()

    @pytest.mark.parametrize(
        "change",
        [
            {"_type": "https://in-toto.io/Statement/v0.1"},
            {"subject": None},
            {"subject": [{"name": "a", "digest": {"md5": "0"}}]},
            {"subject": [{"name": "a", "digest": {"sha256": 5}}]},
            {"subject": [{"name": 5, "digest": {"sha256": "0" * 64}}]},
            {"subject": [{"name": "a", "digest": {"sha256": "0" * 64}}] * 2},
            {"predicate": []},
            {"predicateType": 5},
            {"extra": 1},
        ],
    )
    def test_what_is_no_statement_is_an_integrity_error(self, change: dict[str, object]) -> None:
        fields = json.loads(STATEMENT.to_bytes()) | change
        with pytest.raises(IntegrityError, match="not an in-toto statement"):
            Statement.from_bytes(json.dumps(fields, separators=(",", ":"), sort_keys=True).encode())
