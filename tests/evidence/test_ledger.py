"""The ledger: what is once written stays, what is changed shows, and an acknowledged entry survives everything."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bedside.cohort.digest import canonical_json
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence import ledger as ledger_module
from bedside.evidence.keys import SigningKey
from bedside.evidence.ledger import ENTRY_PAYLOAD, GENESIS, Head, Ledger
from bedside.evidence.signing import sign

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEY = SigningKey("ours", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey("theirs", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TRUSTED = {KEY.key_id: "ours"}
FROZEN_HEAD = "373b47bbfaaa6d3b264c4daa78fd8d21109391ff0f94ece2f565aac35fe009bc"

# Appends for ever, printing the head's length after every acknowledged append.
APPENDER = """
import sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from bedside.evidence.keys import SigningKey
from bedside.evidence.ledger import Ledger
key = SigningKey("ours", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
for number in range(int(sys.argv[2])):
    head = Ledger(sys.argv[1]).append("test", {"number": number}, key)
    print(head.length, head.hash, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(file: Path) -> Ledger:
    return Ledger(f"sqlite:///{file}")


def filled(ledger: Ledger, entries: int = 5) -> list[Head]:
    return [ledger.append("release", {"number": number}, KEY) for number in range(entries)]


def tamper(file: Path, script: str) -> None:
    """What somebody with write access to the file can do: the triggers stop only accidents."""
    connection = sqlite3.connect(file)
    connection.executescript(f"DROP TRIGGER ledger_no_update; DROP TRIGGER ledger_no_delete; {script}")
    connection.close()


def put(file: Path, row: dict[str, object]) -> None:
    """Write a row past the ledger, in the place of the one that stands there."""
    tamper(file, "")
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM ledger WHERE position = :position", row)
        connection.execute("INSERT INTO ledger VALUES (:position, :body, :public_key, :signature, :hash)", row)
    connection.close()


class TestChain:
    def test_entries_come_back_in_order_with_their_signer(self, ledger: Ledger) -> None:
        ledger.append("release", {"digest": "ab" * 32}, KEY)
        ledger.append("override", {"gate": "auroc", "reason": "né 中文"}, OTHER)
        first, second = ledger.entries(TRUSTED)
        assert (first.index, first.kind, dict(first.body)) == (0, "release", {"digest": "ab" * 32})
        assert (first.signer.name, first.signer.trusted) == ("ours", True)
        assert (second.index, second.body["reason"]) == (1, "né 中文")
        assert (second.signer.name, second.signer.trusted) == ("unknown signer", False)
        assert ledger.verify(trusted=TRUSTED).unknown_signers == (1,)

    def test_head_is_length_and_hash_of_the_last(self, ledger: Ledger) -> None:
        heads = filled(ledger)
        assert [head.length for head in heads] == [1, 2, 3, 4, 5]
        assert [entry.hash for entry in ledger.entries()] == [head.hash for head in heads]
        assert ledger.head() == heads[-1] == ledger.verify().head

    def test_a_ledger_that_is_not_there_is_empty_and_reading_does_not_make_it(self, ledger: Ledger, file: Path) -> None:
        assert ledger.head() == Head(0, GENESIS)
        assert list(ledger.entries()) == []
        assert ledger.verify(Head(0, GENESIS)).head == Head(0, GENESIS)
        assert not file.exists()

    def test_every_earlier_head_is_contained(self, ledger: Ledger) -> None:
        heads = filled(ledger)
        for head in [Head(0, GENESIS), *heads]:
            assert ledger.verify(head).head == heads[-1]

    def test_chains_longer_than_a_page(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger_module, "PAGE", 2)
        heads = filled(ledger, 5)
        assert ledger.verify(heads[2]).head == heads[-1]

    def test_ledger_of_format_1_still_reads_and_grows(self, tmp_path: Path) -> None:
        # Frozen: three entries written when format 1 was made, by KEY, KEY and OTHER.
        shutil.copy(FIXTURES / "ledger-format-1.sqlite", tmp_path / "old.sqlite")
        old = Ledger(f"sqlite:///{tmp_path / 'old.sqlite'}")
        checked = old.verify(trusted=TRUSTED)
        assert checked.unknown_signers == (2,)
        assert [(entry.kind, dict(entry.body)) for entry in old.entries()] == [
            ("release", {"digest": "ab" * 32, "stage": "assist"}),
            ("approve", {"name": "Dr Li", "reason": "né 中文"}),
            ("forget", {"rows": 2}),
        ]
        assert checked.head == Head(3, FROZEN_HEAD)
        assert old.append("release", {}, KEY).length == 4
        assert old.verify(checked.head).head.length == 4


class TestTampering:
    @pytest.mark.parametrize(
        ("statement", "index"),
        [
            ("UPDATE ledger SET body = replace(body, '\"number\":2', '\"number\":7') WHERE position = 2", 2),
            ("UPDATE ledger SET body = replace(body, 'T', ' ') WHERE position = 2", 2),  # the time is signed too
            ("UPDATE ledger SET body = '{}' WHERE position = 2", 2),
            ("UPDATE ledger SET body = x'ff' WHERE position = 2", 2),
            ("UPDATE ledger SET body = CAST(x'ff00' AS TEXT) WHERE position = 2", 2),
            ("UPDATE ledger SET body = 5 WHERE position = 2", 2),
            ("UPDATE ledger SET hash = upper(hash) WHERE position = 2", 2),
            ("UPDATE ledger SET signature = (SELECT signature FROM ledger WHERE position = 1) WHERE position = 2", 2),
            ("UPDATE ledger SET signature = upper(signature) WHERE position = 2", 2),
            ("UPDATE ledger SET signature = '' WHERE position = 2", 2),
            ("UPDATE ledger SET public_key = 'zz' WHERE position = 2", 2),
            ("DELETE FROM ledger WHERE position = 0", 0),
            ("DELETE FROM ledger WHERE position = 2", 2),
            ("INSERT INTO ledger SELECT -1, body, public_key, signature, hash FROM ledger WHERE position = 0", 0),
            ("INSERT INTO ledger SELECT 5, body, public_key, signature, hash FROM ledger WHERE position = 4", 5),
            (  # two entries change places
                "UPDATE ledger SET position = 9 WHERE position = 3; UPDATE ledger SET position = 3 WHERE position = 4;"
                "UPDATE ledger SET position = 4 WHERE position = 9",
                3,
            ),
        ],
    )
    def test_a_changed_entry_is_named_by_its_index(
        self, ledger: Ledger, file: Path, statement: str, index: int
    ) -> None:
        filled(ledger)
        tamper(file, statement)
        with pytest.raises(IntegrityError, match=rf"entry {index} "):
            ledger.verify()

    def test_entries_before_the_damage_can_be_read(self, ledger: Ledger, file: Path) -> None:
        filled(ledger)
        tamper(file, "DELETE FROM ledger WHERE position = 3")
        read = []
        with pytest.raises(IntegrityError, match="entry 3 is missing"):
            for entry in ledger.entries():
                read.append(entry.index)
        assert read == [0, 1, 2]

    def test_a_cut_tail_shows_only_against_a_known_head(self, ledger: Ledger, file: Path) -> None:
        heads = filled(ledger)
        tamper(file, "DELETE FROM ledger WHERE position >= 3")
        assert ledger.verify().head == heads[2]
        with pytest.raises(IntegrityError, match="entry 3 is missing: 5 entries are known to have been here"):
            ledger.verify(heads[-1])

    def test_a_deleted_file_or_table_shows_against_a_known_head(self, ledger: Ledger, file: Path) -> None:
        heads = filled(ledger)
        tamper(file, "DROP TABLE ledger")
        with pytest.raises(IntegrityError, match="entry 0 is missing"):
            ledger.verify(heads[-1])
        file.unlink()
        with pytest.raises(IntegrityError, match="entry 0 is missing"):
            ledger.verify(heads[-1])

    def test_a_tail_cut_and_regrown_shows_against_a_known_head(self, ledger: Ledger, file: Path) -> None:
        heads = filled(ledger)
        tamper(file, "DELETE FROM ledger WHERE position >= 3")
        for number in range(7, 10):
            ledger.append("release", {"number": number}, KEY)
        assert ledger.verify(heads[2]).head.length == 6
        with pytest.raises(IntegrityError, match="entry 4 is not the one known from before"):
            ledger.verify(heads[-1])

    def test_a_chain_written_anew_by_a_stranger_has_unknown_signers_and_another_head(
        self, ledger: Ledger, file: Path
    ) -> None:
        heads = filled(ledger, 3)
        file.unlink()
        for number in range(3):
            ledger.append("release", {"number": number}, OTHER)
        assert ledger.verify(trusted=TRUSTED).unknown_signers == (0, 1, 2)
        with pytest.raises(IntegrityError, match="entry 2 is not the one known"):
            ledger.verify(heads[-1])

    def test_another_key_cannot_take_over_a_signature_unseen(self, ledger: Ledger, file: Path) -> None:
        filled(ledger, 3)
        entry = list(ledger.entries())[1]
        forged = sign(ENTRY_PAYLOAD, entry.signer.payload, OTHER)
        put(file, ledger_module._row(1, forged))
        with pytest.raises(IntegrityError, match="entry 2 does not follow"):
            ledger.verify()

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"index": 7},
            {"previous": "1" * 64},
            {"kind": 5},
            {"time": None},
            {"body": []},
        ],
    )
    def test_a_well_signed_entry_of_the_wrong_shape_is_refused(
        self, ledger: Ledger, file: Path, change: dict[str, object]
    ) -> None:
        head = ledger.append("release", {}, KEY)
        fields = {"format": 1, "index": 1, "previous": head.hash, "kind": "k", "time": "t", "body": {}} | change
        put(file, ledger_module._row(1, sign(ENTRY_PAYLOAD, canonical_json(fields), KEY)))
        with pytest.raises(IntegrityError, match="entry 1 "):
            ledger.verify()

    def test_no_entry_is_chained_to_a_damaged_one(self, ledger: Ledger, file: Path) -> None:
        filled(ledger)
        tamper(file, "UPDATE ledger SET body = '{}' WHERE position = 4")
        with pytest.raises(IntegrityError, match="entry 4 was changed"):
            ledger.append("release", {}, KEY)
        with pytest.raises(IntegrityError, match="entry 4 was changed"):
            ledger.head()

    @pytest.mark.parametrize("statement", ["DELETE FROM ledger", "UPDATE ledger SET body = '{}'"])
    def test_the_database_refuses_accidents(self, ledger: Ledger, file: Path, statement: str) -> None:
        filled(ledger, 2)
        connection = sqlite3.connect(file)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
        connection.close()

    def test_every_byte_of_the_file_that_holds_an_entry_is_guarded(self, ledger: Ledger, file: Path) -> None:
        head = filled(ledger, 2)[-1]
        whole = file.read_bytes()
        generator = random.Random(5)
        for entry in ledger.entries():
            start = whole.index(entry.signer.payload)
            for position in generator.sample(range(start, start + len(entry.signer.payload)), 20):
                damaged = bytearray(whole)
                damaged[position] ^= 1 << generator.randrange(8)
                file.write_bytes(damaged)
                with pytest.raises(IntegrityError, match=f"entry {entry.index} was changed"):
                    ledger.verify(head)
        file.write_bytes(whole)
        ledger.verify(head)


class TestConcurrency:
    def test_processes_that_append_at_once_all_land_in_one_chain(self, ledger: Ledger, file: Path) -> None:
        command = [sys.executable, "-c", APPENDER, f"sqlite:///{file}", "15"]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        acknowledged = [line for process in started for line in process.communicate(timeout=120)[0].splitlines()]
        assert [process.returncode for process in started] == [0, 0, 0]
        assert ledger.verify().head.length == len(acknowledged) == 45
        assert {f"{entry.index + 1} {entry.hash}" for entry in ledger.entries()} == set(acknowledged)

    def test_reading_does_not_hold_up_an_append(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger_module, "PAGE", 2)
        monkeypatch.setattr(ledger_module, "LOCK_SECONDS", 0.1)
        filled(ledger, 3)
        reading = ledger.entries()
        next(reading)
        ledger.append("release", {}, KEY)
        assert [entry.index for entry in reading] == [1, 2, 3]

    def test_a_database_held_by_another_is_a_clear_error(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger_module, "LOCK_SECONDS", 0.1)
        ledger = Ledger(f"sqlite:///{file}")
        filled(ledger, 1)
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BedsideError, match="another process holds it"):
            ledger.append("release", {}, KEY)
        holder.close()


class TestDurability:
    @pytest.mark.soak
    def test_kill_at_any_time_leaves_a_valid_chain_with_all_that_was_acknowledged(
        self, ledger: Ledger, file: Path
    ) -> None:
        kills = 50 if os.environ.get("BEDSIDE_SOAK") else 5
        generator = random.Random(11)
        head = Head(0, GENESIS)
        for _ in range(kills):
            command = [sys.executable, "-c", APPENDER, f"sqlite:///{file}", "1000000"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline()]  # it has begun
                time.sleep(generator.uniform(0.0, 0.2))
                process.send_signal(signal.SIGKILL)
                lines += process.stdout.read().splitlines()
            length, digest = lines[-1].split()
            acknowledged = Head(int(length), digest)
            now = ledger.verify(acknowledged).head  # the last acknowledged append is there
            assert acknowledged.length <= now.length <= acknowledged.length + 1
            assert acknowledged.length > head.length
            head = now
        assert ledger.append("release", {}, KEY).length == head.length + 1

    def test_an_entry_is_synced_before_it_is_acknowledged(self, ledger: Ledger) -> None:
        with ledger._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 3  # EXTRA: FULL and the folder

    def test_full_disk_says_so_and_harms_nothing(self, ledger: Ledger) -> None:
        filled(ledger, 2)

        def limit(connection: sqlite3.Connection, _record: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then answers SQLITE_FULL

        sa.event.listen(ledger._engine, "connect", limit)
        with pytest.raises(BedsideError, match=r"full\n.*free some space"):
            ledger.append("release", {"long": "x" * 100_000}, KEY)
        sa.event.remove(ledger._engine, "connect", limit)
        assert ledger.verify().head.length == 2
        assert ledger.append("release", {}, KEY).length == 3

    def test_a_write_that_the_system_refuses_says_so_and_harms_nothing(self, ledger: Ledger, file: Path) -> None:
        filled(ledger, 2)

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, file.stat().st_size))

        command = [sys.executable, "-c", APPENDER, f"sqlite:///{file}", "1000"]
        limited = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=120)
        assert limited.returncode == 1
        assert re.search(r"BedsideError: .*\n  → (check the disk|free some space)", limited.stderr)
        assert ledger.verify().head.length == 2 + len(limited.stdout.splitlines())

    def test_a_read_only_database_says_so(self, ledger: Ledger) -> None:
        filled(ledger, 1)

        def read_only(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA query_only = ON")  # SQLite then answers SQLITE_READONLY, whoever we are

        sa.event.listen(ledger._engine, "connect", read_only)
        with pytest.raises(BedsideError, match=r"readonly database\n.*make the file and its folder writable"):
            ledger.append("release", {}, KEY)
        assert ledger.verify().head.length == 1

    @pytest.mark.parametrize(
        ("spoil", "error", "message"),
        [
            (lambda file: file.write_bytes(b"not a database" * 100), IntegrityError, "restore the last backup"),
            (lambda file: file.write_bytes(file.read_bytes()[:5000]), IntegrityError, "restore the last backup"),
            (lambda file: (file.unlink(), file.mkdir()), BedsideError, "make the file and its folder writable"),
        ],
    )
    def test_a_spoilt_file_is_a_clear_error(
        self, ledger: Ledger, file: Path, spoil: Callable[[Path], object], error: type[BedsideError], message: str
    ) -> None:
        filled(ledger, 30)
        spoil(file)
        for use in (ledger.verify, ledger.head, lambda: ledger.append("release", {}, KEY)):
            with pytest.raises(error, match=message):
                use()

    def test_a_folder_that_is_missing_is_a_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(BedsideError, match="make the file and its folder writable"):
            Ledger(f"sqlite:///{tmp_path}/none/ledger.sqlite").append("release", {}, KEY)


class TestUrl:
    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
    def test_a_ledger_that_would_not_last_is_refused(self, url: str) -> None:
        with pytest.raises(BedsideError, match="not a file that lasts"):
            Ledger(url)

    @pytest.mark.parametrize("url", ["ledger.sqlite", "nosuch://host/db", ""])
    def test_a_url_that_is_none_is_a_clear_error(self, url: str) -> None:
        with pytest.raises(BedsideError, match="no ledger can be opened with this URL"):
            Ledger(url)
