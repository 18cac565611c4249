"""The files that a plan names, and the plan without the folders that they lie in."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from bedside.cohort import plugins


def files_named(group: str, spec: Any) -> dict[str, str]:
    """The parameters of a spec that name files (its plug-in says which in `paths`); none for one not installed here."""
    if plugins.parse_spec(spec)[0] not in plugins.catalogue(group):
        return {}
    name, parameters = plugins.parameters_of(group, spec)
    paths = getattr(plugins.load(group, name), "paths", ())
    return {key: parameters[key] for key in paths if isinstance(parameters.get(key), str)}


def without_folders(group: str, spec: Any) -> Any:
    """The spec with the names of its files only."""
    named = files_named(group, spec)
    if not named:
        return spec
    name, parameters = plugins.parameters_of(group, spec)
    return {"name": name, **parameters, **{key: PurePath(path).name for key, path in named.items()}}
