"""Who is signed in: a one-time start token exchanged for a session, kept under the hash of its cookie."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from bedside.serve.access import ROLES
from bedside.serve.database import METADATA, Database

LOCAL_ACCOUNT = "local"
MOST_CACHED = 10_000

TABLE = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(100), nullable=False),
    sa.Column("roles", sa.String(200), nullable=False),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Session:
    """A signed-in account: its roles, the token its forms must carry, and when it ends (seconds since 1970)."""

    id: str
    account: str
    roles: frozenset[str]
    csrf: str
    expires: float


class Sessions:
    """The sessions of a database. `start_token` is worth one session of the local account with every role."""

    def __init__(self, database: Database, hours: float) -> None:
        self._database, self._length = database, timedelta(hours=hours)
        self._lock = threading.Lock()
        self._known: dict[str, Session] = {}
        self.start_token = secrets.token_urlsafe(32)
        self._unused: str | None = hashed(self.start_token)
        with database.begin() as connection:
            connection.execute(sa.delete(TABLE).where(TABLE.c.expires < _now()))

    def start(self, token: str) -> tuple[str, Session] | None:
        """The cookie's value and session for the start token, once; None for any other and ever after."""
        with self._lock:
            if self._unused is None or not hmac.compare_digest(self._unused, hashed(token)):
                return None
            self._unused = None
        return self.open(LOCAL_ACCOUNT, ROLES)

    def open(self, account: str, roles: Iterable[str]) -> tuple[str, Session]:
        """A new session; its secret stands in the cookie only."""
        cookie = secrets.token_urlsafe(32)
        expires = _now() + self._length.total_seconds()
        session = Session(hashed(cookie), account, frozenset(roles), secrets.token_urlsafe(24), expires)
        row = {**vars(session), "roles": " ".join(sorted(session.roles))}
        with self._database.begin() as connection:
            connection.execute(sa.insert(TABLE).values(row))
        self._remember(session)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, or None when there is none or it has ended."""
        key = hashed(cookie)
        session = self._known.get(key)
        if session is None:
            with self._database.begin() as connection:
                row = connection.execute(sa.select(TABLE).where(TABLE.c.id == key)).one_or_none()
            if row is None:
                return None
            session = Session(row.id, row.account, frozenset(row.roles.split()), row.csrf, row.expires)
            self._remember(session)
        return session if session.expires > _now() else None

    def end(self, session: Session) -> None:
        """Sign out."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(TABLE).where(TABLE.c.id == session.id))
        with self._lock:
            self._known.pop(session.id, None)

    def end_all(self, account: str) -> None:
        """End every session of an account: its roles or password have changed."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(TABLE).where(TABLE.c.account == account))
        with self._lock:
            self._known = {key: each for key, each in self._known.items() if each.account != account}

    def _remember(self, session: Session) -> None:
        with self._lock:
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            self._known[session.id] = session


def hashed(secret: str) -> str:
    """SHA-256 of a secret: what is stored of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> float:
    return datetime.now(UTC).timestamp()
