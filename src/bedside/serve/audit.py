"""The audit trail: an append-only hash chain of what was asked, answered and decided, written before it is answered.

A row's body is canonical JSON `{format, index, previous, time, kind, …}`; its hash is the SHA-256 of the body, and
`previous` the hash of the row before it (64 zeros for the first). Rows that wait at the same time are committed
together; the last of each commit carries a signature (the seal) by the workspace's key, so that the chain cannot be
written anew without it. No row names a patient: a subject is a keyed hash, inputs are a keyed digest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import exc

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import SigningKey
from bedside.serve.database import METADATA, Database
from bedside.serve.problems import NotRecorded

FORMAT = 1
GENESIS = "0" * 64
AT_ONCE = 512
PAGE = 1000
ATTEMPTS = 1000
INDEXED = ("kind", "account", "release", "subject", "request")

TABLE = sa.Table(
    "audit",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(40), nullable=False, index=True),
    sa.Column("account", sa.String(100), nullable=False),
    sa.Column("release", sa.String(64), index=True),
    sa.Column("subject", sa.String(64), index=True),
    sa.Column("request", sa.String(32), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("seal", sa.String(128)),
)


@dataclass(frozen=True)
class Recorded:
    """One row found in its place in the chain."""

    index: int
    body: Mapping[str, Any]
    hash: str

    def __getitem__(self, name: str) -> Any:
        return self.body.get(name)


@dataclass(frozen=True)
class _Waiting:
    entries: Sequence[Mapping[str, Any]]
    done: Future[list[int]]


class AuditTrail:
    """The trail of a database. `pseudonym_key` (secret bytes) names subjects; `key` seals each commit.

    One thread writes: what arrives while it commits goes into the next commit together.
    """

    def __init__(self, database: Database, key: SigningKey, pseudonym_key: bytes) -> None:
        self._database, self._key, self._secret = database, key, pseudonym_key
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._writer.start()

    def pseudonym(self, subject: str) -> str:
        """A subject's id as 32 hexadecimal digits that only the holder of the key can tie to it."""
        return hmac.new(self._secret, b"subject\0" + subject.encode(), hashlib.sha256).hexdigest()[:32]

    def row_digest(self, raw: Cohort, row: int) -> str:
        """A keyed digest of a row's fields: the same row can be known again, nothing can be guessed from it."""
        values = raw.frame.row(row, named=True)
        told = {name: _plain(values[name]) for name in raw.schema.names}
        return hmac.new(self._secret, b"input\0" + canonical_json(told), hashlib.sha256).hexdigest()

    def append(self, entries: Sequence[Mapping[str, Any]]) -> Future[list[int]]:
        """Add rows (each with `kind`, `account`, `request` and what else it says) in order.

        The future gives their positions once they are durable, or raises BedsideError where they cannot be written.
        """
        done: Future[list[int]] = Future()
        self._queue.put(_Waiting(list(entries), done))
        return done

    def close(self) -> None:
        """Write what waits, then stop."""
        self._queue.put(None)
        self._writer.join()

    def page(self, *, before: int | None = None, limit: int = 50, **equal: str) -> list[Recorded]:
        """The newest rows first (below position `before`), those whose indexed columns equal what is given."""
        query = sa.select(TABLE).order_by(TABLE.c.position.desc()).limit(limit)
        if before is not None:
            query = query.where(TABLE.c.position < before)
        for name, value in equal.items():
            query = query.where(TABLE.c[name] == value)
        with self._database.begin() as connection:
            return [_recorded(row) for row in connection.execute(query)]

    def get(self, position: int) -> Recorded | None:
        """The row at a position, or None."""
        with self._database.begin() as connection:
            row = connection.execute(sa.select(TABLE).where(TABLE.c.position == position)).one_or_none()
        return None if row is None else _recorded(row)

    def rows(self) -> Iterator[Recorded]:
        """Every row from the first, checked; raises as `checked_rows`."""
        return checked_rows(self._database, self._key.public)

    def verify(self) -> tuple[int, str]:
        """Recompute the whole chain; its length and last hash."""
        length, head = 0, GENESIS
        for row in self.rows():
            length, head = row.index + 1, row.hash
        return length, head

    def _write_all(self) -> None:
        open_ = True
        while open_:
            batch: list[_Waiting] = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= AT_ONCE or self._queue.empty():
                    break
                item = self._queue.get()
            open_ = item is not None
            if batch:
                self._commit(batch)

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            first = self._insert([entry for each in batch for entry in each.entries])
        except Exception as error:  # whatever went wrong, those who wait must hear of it
            for each in batch:
                each.done.set_exception(_failed(error))
            return
        for each in batch:
            each.done.set_result(list(range(first, first + len(each.entries))))
            first += len(each.entries)

    def _insert(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Write entries in one transaction; another process that writes at the same time is waited for."""
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        for _ in range(ATTEMPTS):
            try:
                with self._database.begin() as connection:
                    query = sa.select(TABLE.c.position, TABLE.c.hash).order_by(TABLE.c.position.desc()).limit(1)
                    last = connection.execute(query).one_or_none()
                    first, previous = (0, GENESIS) if last is None else (last.position + 1, last.hash)
                    rows = []
                    for i, entry in enumerate(entries):
                        body = {**entry, "format": FORMAT, "index": first + i, "previous": previous, "time": time}
                        row = _row(body)
                        previous = row["hash"]
                        rows.append(row)
                    if rows:
                        rows[-1]["seal"] = self._key.sign(previous.encode()).hex()
                        connection.execute(sa.insert(TABLE), rows)
                return first
            except exc.IntegrityError:
                continue  # another process took these positions
        raise NotRecorded("the audit trail is too busy", "run one service on one database")


def checked_rows(database: Database, public: bytes) -> Iterator[Recorded]:
    """Every row of a trail from the first, each checked against the chain and the seals by the key with these 32 public
    bytes; raises IntegrityError, naming the index, at the first that was changed or removed. A last commit without its
    seal was cut short."""
    previous, index, sealed = GENESIS, 0, True
    while True:
        query = sa.select(TABLE).order_by(TABLE.c.position).where(TABLE.c.position >= index).limit(PAGE)
        with database.begin() as connection:
            page = connection.execute(query).all()
        for row in page:
            yield _checked(row, index, previous, public)
            previous, index, sealed = row.hash, index + 1, row.seal is not None
        if len(page) < PAGE:
            break
    if not sealed:
        raise _broken(index - 1, "ends a commit without its seal: rows after it were removed")


def _checked(row: sa.Row[Any], index: int, previous: str, public: bytes) -> Recorded:
    if row.position != index:
        raise _broken(index, f"is missing: {row.position} follows")
    found = _recorded(row)
    link = (found["format"], found["index"], found["previous"])
    if sha256_hex(row.body.encode()) != row.hash or link != (FORMAT, index, previous):
        raise _broken(index, "was changed, or does not follow the one before it")
    if any(found[name] != getattr(row, name) for name in INDEXED):
        raise _broken(index, "was changed: its columns are not what its body says")
    if row.seal is not None:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(row.seal), row.hash.encode())
        except (InvalidSignature, ValueError):
            raise _broken(index, "has a seal that is not by this workspace's key") from None
    return found


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _row(body: Mapping[str, Any]) -> dict[str, Any]:
    data = canonical_json(body)
    columns = {name: body.get(name) for name in INDEXED}
    return {"position": body["index"], **columns, "body": data.decode(), "hash": sha256_hex(data), "seal": None}


def _recorded(row: sa.Row[Any]) -> Recorded:
    try:
        body = json.loads(row.body)
    except ValueError:
        raise _broken(row.position, "was changed: it is no JSON") from None
    return Recorded(row.position, body, row.hash)


def _broken(index: int, what: str) -> IntegrityError:
    return IntegrityError(
        f"audit row {index} {what}", "keep this database as evidence, restore the last backup that verifies"
    )


def _failed(error: Exception) -> BedsideError:
    if isinstance(error, BedsideError):
        return error
    return NotRecorded(
        f"the audit row could not be written ({type(error).__name__}), so nothing was answered",
        "check the disk and the database of the service",
    )
