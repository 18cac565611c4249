"""The registry: which releases of the workspace are served, at which stage, and which of a name's is the champion.

A release is served when its signer is trusted here, every digest is right, `bedside verify` finds nothing wrong (asked
once for each release, in a process of its own), and what is loaded answers the golden rows as the release says. Who
is champion or challenger of a name is what the signed ledger last said; a rollback is one more entry.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from bedside import __version__
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError
from bedside.evidence.gates import STAGES, Stage
from bedside.evidence.keys import SigningKey, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.plan.release.approvals import stage_now
from bedside.plan.release.opened import Opened, open_release
from bedside.serve.database import METADATA, Database
from bedside.serve.problems import NotThere
from bedside.serve.served import Served, load_served

ALIASES = ("champion", "challenger")
VERIFY_SECONDS = 600
log = logging.getLogger(__name__)

TABLE = sa.Table(
    "verified",
    METADATA,
    sa.Column("release", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(40), primary_key=True),
    sa.Column("ok", sa.Boolean, nullable=False),
)


@dataclass(frozen=True)
class Refused:
    """A folder that is not served, and why."""

    name: str
    why: str
    way_out: str = ""


@dataclass(frozen=True)
class Change:
    """One entry of the ledger about a release of a name: released, approved to a stage, or made champion."""

    kind: str
    time: str
    release: str
    body: Mapping[str, Any]
    signer: str
    trusted: bool


@dataclass(frozen=True)
class State:
    """What is served at one moment: releases by digest, those refused, aliases, and the history of each name."""

    served: Mapping[str, Served] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    history: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names under which something is served, sorted."""
        return tuple(sorted({each.name for each in self.served.values()}))

    def of(self, name: str) -> list[Served]:
        """The releases of a name in the order they were made."""
        order = [change.release for change in self.history.get(name, ()) if change.kind == "release"]
        mine = [each for each in self.served.values() if each.name == name]
        return sorted(mine, key=lambda each: order.index(each.digest) if each.digest in order else len(order))

    def champion(self, name: str) -> Served | None:
        """The one a caller gets by name: as the ledger says, else the first made at the highest stage."""
        chosen = self.served.get(self.aliases.get((name, "champion"), ""))
        if chosen is not None:
            return chosen
        mine = self.of(name)
        return max(mine, key=lambda each: STAGES.index(each.stage), default=None)

    def challenger(self, name: str) -> Served | None:
        """The one that answers beside the champion without being shown, or None."""
        return self.served.get(self.aliases.get((name, "challenger"), ""))

    def find(self, reference: str) -> Served:
        """By name, `name@challenger`, or digest (12 or more digits); raises NotThere naming what there is."""
        name, _, alias = reference.partition("@")
        if alias in ("", "champion") and name in self.names:
            found = self.champion(name)
        elif alias == "challenger":
            found = self.challenger(name)
        else:
            matching = [each for key, each in self.served.items() if len(name) >= 12 and key.startswith(name)]
            found = matching[0] if len(matching) == 1 and not alias else None
        if found is None:
            there = ", ".join(self.names) or "nothing yet: `bedside run` a plan with a release"
            raise NotThere("no release of that name or digest is served", f"there is: {there}")
        return found


class Registry:
    """The served releases of a workspace; `refresh` looks again, `state` is what it saw last."""

    def __init__(self, workspace: Workspace, database: Database, key: SigningKey) -> None:
        self.workspace, self.database, self.key = workspace, database, key
        self.state = State()
        self._lock = threading.Lock()
        self._loaded: dict[str, Served] = {}
        self._seen: Any = None

    def refresh(self) -> State:
        """Look at releases, approvals, keys and ledger, and load what is new; cheap where nothing has changed."""
        with self._lock:
            marks = self._marks()
            if marks != self._seen:
                self.state = self._look()
                self._seen = marks
            return self.state

    def _marks(self) -> Any:
        """What changes when anything that matters does: times and sizes of folders, the ledger's head."""
        home = self.workspace
        watched = [home.keys / "trusted", *sorted(home.releases.iterdir())]
        watched += [each / "approvals" for each in watched[1:]]
        times = [(str(path), path.stat().st_mtime_ns) for path in watched if path.exists()]
        return times, Ledger(home.ledger_url).head()

    def _look(self) -> State:
        trusted = trusted_keys(self.workspace.keys)
        served: dict[str, Served] = {}
        refused = []
        for folder in sorted(each for each in self.workspace.releases.iterdir() if each.is_dir()):
            try:
                opened = open_release(folder, trusted)
                if not opened.signer.trusted:
                    raise BedsideError(
                        f"its signer ({opened.signer.key_id[:12]}) is not trusted here",
                        "put the signer's public key into keys/trusted of the workspace",
                    )
                if not self._verified(opened):
                    raise BedsideError("`bedside verify` finds it wrong", "run `bedside verify` on its folder")
                served[opened.digest] = self._load(opened, stage_now(opened, trusted))
            except BedsideError as error:
                log.warning("not served", extra={"folder": folder.name, "why": error.what})
                refused.append(Refused(folder.name, error.what, error.way_out))
        self._loaded = dict(served)
        history, aliases = self._history(trusted)
        return State(MappingProxyType(served), tuple(refused), aliases, history)

    def _load(self, opened: Opened, stage: Stage) -> Served:
        known = self._loaded.get(opened.digest)
        return load_served(opened, stage) if known is None else known.at(stage)

    def _verified(self, opened: Opened) -> bool:
        """Whether `bedside verify` finds nothing wrong. It loads whatever the model needs, so it has its own process;
        the answer is remembered for this digest and this version."""
        key = {"release": opened.digest, "version": __version__}
        with self.database.begin() as connection:
            known = connection.execute(sa.select(TABLE.c.ok).filter_by(**key)).scalar_one_or_none()
        if known is not None:
            return bool(known)
        command = [sys.executable, "-m", "bedside", "verify", str(opened.folder), "--home", str(self.workspace.home)]
        done = subprocess.run(command, capture_output=True, timeout=VERIFY_SECONDS, check=False)  # noqa: S603
        ok = done.returncode == 0
        with self.database.begin() as connection:
            connection.execute(sa.insert(TABLE).values(**key, ok=ok))
        return ok

    def _history(
        self, trusted: Mapping[str, str]
    ) -> tuple[Mapping[str, tuple[Change, ...]], Mapping[tuple[str, str], str]]:
        """What the ledger says of each name, and the aliases in force; only entries of trusted signers count."""
        names: dict[str, str] = {}
        history: dict[str, list[Change]] = {}
        aliases: dict[tuple[str, str], str] = {}
        for entry in Ledger(self.workspace.ledger_url).entries(trusted):
            release = str(entry.body.get("release", ""))
            if entry.kind == "release":
                names[release] = str(entry.body["name"])
            name = str(entry.body.get("model", names.get(release, "")))
            if entry.kind not in ("release", "approve", "alias") or not name:
                continue
            history.setdefault(name, []).append(
                Change(entry.kind, entry.time, release, entry.body, entry.signer.name, entry.signer.trusted)
            )
            if entry.kind == "alias" and entry.signer.trusted:
                aliases[name, str(entry.body["alias"])] = release
        return {name: tuple(changes) for name, changes in history.items()}, aliases

    def set_alias(self, name: str, alias: str, digest: str, *, account: str, reason: str) -> State:
        """Enter in the ledger which release of a name is champion or challenger ("" for none, challenger only).

        Raises DataError for a release that is not served under that name, or without a reason.
        """
        if alias not in ALIASES:
            raise DataError(f"no alias is called '{alias}'", "one of " + ", ".join(ALIASES))
        if len(reason.strip()) < 10:
            raise DataError("the change has no real reason", "say in a sentence why")
        there = self.refresh()
        if not (digest == "" and alias == "challenger"):
            found = there.served.get(digest)
            if found is None or found.name != name:
                raise DataError("that release is not served under this name", "choose one of its releases")
        body = {"model": name, "alias": alias, "release": digest, "account": account, "reason": reason}
        Ledger(self.workspace.ledger_url).append("alias", body, self.key)
        return self.refresh()

    def roll_back(self, name: str, *, account: str, reason: str) -> State:
        """Make the champion before this one champion again; raises DataError where there was none."""
        there = self.refresh()
        now = there.champion(name)
        before = [c.release for c in there.history.get(name, ()) if c.kind == "alias" and c.body["alias"] == "champion"]
        first = there.of(name)
        candidates = [*before[::-1], *(each.digest for each in first)]
        earlier = [each for each in candidates if each in there.served and (now is None or each != now.digest)]
        if not earlier:
            raise DataError(f"'{name}' has no other release to go back to", "run its plan again")
        return self.set_alias(name, "champion", earlier[0], account=account, reason=reason)
