"""The ledger: an append-only chain of signed entries, so that what was released, approved or erased cannot be unsaid.

An entry is canonical JSON `{format, index, previous, kind, time, body}` in a DSSE envelope; its hash is the SHA-256 of
the envelope's bytes, and `previous` is the hash of the entry before it (64 zeros for the first). So a changed, removed
or re-signed entry breaks the chain from there on. A cut tail breaks nothing: it shows only to whoever knows an earlier
head (length and hash), which is why the head is printed and stored in releases.

The database is given by URL. Every statement commits by itself: an append reads the head and inserts at the next
position, and of two processes that append at once one wins the primary key while the other reads the new head and
tries again. Nothing depends on the time in an entry.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.schema import CreateTable

from bedside.cohort.databases import making_tables
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import SigningKey, TrustedKeys
from bedside.evidence.signing import Envelope, Verified, sign, verify

FORMAT = 1
ENTRY_PAYLOAD = "application/vnd.bedside.ledger-entry+json"
GENESIS = "0" * 64
PAGE = 1000
LOCK_SECONDS = 30.0
ATTEMPTS = 1000

_TABLE = sa.Table(
    "ledger",
    sa.MetaData(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("public_key", sa.String(64), nullable=False),
    sa.Column("signature", sa.String(128), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
# A guard against accidents only; what catches intent is the chain.
_SQLITE_GUARDS = [
    f"CREATE TRIGGER IF NOT EXISTS ledger_no_{verb} BEFORE {verb} ON ledger "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    for verb in ("update", "delete")
]
_NOBODY: TrustedKeys = MappingProxyType({})


@dataclass(frozen=True)
class Head:
    """How many entries a ledger has, and the hash of the last (64 zeros when it has none)."""

    length: int
    hash: str


@dataclass(frozen=True)
class Entry:
    """One entry whose place in the chain and signature were found right; `signer.trusted` says if by a known key."""

    index: int
    kind: str
    time: str
    body: Mapping[str, Any]
    hash: str
    signer: Verified


@dataclass(frozen=True)
class Checked:
    """A ledger found whole: its head, and the indices of the entries signed by unknown keys."""

    head: Head
    unknown_signers: tuple[int, ...]


class Ledger:
    """The ledger in the database of a SQLAlchemy URL (`sqlite:///PATH`); made by the first append."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
            self._sqlite = parsed.get_backend_name() == "sqlite"
            self._engine = sa.create_engine(
                parsed,
                isolation_level="AUTOCOMMIT",
                poolclass=sa.NullPool,
                hide_parameters=True,
                connect_args={"timeout": LOCK_SECONDS} if self._sqlite else {},
            )
        except (exc.ArgumentError, ImportError) as error:
            raise BedsideError(
                f"no ledger can be opened with this URL: {error}", "give sqlite:///PATH, or install its driver"
            ) from error
        self._name = f"ledger {parsed.render_as_string(hide_password=True)}"
        self._file: Path | None = None
        if self._sqlite:
            if not parsed.database or parsed.database.startswith((":memory:", "file:")):
                raise BedsideError(f"{self._name} is not a file that lasts", "give sqlite:///PATH")
            self._file = Path(parsed.database)
            sa.event.listen(self._engine, "connect", _prepare_sqlite)

    def append(self, kind: str, body: Mapping[str, Any], key: SigningKey) -> Head:
        """Sign a JSON object and add it to the end; it is durable when this returns the new head.

        Raises BedsideError where the database cannot be written and IntegrityError where the last entry is damaged.
        """
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._connection() as connection:
            if self._sqlite:
                self._create(connection)
            elif not sa.inspect(connection).has_table(_TABLE.name):
                with making_tables(self._engine) as maker:
                    self._create(maker)
            for _ in range(ATTEMPTS):
                try:
                    head = self._head(connection)
                    fields = {
                        "format": FORMAT,
                        "index": head.length,
                        "previous": head.hash,
                        "kind": kind,
                        "time": time,
                        "body": dict(body),
                    }
                    row = _row(head.length, sign(ENTRY_PAYLOAD, canonical_json(fields), key))
                    connection.execute(sa.insert(_TABLE).values(row))
                except exc.IntegrityError:
                    continue  # another process has just taken this position
                return Head(head.length + 1, row["hash"])
        raise BedsideError(f"{self._name}: {ATTEMPTS} other appends came first", "run again when it is less busy")

    def head(self) -> Head:
        """The head as it stands, the last entry alone having been checked (`verify` checks them all)."""
        if self._absent():
            return Head(0, GENESIS)
        with self._connection() as connection:
            return self._head(connection)

    def entries(self, trusted: TrustedKeys = _NOBODY) -> Iterator[Entry]:
        """Every entry from the first, each checked against the chain and its signature before it is given.

        Raises IntegrityError, naming the index, at the first that is changed, missing or not of its place.
        """
        previous, index = GENESIS, 0
        while not self._absent():
            with self._connection() as connection:
                query = sa.select(_TABLE).order_by(_TABLE.c.position).limit(PAGE)
                # The first page has no lower bound, so that nothing hides below position 0.
                rows = self._rows(connection, query if index == 0 else query.where(_TABLE.c.position >= index))
            for row in rows:
                entry = self._entry(row, index, previous, trusted)
                yield entry
                previous, index = entry.hash, index + 1
            if len(rows) < PAGE:
                return

    def verify(self, expected: Head | None = None, trusted: TrustedKeys = _NOBODY) -> Checked:
        """Recompute the whole chain and every signature; `expected` is a head known from before.

        Raises IntegrityError with the index where the chain is broken, or where the known head is no longer in it.
        """
        head, unknown, known = Head(0, GENESIS), [], expected is None or expected == Head(0, GENESIS)
        for entry in self.entries(trusted):
            head = Head(entry.index + 1, entry.hash)
            known = known or head == expected
            if not entry.signer.trusted:
                unknown.append(entry.index)
        if expected is not None and not known:
            if head.length < expected.length:
                raise self._broken(head.length, f"is missing: {expected.length} entries are known to have been here")
            raise self._broken(expected.length - 1, "is not the one known from before: the chain was written anew")
        return Checked(head, tuple(unknown))

    def _absent(self) -> bool:
        # Asked before reading, because connecting to a SQLite file makes it.
        return self._file is not None and not self._file.exists()

    def _create(self, connection: sa.Connection) -> None:
        connection.execute(CreateTable(_TABLE, if_not_exists=True))
        for guard in _SQLITE_GUARDS if self._sqlite else []:
            connection.execute(sa.text(guard))

    def _head(self, connection: sa.Connection) -> Head:
        rows = self._rows(connection, sa.select(_TABLE).order_by(_TABLE.c.position.desc()).limit(1))
        if not rows:
            return Head(0, GENESIS)
        entry = self._entry(rows[0], rows[0].position, None, _NOBODY)
        return Head(entry.index + 1, entry.hash)

    def _rows(self, connection: sa.Connection, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        if not sa.inspect(connection).has_table(_TABLE.name):
            return []
        return list(connection.execute(query).all())

    def _entry(self, row: sa.Row[Any], index: int, previous: str | None, trusted: TrustedKeys) -> Entry:
        """The entry of a row; `previous` None leaves its link to the entry before unchecked."""
        if row.position != index or not isinstance(index, int):
            raise self._broken(index, f"is missing: position {row.position} follows")
        try:
            envelope = Envelope(
                ENTRY_PAYLOAD, row.body.encode(), bytes.fromhex(row.public_key), bytes.fromhex(row.signature)
            )
            signer = verify(envelope, trusted)
            fields = json.loads(envelope.payload)
            entry = Entry(index, fields["kind"], fields["time"], fields["body"], row.hash, signer)
            if not (isinstance(entry.kind, str) and isinstance(entry.time, str) and isinstance(entry.body, dict)):
                raise TypeError("kind, time and body must be text, text and an object")
            link = {"format": fields["format"], "index": fields["index"], "previous": fields["previous"]}
        except (IntegrityError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._broken(index, f"was changed: {error}") from error
        if dict(row._mapping) != _row(index, envelope):
            raise self._broken(index, "was changed: its hash is not that of its bytes")
        expected = {"format": FORMAT, "index": index, "previous": link["previous"] if previous is None else previous}
        if link != expected:
            raise self._broken(index, f"does not follow the one before it: {link} instead of {expected}")
        return entry

    def _broken(self, index: int, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self._name}: entry {index} {what}",
            "keep this file as evidence, restore the last backup that verifies, and find out who could write to it",
        )

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except exc.DBAPIError as error:
            raise self._failed(error) from error

    def _failed(self, error: exc.DBAPIError) -> BedsideError:
        """What a database error means to the user, and the way out."""
        what = f"{self._name}: {error.orig}"
        code = getattr(error.orig, "sqlite_errorcode", None)
        match None if code is None else code & 0xFF:  # the low byte is SQLite's primary result code
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return IntegrityError(what, "keep the damaged file and restore the last backup that verifies")
            case sqlite3.SQLITE_FULL:
                return BedsideError(what, "free some space on its disk and run again; nothing was half written")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return BedsideError(what, "another process holds it: wait for that one or stop it, then run again")
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return BedsideError(what, "make the file and its folder writable, or choose a workspace with --home")
            case sqlite3.SQLITE_IOERR:
                return BedsideError(
                    what, "check the disk (space, quota, mount) and run again; nothing was half written"
                )
        return BedsideError(
            what, "check that the database can be reached and that its user may create and write tables"
        )


def _row(index: int, envelope: Envelope) -> dict[str, Any]:
    return {
        "position": index,
        "body": envelope.payload.decode(),
        "public_key": envelope.public_key.hex(),
        "signature": envelope.signature.hex(),
        "hash": sha256_hex(envelope.to_bytes()),
    }


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # EXTRA is FULL with the folder synced too: an entry that was acknowledged survives the loss of power.
    connection.execute("PRAGMA synchronous = EXTRA")
    # Damaged text must reach the check of the chain, which names the entry, rather than fail in the driver.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
