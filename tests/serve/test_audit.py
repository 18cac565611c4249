"""The audit trail: a chain in which nothing can be changed, removed or written anew without its being seen."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key
from bedside.serve.audit import AuditTrail
from bedside.serve.database import Database


def trail(folder: Path) -> AuditTrail:
    key = load_or_create_key(folder / "keys", "local")
    return AuditTrail(Database(f"sqlite:///{folder / 'service.sqlite'}"), key, b"s" * 32)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "keys" / "trusted").mkdir(parents=True)
    yield tmp_path


def entry(kind: str = "predict", **more: object) -> dict[str, object]:
    return {"kind": kind, "account": "a", "request": "r", **more}


def change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "service.sqlite") as connection:
        connection.execute(statement)


def test_rows_come_back_in_order_and_the_chain_holds(folder: Path) -> None:
    audit = trail(folder)
    assert audit.append([entry(), entry()]).result() == [0, 1]
    assert audit.append([entry("stage", release="d")]).result() == [2]
    audit.close()
    again = trail(folder)
    length, head = again.verify()
    assert length == 3 and len(head) == 64
    assert [row["kind"] for row in again.page(limit=2)] == ["stage", "predict"]
    assert [row.index for row in again.page(before=1)] == [0]
    assert [row.index for row in again.page(kind="stage")] == [2]
    again.close()


def test_many_at_once_are_committed_together_and_none_is_lost(folder: Path) -> None:
    audit, other = trail(folder), trail(folder)
    found: list[int] = []
    lock = threading.Lock()

    def write(where: AuditTrail) -> None:
        for _ in range(20):
            got = where.append([entry()]).result(30)
            with lock:
                found.extend(got)

    threads = [threading.Thread(target=write, args=(each,)) for each in (audit, audit, audit, other)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == list(range(80)), "each row has a position of its own, though two processes write"
    assert audit.verify()[0] == 80
    audit.close()
    other.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit SET body = replace(body, 'predict', 'nothing') WHERE position = 1", "row 1 was changed"),
        ("UPDATE audit SET account = 'b' WHERE position = 1", "row 1 was changed"),
        ("DELETE FROM audit WHERE position = 1", "row 1 is missing"),
        ("DELETE FROM audit WHERE position = 0", "row 0 is missing"),
        ("DELETE FROM audit WHERE position = 3", "row 2 ends a commit"),
        ("UPDATE audit SET seal = NULL WHERE position = 3", "row 3 ends a commit"),
        ("UPDATE audit SET seal = hash WHERE position = 3", "row 3 has a seal"),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE position = 0) WHERE position = 1", "row 1 was changed"),
    ],
)
def test_what_was_changed_is_named(folder: Path, statement: str, says: str) -> None:
    audit = trail(folder)
    audit.append([entry(), entry(), entry(), entry()]).result()
    change(folder, statement)
    with pytest.raises(IntegrityError, match=says):
        audit.verify()
    audit.close()


def test_a_chain_written_anew_with_another_key_is_seen(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    forger = tmp_path_factory.mktemp("forger")
    (forger / "keys" / "trusted").mkdir(parents=True)
    forged = trail(forger)
    forged.append([entry()]).result()
    forged.close()
    key = load_or_create_key(folder / "keys", "local")
    ours = AuditTrail(Database(f"sqlite:///{forger / 'service.sqlite'}"), key, b"s" * 32)
    with pytest.raises(IntegrityError, match="not by this workspace's key"):
        ours.verify()
    ours.close()


def test_what_cannot_be_written_is_said_to_who_waits(folder: Path) -> None:
    audit = trail(folder)
    change(folder, "DROP TABLE audit")
    with pytest.raises(BedsideError, match="nothing was answered"):
        audit.append([entry()]).result(60)
    audit.close()


def test_a_pseudonym_is_the_same_each_time_and_another_with_another_key(folder: Path) -> None:
    audit = trail(folder)
    other = AuditTrail(
        Database(f"sqlite:///{folder / 'service.sqlite'}"), load_or_create_key(folder / "keys"), b"t" * 32
    )
    assert audit.pseudonym("p1") == audit.pseudonym("p1") != audit.pseudonym("p2")
    assert other.pseudonym("p1") != audit.pseudonym("p1")
    audit.close()
    other.close()
