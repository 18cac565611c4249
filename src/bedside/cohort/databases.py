"""Databases by URL: what SQLite and PostgreSQL need alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

_MAKING_TABLES = 0x62656473  # the advisory lock of all who make tables of ours


@contextmanager
def making_tables(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which tables may be made if they do not exist: each statement is committed at once.

    On PostgreSQL one process at a time, since its IF NOT EXISTS does not see a table that another is about to commit.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = connection.dialect.name == "postgresql"
        if alone:
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MAKING_TABLES})
        try:
            yield connection
        finally:
            if alone:
                connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _MAKING_TABLES})
