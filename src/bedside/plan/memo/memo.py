"""The memo: the only truth of "done". An action is memoised by the digest of all that its result depends on.

A row is written, durably, only after everything it names lies durably in the store; so a killed run resumes at its
first unfinished action, and nothing is half there. `attempts` keeps what was started and finished, for the eye.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from bedside.cohort.databases import making_tables
from bedside.cohort.digest import canonical_json, json_digest
from bedside.errors import BedsideError
from bedside.plan.memo.provenance import layer_digest, plugin_digest, versions

_tables = sa.MetaData()
_memo = sa.Table(
    "memo",
    _tables,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("output", sa.LargeBinary, nullable=False),
    sa.Column("tainted", sa.Boolean, nullable=False, default=False),
)
# What an action's inputs name, so that all that was derived from an erased cohort can be found.
_needs = sa.Table(
    "needs",
    _tables,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("digests", sa.LargeBinary, nullable=False),
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


# Under these names an output holds data or what was learnt from it; evidence and pages are counts and estimates.
KEPT = ("cohort", "split", "pipeline", "predictions", "folder")
FILES = ("sources", "extra")  # inputs that lie outside the store
_DIGEST = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True)
class Derived:
    """The keys of the actions that rest on something; the digests that only they keep; those that others keep."""

    keys: frozenset[str]
    gone: frozenset[str]
    live: frozenset[str]


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
            with making_tables(self._engine) as connection:
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
            except sa.exc.SQLAlchemyError as error:
                raise _unwritable(error) from None
            output = work()
            try:
                self._finish(key, action, inputs, output, attempt)
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

    def derived(self, digests: Iterable[str]) -> Derived:
        """What rests on these digests, directly or through other actions."""
        query = sa.select(_memo.c.key, _memo.c.output, _needs.c.digests).where(_memo.c.tainted.is_(False))
        with self._engine.connect() as connection:
            rows = connection.execute(query.join(_needs, _memo.c.key == _needs.c.key, isouter=True)).all()
        needed = {key: _digests_in(needs or b"") for key, _, needs in rows}
        kept = {key: _kept(json.loads(output)) for key, output, _ in rows}
        reached, keys = set(digests), set[str]()
        new = {key for key, output, _ in rows if _digests_in(output) & reached}
        while new := (new | {key for key, names in needed.items() if names & reached}) - keys:
            keys |= new
            reached |= {digest for key in new for digest in kept[key]}
        gone, live = ({digest for key in some for digest in kept[key]} for some in (keys, set(kept) - keys))
        return Derived(frozenset(keys), frozenset(gone - live), frozenset(live))

    def taint(self, keys: Iterable[str]) -> int:
        """Forget these remembered outputs; returns how many there were."""
        with self._engine.begin() as connection:
            for key in (several := sorted(keys)):
                connection.execute(_memo.update().where(_memo.c.key == key).values(tainted=True, output=b"{}"))
        return len(several)

    def _start(self, key: str, label: str) -> int:
        with self._engine.begin() as connection:
            new = _attempts.insert().values(key=key, label=label[:200], started=time.time())
            return int(connection.execute(new.returning(_attempts.c.id)).scalar_one())

    def _finish(self, key: str, action: str, inputs: Mapping[str, Any], output: dict[str, Any], attempt: int) -> None:
        needed = {name: value for name, value in inputs.items() if name not in FILES}
        with self._engine.begin() as connection:
            connection.execute(_memo.delete().where(_memo.c.key == key))
            connection.execute(_needs.delete().where(_needs.c.key == key))
            connection.execute(_needs.insert().values(key=key, digests=canonical_json(needed)))
            connection.execute(
                _memo.insert().values(key=key, action=action, output=canonical_json(output), tainted=False)
            )
            connection.execute(_attempts.update().where(_attempts.c.id == attempt).values(finished=time.time()))


def _kept(output: Mapping[str, Any]) -> set[str]:
    return _digests_in(canonical_json({name: output[name] for name in KEPT if name in output}))


def _digests_in(data: bytes) -> set[str]:
    return {found.decode() for found in _DIGEST.findall(data)}


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
