"""Local accounts: a name, roles, a password kept as Argon2id (RFC 9106), and bearer tokens for programs.

Guessing is slowed: after five wrong passwords for a name, or from an address, each further one doubles a wait of up to
fifteen minutes. A name that does not exist takes as long to refuse as one that does.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from bedside.errors import DataError, MissingExtra
from bedside.serve.access import ROLES
from bedside.serve.database import METADATA, Database
from bedside.serve.problems import NotThere, TooMany
from bedside.serve.sessions import LOCAL_ACCOUNT, Session, hashed

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
SHORTEST, LONGEST = 12, 200
FREE_TRIES = 5
LONGEST_WAIT = 900.0
MOST_REMEMBERED = 10_000
TOKEN_DAYS = 365

ACCOUNTS = sa.Table(
    "accounts",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("password", sa.String(200), nullable=False),
    sa.Column("roles", sa.String(200), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
)
TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("label", sa.String(100), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Account:
    """Who may sign in, as what."""

    name: str
    roles: frozenset[str]
    enabled: bool


class Accounts:
    """The accounts of a database."""

    def __init__(self, database: Database) -> None:
        try:
            from argon2 import PasswordHasher
        except ImportError:
            raise MissingExtra("serve", "local accounts") from None
        self._database = database
        self._hasher = PasswordHasher()
        self._decoy = self._hasher.hash(secrets.token_urlsafe(16))
        self._slow = _Slow()

    def add(self, name: str, password: str, roles: Iterable[str]) -> Account:
        """A new account; raises DataError for a bad name, a weak password, an unknown role, or a name that is taken."""
        if NAME.fullmatch(name) is None or name == LOCAL_ACCOUNT:
            raise DataError("that cannot name an account", "use small letters, digits and . _ @ -, up to 64")
        made = Account(name, _checked(roles), True)
        row = {"name": name, "password": self._hash(password), "roles": " ".join(sorted(made.roles)), "enabled": True}
        try:
            with self._database.begin() as connection:
                connection.execute(sa.insert(ACCOUNTS).values(row))
        except exc.IntegrityError:
            raise DataError("an account of that name is there already", "choose another, or change that one") from None
        return made

    def change(
        self, name: str, *, password: str | None = None, roles: Iterable[str] | None = None, enabled: bool | None = None
    ) -> Account:
        """What is given changes; raises NotThere for an unknown name. Sessions of old must be ended by the caller."""
        values: dict[str, Any] = {}
        if password is not None:
            values["password"] = self._hash(password)
        if roles is not None:
            values["roles"] = " ".join(sorted(_checked(roles)))
        if enabled is not None:
            values["enabled"] = enabled
        with self._database.begin() as connection:
            if values:
                connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.name == name).values(values))
            if enabled is False:
                connection.execute(sa.delete(TOKENS).where(TOKENS.c.account == name))
        return self.get(name)

    def get(self, name: str) -> Account:
        """An account by name; raises NotThere."""
        with self._database.begin() as connection:
            row = connection.execute(sa.select(ACCOUNTS).where(ACCOUNTS.c.name == name)).one_or_none()
        if row is None:
            raise NotThere("there is no account of that name", "an administrator can add one")
        return _account(row)

    def all(self) -> list[Account]:
        """Every account by name."""
        with self._database.begin() as connection:
            return [_account(row) for row in connection.execute(sa.select(ACCOUNTS).order_by(ACCOUNTS.c.name))]

    def check(self, name: str, password: str, address: str) -> Account | None:
        """The account of a right password, else None; raises TooMany while somebody guesses.

        Takes a tenth of a second and 64 MiB: not for the event loop.
        """
        from argon2.exceptions import VerificationError

        keys = (f"name {name[:64]}", f"address {address}")
        self._slow.refuse(keys)
        with self._database.begin() as connection:
            row = connection.execute(sa.select(ACCOUNTS).where(ACCOUNTS.c.name == name)).one_or_none()
        try:
            self._hasher.verify(self._decoy if row is None else row.password, password[:LONGEST])
            right = row is not None and row.enabled
        except VerificationError:
            right = False
        if not right or row is None:
            self._slow.failed(keys)
            return None
        self._slow.forget(keys[0])
        return _account(row)

    def issue_token(self, name: str, label: str) -> str:
        """A bearer token for a program, good for a year; shown once. Raises NotThere for an unknown account."""
        self.get(name)
        token = "bedside_" + secrets.token_urlsafe(32)
        row = {"id": hashed(token), "account": name, "label": label[:100], "expires": time.time() + TOKEN_DAYS * 86400}
        with self._database.begin() as connection:
            connection.execute(sa.insert(TOKENS).values(row))
        return token

    def of_token(self, token: str) -> Session | None:
        """The session of a bearer token, or None when it opens nothing."""
        query = (
            sa.select(TOKENS.c.id, TOKENS.c.expires, ACCOUNTS.c.name, ACCOUNTS.c.roles)
            .join(ACCOUNTS, ACCOUNTS.c.name == TOKENS.c.account)
            .where(TOKENS.c.id == hashed(token), TOKENS.c.expires > time.time(), ACCOUNTS.c.enabled)
        )
        with self._database.begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Session(row.id, row.name, frozenset(row.roles.split()), "", row.expires)

    def _hash(self, password: str) -> str:
        if not SHORTEST <= len(password) <= LONGEST:
            raise DataError(f"a password has {SHORTEST} to {LONGEST} characters", "a few words make a good one")
        return self._hasher.hash(password)


class _Slow:
    """Wrong guesses by key, and until when the next must wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[str, tuple[int, float]] = {}

    def refuse(self, keys: Iterable[str]) -> None:
        """Raise TooMany while one of the keys must wait."""
        now = time.monotonic()
        with self._lock:
            wait = max((self._wrong[key][1] - now for key in keys if key in self._wrong), default=0.0)
        if wait > 0:
            raise TooMany(int(wait) + 1)

    def failed(self, keys: Iterable[str]) -> None:
        """Count a wrong guess."""
        now = time.monotonic()
        with self._lock:
            if len(self._wrong) > MOST_REMEMBERED:
                self._wrong = {key: (n, until) for key, (n, until) in self._wrong.items() if until > now}
            for key in keys:
                n = self._wrong.get(key, (0, 0.0))[0] + 1
                wait = min(LONGEST_WAIT, 2.0 ** (n - FREE_TRIES)) if n >= FREE_TRIES else 0.0
                self._wrong[key] = (n, now + wait)

    def forget(self, key: str) -> None:
        """A right password clears the name; the address stays counted."""
        with self._lock:
            self._wrong.pop(key, None)


def _checked(roles: Iterable[str]) -> frozenset[str]:
    found = frozenset(roles)
    if not found or not found <= set(ROLES):
        raise DataError("an account has one role or more", "of " + ", ".join(ROLES))
    return found


def _account(row: sa.Row[Any]) -> Account:
    return Account(row.name, frozenset(row.roles.split()), bool(row.enabled))
