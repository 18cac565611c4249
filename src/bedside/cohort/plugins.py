"""Plug-ins by entry point: readers, clean steps, steps, models, checks, actions and terms are found by name.

A spec is how a plan names one: `name`, or `{name: {parameter: value}}`, or `{name: value}` for a step whose one
`main` parameter it is, or `{name: text, parameter: value, …}`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bedside.errors import PlanError

GROUPS = ("readers", "steps", "models", "checks", "actions", "terms")


@cache
def catalogue(group: str) -> dict[str, EntryPoint]:
    """The entry points of `bedside.<group>` by name; raises PlanError when two packages claim one name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"bedside.{group}"):
        if point.name in found and found[point.name].value != point.value:
            raise PlanError(
                f"two packages offer bedside.{group} '{point.name}': {found[point.name].value} and {point.value}",
                "uninstall one",
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def load(group: str, name: str) -> Any:
    """The class (or function) behind a name; raises PlanError with the nearest names when there is none."""
    known = catalogue(group)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(known)
        raise PlanError(f"no {group.rstrip('s')} is called '{name}'", hint)
    return known[name].load()


def parse_spec(spec: Any) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a spec; a single bare value comes back under the key "main"."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping):
        if isinstance(spec.get("name"), str):
            return spec["name"], {str(key): value for key, value in spec.items() if key != "name"}
        if len(spec) == 1:
            name, value = next(iter(spec.items()))
            if value is None:
                return str(name), {}
            if isinstance(value, Mapping):
                return str(name), {str(key): item for key, item in value.items()}
            return str(name), {"main": value}
    raise PlanError(f"cannot read the spec {spec!r}", "write a name, or {name: {parameter: value}}")


def parameters_of(group: str, spec: Any, *, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """Name and parameters of a spec, each by its own name; raises PlanError for a bare value that no parameter takes.

    Where a class names its `main` parameter, `{name: value}` sets it; where it says `main_is_mapping`, a mapping none
    of whose keys is a parameter does so too (`{units: {glucose: mmol/L}}`).
    """
    name, parameters = parse_spec(spec)
    kind = load(group, prefix + name)
    main = getattr(kind, "main", None)
    known = inspect.signature(kind).parameters
    if "main" in parameters and "main" not in known:
        if main is None:
            raise PlanError(f"'{name}' takes named parameters", f"write {{{name}: {{parameter: value}}}}")
        parameters = {main: parameters["main"]}
    elif (
        main is not None and getattr(kind, "main_is_mapping", False) and parameters and not set(parameters) & set(known)
    ):
        parameters = {main: parameters}
    return name, parameters


def build(group: str, spec: Any, *, prefix: str = "") -> Any:
    """An instance of what a spec names; raises PlanError for an unknown parameter, listing those there are."""
    name, parameters = parameters_of(group, spec, prefix=prefix)
    kind = load(group, prefix + name)
    known = inspect.signature(kind).parameters
    named = [each for each in known.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    anything = len(named) < len(known)
    unknown = [] if anything else sorted(set(parameters) - set(known))
    if unknown:
        raise PlanError(f"'{name}' has no parameter {unknown}", f"it takes: {', '.join(known) or 'none'}")
    try:
        return kind(**parameters)
    except TypeError as error:
        raise PlanError(f"'{name}': {error}", f"it takes: {', '.join(known) or 'none'}") from None
