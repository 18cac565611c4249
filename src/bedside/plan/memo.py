"""The memo: the only truth of "done". An action is memoised by the digest of all that its result depends on.

A row is written, durably, only after everything it names lies durably in the store; so a killed run resumes at its
first unfinished action, and nothing is half there. `attempts` keeps what was started and finished, for the eye.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from bedside.cohort.digest import canonical_json, json_digest
from bedside.errors import BedsideError
from bedside.plan.provenance import layer_digest, plugin_digest, versions

_tables = sa.MetaData()
_memo = sa.Table(
    "memo",
    _tables,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("output", sa.LargeBinary, nullable=False),
    sa.Column("tainted", sa.Boolean, nullable=False, default=False),
)
_attempts = sa.Table(
    "attempts",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("finished", sa.Float, nullable=True),
)


@dataclass(frozen=True)
class Done:
    """An action's output (JSON: digests and small values), and whether it was remembered."""

    output: dict[str, Any]
    cached: bool
    seconds: float


class Memo:
    """Remembers outputs of actions in a database (SQLite or PostgreSQL by URL)."""

    def __init__(self, url: str, lock: Callable[[str], AbstractContextManager[Any]], threads: int) -> None:
        self._lock = lock
        self._threads = threads
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _durable)
        try:
            with self._engine.begin() as connection:
                for table in _tables.sorted_tables:
                    connection.execute(CreateTable(table, if_not_exists=True))
        except sa.exc.SQLAlchemyError as error:
            raise _unwritable(error) from None

    def do(
        self,
        action: str,
        layer: str,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        label: str = "",
    ) -> Done:
        """The output of an action: remembered, or worked out now and remembered.

        Two processes that want the same action wait for one another, so that it is done once.
        """
        key = self.key(action, layer, parameters, inputs)
        started = time.monotonic()
        found = self.get(key)
        if found is not None:
            return Done(found, True, time.monotonic() - started)
        with self._lock(f"action-{key[:2]}"):
            found = self.get(key)
            if found is not None:
                return Done(found, True, time.monotonic() - started)
            try:
                attempt = self._start(key, label or action)
                output = work()
                self._finish(key, action, output, attempt)
            except sa.exc.SQLAlchemyError as error:
                raise _unwritable(error) from None
        return Done(output, False, time.monotonic() - started)

    def key(self, action: str, layer: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
        """The digest of everything the result depends on."""
        return json_digest(
            {
                "format": 1,
                "action": action,
                "parameters": dict(parameters),
                "inputs": dict(inputs),
                "source": layer_digest(layer),
                "plugins": plugin_digest(),
                "versions": versions(),
                "threads": self._threads,
            }
        )

    def get(self, key: str) -> dict[str, Any] | None:
        """The remembered output of a key, or None."""
        import json

        with self._engine.connect() as connection:
            row = connection.execute(
                sa.select(_memo.c.output).where(_memo.c.key == key, _memo.c.tainted.is_(False))
            ).first()
        return None if row is None else json.loads(row[0])

    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt in order: key, label, started, finished (None while running or when it was cut off)."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_attempts).order_by(_attempts.c.id)).mappings().all()
        return [dict(row) for row in rows]

    def taint(self, digests: set[str]) -> int:
        """Forget every remembered output that names one of these digests; returns how many rows."""
        count = 0
        with self._engine.begin() as connection:
            for key, output in connection.execute(sa.select(_memo.c.key, _memo.c.output)).all():
                if any(digest.encode() in output for digest in digests):
                    connection.execute(_memo.update().where(_memo.c.key == key).values(tainted=True, output=b"{}"))
                    count += 1
        return count

    def _start(self, key: str, label: str) -> int:
        with self._engine.begin() as connection:
            new = _attempts.insert().values(key=key, label=label[:200], started=time.time())
            return int(connection.execute(new.returning(_attempts.c.id)).scalar_one())

    def _finish(self, key: str, action: str, output: dict[str, Any], attempt: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(_memo.delete().where(_memo.c.key == key))
            connection.execute(
                _memo.insert().values(key=key, action=action, output=canonical_json(output), tainted=False)
            )
            connection.execute(_attempts.update().where(_attempts.c.id == attempt).values(finished=time.time()))


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()


def _unwritable(error: Exception) -> BedsideError:
    return BedsideError(
        f"the workspace's memo cannot be written: {getattr(error, 'orig', error)}",
        "is the disk full or the workspace read-only? free space, or choose another with --home",
    )
