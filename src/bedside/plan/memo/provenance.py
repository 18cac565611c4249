"""What an action's result depends on besides its inputs: the source of its layer and below, versions, threads."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from bedside.cohort import plugins

LAYERS = ("errors.py", "cohort", "evidence", "intake", "prepare", "models", "checks", "synth", "plan")
GLUE = ("plan/actions", "plan/memo/artifacts.py")  # what every action runs through, whatever its layer


@cache
def layer_digest(layer: str) -> str:
    """SHA-256 over the source files of a layer, of all layers below it, and of the actions themselves."""
    return _digest_of((*LAYERS[: LAYERS.index(layer) + 1], *GLUE))


@cache
def room_digest(module: str) -> str:
    """SHA-256 over the source of the room of bedside that a plug-in's module lies in; of nothing for the rooms that
    `layer_digest` reads in any case, and for another package, which `plugin_digest` reads."""
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    return _digest_of([] if package != "bedside" or room in LAYERS else [room])


def _digest_of(names: Iterable[str]) -> str:
    """SHA-256 over the source files of these folders or files of bedside."""
    root = Path(__file__).resolve().parents[2]
    state = hashlib.sha256()
    for name in names:
        place = root / name
        files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
        for file in files:
            if file.suffix != ".pyc":
                state.update(f"{file.relative_to(root).as_posix()}\0".encode())
                state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python, bedside, the libraries it depends on, and the packages whose plug-ins are installed."""
    names = {"bedside"}
    for requirement in requires("bedside") or []:
        found = re.match(r"[A-Za-z0-9._-]+", requirement)
        if found and "extra == 'test'" not in requirement.replace('"', "'"):
            names.add(found.group().lower())
    for group in plugins.GROUPS:
        for point in plugins.catalogue(group).values():
            if point.dist is not None:
                names.add(point.dist.name.lower())
    out = {"python": platform.python_version()}
    for name in sorted(names):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(out.items()))


@cache
def plugin_digest() -> str:
    """SHA-256 over the recorded files of every package, other than bedside, whose plug-ins are installed.

    An editable plug-in records no source, so its own module files are read instead.
    """
    state = hashlib.sha256()
    seen: set[str] = set()
    for group in plugins.GROUPS:
        for point in plugins.catalogue(group).values():
            if point.dist is None or point.dist.name == "bedside":
                continue
            state.update(f"{group}\0{point.name}\0{point.value}\0{point.dist.version}\0".encode())
            if point.dist.name not in seen:
                seen.add(point.dist.name)
                state.update(_source_of(point.module))
    return state.hexdigest()


def _source_of(module: str) -> bytes:
    from importlib.util import find_spec

    found = find_spec(module.split(".")[0])
    if found is None or found.origin is None:
        return b""
    origin = Path(found.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)


def installed(name: str) -> bool:
    """Whether a distribution is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
