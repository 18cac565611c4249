"""Workspace: the one folder where everything is kept — store, runs, releases, memo, ledger, keys, cache."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bedside.cohort.atomic import atomic_write, explained, make_folder
from bedside.cohort.store import Store
from bedside.errors import BedsideError

__all__ = ["Config", "Workspace", "atomic_write"]

FOLDERS = ("store", "runs", "releases", "keys", "quarantine", "cache")
_CACHES = {"NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib"}


@dataclass(frozen=True)
class Config:
    """What config.yaml may say: where store (fsspec URL), memo, ledger, the service's database and its jobs
    (SQLAlchemy URLs) lie; None: in the home."""

    store: str | None = None
    memo: str | None = None
    ledger: str | None = None
    service: str | None = None
    jobs: str | None = None

    @classmethod
    def read(cls, path: Path) -> Config:
        """The file, or the defaults when there is none; raises BedsideError for an unknown key or a value not text."""
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BedsideError(f"{path} cannot be read: {error}", "write it as YAML, `key: URL` a line") from error
        if data is None:
            return cls()
        known = ", ".join(cls.__dataclass_fields__)
        if not isinstance(data, dict):
            raise BedsideError(f"{path} is not a mapping", f"write `key: URL` lines; keys: {known}")
        for key, value in data.items():
            if key not in cls.__dataclass_fields__:
                raise BedsideError(f"{path}: unknown key '{key}'", f"keys: {known}")
            if not isinstance(value, str) or not value:
                raise BedsideError(f"{path}: '{key}' must be a URL", f"write {key}: <URL>, or leave it out")
        return cls(**data)


class Workspace:
    """An open workspace: the home and its folders exist (mode 0700) and may be written.

    The home is the argument, else BEDSIDE_HOME, else ./.bedside. A relative store path in config.yaml starts at the
    home. The caches of numba and matplotlib are led into `cache` unless the environment already leads them elsewhere.
    Raises BedsideError when the home cannot be made or written.
    """

    def __init__(self, home: Path | str | None = None) -> None:
        chosen = home if home is not None else os.environ.get("BEDSIDE_HOME") or ".bedside"
        self.home = Path(chosen).expanduser().absolute()
        with explained(self.home):
            for folder in (self.home, *(self.home / name for name in FOLDERS)):
                make_folder(folder)
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise BedsideError(
                f"the workspace {self.home} is read-only", "name a folder you may write with --home or BEDSIDE_HOME"
            )
        self.runs = self.home / "runs"
        self.releases = self.home / "releases"
        self.keys = self.home / "keys"
        self.quarantine = self.home / "quarantine"
        self.cache = self.home / "cache"
        self.config = Config.read(self.home / "config.yaml")
        self.memo_url = self.config.memo or f"sqlite:///{self.home / 'memo.sqlite'}"
        self.ledger_url = self.config.ledger or f"sqlite:///{self.home / 'ledger.sqlite'}"
        self.service_url = self.config.service or f"sqlite:///{self.home / 'service.sqlite'}"
        self.jobs_url = self.config.jobs or f"sqlite:///{self.home / 'jobs.sqlite'}"
        place = self.config.store or "store"
        self.store = Store(place if "://" in place else self.home / Path(place).expanduser())
        for variable, name in _CACHES.items():
            os.environ.setdefault(variable, str(self.cache / name))

    def __repr__(self) -> str:
        return f"Workspace({str(self.home)!r})"

    @contextmanager
    def lock(self, name: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold a named lock against every process (and thread) of this workspace; killed holders let go.

        `waiting(message)` is called once when somebody else holds it, before waiting. Not re-entrant.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
            raise BedsideError(f"'{name}' cannot name a lock", "use letters, digits, - and _")
        path = self.home / f".{name}.lock"
        with explained(path):
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
                    waiting(f"waiting for another process ({holder or 'starting'}) that holds '{name}' in {self.home}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)  # lets go
