"""The service's database by SQLAlchemy URL: one engine, and the tables that the other files declare in METADATA."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import exc

from bedside.cohort.databases import making_tables
from bedside.errors import BedsideError

METADATA = sa.MetaData()
LOCK_SECONDS = 30.0


class Database:
    """An open database with every table made; `sqlite:///PATH` or `postgresql+psycopg://…`.

    A transaction that has ended is durable (SQLite: write-ahead log, synced at each commit). Raises BedsideError where
    the URL names no database that can be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.sqlite = parsed.get_backend_name() == "sqlite"
            self.engine = sa.create_engine(
                parsed,
                hide_parameters=True,
                pool_pre_ping=not self.sqlite,
                connect_args={"timeout": LOCK_SECONDS} if self.sqlite else {},
            )
            if self.sqlite:
                sa.event.listen(self.engine, "connect", _prepare_sqlite)
            with making_tables(self.engine) as connection:
                METADATA.create_all(connection)
        except (exc.SQLAlchemyError, ImportError) as error:
            told = str(error).splitlines()[0]
            raise BedsideError(
                f"the service's database cannot be opened: {told}", "check `service` in the workspace's config.yaml"
            ) from None

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back on an error."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
