"""Doctor: is this installation, and this workspace, in a state to be trusted? Every item with its way out.

Nothing of the workspace is changed but what the store mends by itself: files that killed writers left are removed and
an interrupted erasure is finished. Where there is no workspace yet, none is made.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bedside.cohort import plugins
from bedside.errors import BedsideError

if TYPE_CHECKING:
    from bedside.cohort.workspace import Workspace

Result = Literal["ok", "fail", "unknown"]

EXTRAS = {
    "excel": "reading Excel workbooks",
    "ebm": "the model ebm (explainable boosting machine)",
    "explain": "SHAP explanations",
    "tune": "hyper-parameter search",
    "imaging": "images: reading PNG, JPEG, TIFF and DICOM, and training networks",
    "dicom": "DICOM objects: reading every transfer syntax, de-identifying them",
    "onnx": "answers of a network without torch (ONNX Runtime)",
    "pandas": "cohorts from pandas data frames",
    "serve": "the clinical node: inference, access, audit over HTTP",
    "postgres": "memo and ledger in PostgreSQL (config.yaml)",
}
LOADED = ("polars", "scipy.stats", "sklearn", "skops", "lightgbm")  # libraries with native code that may lack a part
LEAST_DISK = 200 << 20
LITTLE_DISK = 2 << 30
LITTLE_MEMORY = 1 << 30


@dataclass(frozen=True)
class Item:
    """One thing looked at: `ok`, `fail`, or `unknown` (it works, but see the detail); and the way out, if any."""

    part: str
    name: str
    result: Result
    detail: str
    way_out: str = ""


def examine(home: Path | str | None = None, *, deep: bool = False) -> list[Item]:
    """Look at everything; `deep` reads every object of the store and verifies its digest."""
    return [*installation(), *plug_ins(), *machine(home), *workspace_items(home, deep=deep)]


def healthy(items: list[Item]) -> bool:
    """Whether nothing failed."""
    return all(item.result != "fail" for item in items)


# -- what is installed ------------------------------------------------------------------------------------------------


def installation() -> list[Item]:
    """Python, bedside, its dependencies against their ranges, its extras, and whether native libraries load."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    about = metadata("bedside")
    wanted = SpecifierSet(about["Requires-Python"] or "")
    fits = platform.python_version() in wanted
    items = [
        Item(
            "installation",
            "Python",
            "ok" if fits else "fail",
            f"{platform.python_version()} (needs {wanted})",
            "" if fits else "make a virtual environment with a newer Python",
        ),
        Item("installation", "bedside", "ok", version("bedside")),
    ]
    needed = [Requirement(text) for text in requires("bedside") or []]
    items += [_dependency(each) for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for extra in about.get_all("Provides-Extra") or []:
        own = [each for each in needed if each.marker is not None and each.marker.evaluate({"extra": extra})]
        if extra in EXTRAS:
            items.append(_extra(extra, own))
    items += [_loads(name) for name in LOADED]
    return items


def _dependency(requirement: Any) -> Item:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Item("installation", requirement.name, "fail", "not installed", f"pip install '{requirement}'")
    text = f"{found} (needs {requirement.specifier})" if requirement.specifier else found
    if requirement.specifier.contains(found, prereleases=True):
        return Item("installation", requirement.name, "ok", text)
    return Item("installation", requirement.name, "fail", text, f"pip install '{requirement}'")


def _extra(extra: str, own: list[Any]) -> Item:
    items = [_dependency(each) for each in own]
    name, use = f"extra {extra}", EXTRAS[extra]
    missing = [item.name for item in items if item.detail == "not installed"]
    if missing:
        return Item("installation", name, "unknown", f"not installed: for {use}", f"pip install 'bedside[{extra}]'")
    wrong = [item for item in items if item.result == "fail"]
    told = ", ".join(f"{item.name} {item.detail}" for item in wrong or items)
    way_out = f"pip install --upgrade 'bedside[{extra}]'" if wrong else ""
    return Item("installation", name, "fail" if wrong else "ok", f"{told}: for {use}", way_out)


def _loads(name: str) -> Item:
    import importlib

    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        lacks = re.search(r"(lib[\w.+-]+\.so[\w.]*)", str(error))
        way_out = f"the system lacks {lacks[1]}; on Debian: apt-get install libgomp1" if lacks else ""
        return Item("installation", f"{name} loads", "fail", str(error).splitlines()[0], way_out or "install it again")
    return Item("installation", f"{name} loads", "ok", "")


def plug_ins() -> list[Item]:
    """The glossary, and every entry point of every group: all that load in one line, each that does not in its own."""
    items = []
    for group in plugins.GROUPS:
        try:
            known = plugins.catalogue(group)
        except BedsideError as error:
            items.append(Item("plug-ins", group, "fail", error.what, error.way_out))
            continue
        broken = 0
        for name, point in known.items():
            try:
                point.load()
            except Exception as error:  # whatever somebody's plug-in raises while it is imported
                broken += 1
                owner = "bedside" if point.dist is None else point.dist.name
                what = f"{type(error).__name__}: {error}"
                way_out = f"install {owner} again, or uninstall it"
                items.append(Item("plug-ins", f"{group}: {name}", "fail", what, way_out))
        items.append(Item("plug-ins", group, "ok", f"{len(known) - broken} of {len(known)} load"))
    from bedside.evidence import glossary

    try:
        count = len(glossary.terms())
    except (BedsideError, OSError) as error:
        items.append(_failed("plug-ins", "glossary", error))
    else:
        items.append(Item("plug-ins", "glossary", "ok", f"{count} terms, English and Chinese"))
    return items


# -- the machine ------------------------------------------------------------------------------------------------------


def machine(home: Path | str | None) -> list[Item]:
    """Threads, memory, and disk space where the workspace is, or would be."""
    from bedside.intake.memory import available_bytes

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = available_bytes()
    items = [Item("machine", "threads", "ok", f"{usable} of {os.cpu_count()} (recorded in every run)")]
    if free == sys.maxsize:
        items.append(Item("machine", "memory", "unknown", "this system does not say how much is free"))
    else:
        little = free < LITTLE_MEMORY
        way_out = "a table needs about its own size a few times over: close other programs" if little else ""
        items.append(Item("machine", "memory", "unknown" if little else "ok", f"{_gib(free)} free", way_out))
    place = _standing(_home(home))
    there = shutil.disk_usage(place).free
    result: Result = "fail" if there < LEAST_DISK else "unknown" if there < LITTLE_DISK else "ok"
    way_out = "" if result == "ok" else "free some space, or put the workspace elsewhere with --home"
    items.append(Item("machine", "disk", result, f"{_gib(there)} free at {place}", way_out))
    return items


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _home(home: Path | str | None) -> Path:
    chosen = home if home is not None else os.environ.get("BEDSIDE_HOME") or ".bedside"
    return Path(chosen).expanduser().absolute()


def _standing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


# -- the workspace ----------------------------------------------------------------------------------------------------


def workspace_items(home: Path | str | None, *, deep: bool = False) -> list[Item]:
    """Rights of the workspace's folder, its memo, keys, ledger and store; one item where there is no workspace yet."""
    from bedside.cohort.workspace import Workspace

    place = _home(home)
    if not place.exists():
        parent = _standing(place)
        if os.access(parent, os.W_OK | os.X_OK):
            return [Item("workspace", "folder", "unknown", f"{place}: none yet; the first run makes it")]
        way_out = "name a folder you may write with --home or BEDSIDE_HOME"
        return [Item("workspace", "folder", "fail", f"{place}: none yet, and {parent} is read-only", way_out)]
    items = [_rights(place)]
    try:
        workspace = Workspace(place)
    except BedsideError as error:
        return [*items, _failed("workspace", "folder", error)]
    looks = {"memo": _memo, "keys": _keys, "ledger": _ledger, "store": _store}
    if deep:
        looks["objects"] = _objects
    for name, look in looks.items():
        items += _looked(name, look, workspace)
    return items


def _looked(name: str, look: Callable[[Workspace], Iterator[Item]], workspace: Workspace) -> list[Item]:
    made: list[Item] = []
    try:
        made.extend(look(workspace))
    except (BedsideError, OSError) as error:
        made.append(_failed("workspace", name, error))
    return made


def _failed(part: str, name: str, error: Exception) -> Item:
    if isinstance(error, BedsideError):
        return Item(part, name, "fail", error.what, error.way_out)
    return Item(part, name, "fail", f"{type(error).__name__}: {error}", "check the disk and the rights of the folder")


def _rights(place: Path) -> Item:
    if not place.is_dir():
        return Item("workspace", "folder", "fail", f"{place} is not a folder", "name another with --home")
    state = place.stat()
    mode = state.st_mode & 0o777
    if hasattr(os, "geteuid") and state.st_uid != os.geteuid():
        way_out = "use a workspace of your own: whoever owns the folder can change what is in it"
        return Item("workspace", "folder", "fail", f"{place} belongs to another user (uid {state.st_uid})", way_out)
    if mode & 0o077:
        way_out = f"chmod 700 {place}"
        return Item("workspace", "folder", "fail", f"{place} is open to others (mode {mode:04o})", way_out)
    return Item("workspace", "folder", "ok", f"{place}, mode {mode:04o}")


def _memo(workspace: Workspace) -> Iterator[Item]:
    import sqlalchemy as sa

    from bedside.plan.memo.memo import Memo

    if workspace.memo_url == f"sqlite:///{workspace.home / 'memo.sqlite'}":
        if not (workspace.home / "memo.sqlite").exists():
            yield Item("workspace", "memo", "ok", "empty: nothing has run yet")
            return
        problem = _damage(workspace.memo_url)
        if problem is not None:
            way_out = "move memo.sqlite away: it is a memory of what is done, and the next run makes it anew"
            yield Item("workspace", "memo", "fail", problem, way_out)
            return
    try:
        attempts = Memo(workspace.memo_url, workspace.lock, 1).attempts()
    except sa.exc.SQLAlchemyError as error:
        what = str(getattr(error, "orig", error)).splitlines()[0]
        yield Item("workspace", "memo", "fail", what, "check that the database of config.yaml can be reached")
        return
    cut = sum(each["finished"] is None for each in attempts)
    told = f"{len(attempts)} actions carried out" + (f", {cut} running or cut off" if cut else "")
    yield Item("workspace", "memo", "ok", told)


def _damage(url: str) -> str | None:
    """What SQLite says is damaged in a database file, or None."""
    import sqlalchemy as sa

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            found = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar_one()
    except sa.exc.DBAPIError as error:
        return str(error.orig)
    return None if found == "ok" else str(found).splitlines()[0]


def _keys(workspace: Workspace) -> Iterator[Item]:
    from bedside.evidence.keys import load_or_create_key, trusted_keys

    own = sorted(workspace.keys.glob("*.pem"))
    if not own:
        yield Item("workspace", "keys", "ok", "none yet: the first release makes 'local'")
    for file in own:
        try:
            key = load_or_create_key(workspace.keys, file.stem)
        except BedsideError as error:
            yield _failed("workspace", f"key {file.stem}", error)
        else:
            yield Item("workspace", f"key {key.name}", "ok", key.key_id[:12])
    trusted = trusted_keys(workspace.keys)
    told = ", ".join(f"{name} ({key[:12]})" for key, name in sorted(trusted.items(), key=lambda each: each[1]))
    yield Item("workspace", "trusted keys", "ok", told or "none")


def _ledger(workspace: Workspace) -> Iterator[Item]:
    from bedside.evidence.keys import trusted_keys
    from bedside.evidence.ledger import Ledger

    try:
        trusted = trusted_keys(workspace.keys)
    except BedsideError:
        trusted = {}  # said under keys; here it only means that every signer is unknown
    checked = Ledger(workspace.ledger_url).verify(trusted=trusted)
    head = checked.head
    if head.length == 0:
        yield Item("workspace", "ledger", "ok", "empty: no release yet")
        return
    told = f"length {head.length}, head {head.hash[:12]}, chain and signatures verified"
    if checked.unknown_signers:
        count = len(checked.unknown_signers)
        way_out = "if you know the signer, put the public key into keys/trusted"
        yield Item("workspace", "ledger", "unknown", f"{told}; {count} entries by unknown signers", way_out)
    else:
        yield Item("workspace", "ledger", "ok", told)


def _store(workspace: Workspace) -> Iterator[Item]:
    swept = workspace.store.sweep()
    cohorts, objects = workspace.store.cohorts(), workspace.store.digests()
    told = f"{len(cohorts)} cohorts, {len(objects)} objects"
    yield Item("workspace", "store", "ok", told + (f"; {swept} left-over files removed" if swept else ""))


def _objects(workspace: Workspace) -> Iterator[Item]:
    bad = 0
    digests = workspace.store.digests()
    for digest in digests:
        try:
            workspace.store.open(digest).close()
        except BedsideError as error:
            bad += 1
            yield Item("workspace", f"object {digest[:12]}", "fail", error.what, error.way_out)
    for digest in workspace.store.cohorts():
        try:
            workspace.store.subjects(digest)
        except BedsideError as error:
            bad += 1
            yield Item("workspace", f"cohort {digest[:12]}", "fail", error.what, error.way_out)
    if not bad:
        yield Item("workspace", "objects", "ok", f"{len(digests)} read, every digest verified")
