"""The action `read`: data as it is, nothing changed, everything digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.quarantine import Refused
from bedside.errors import DataError
from bedside.plan.actions.bench import Bench
from bedside.plan.file.places import files_named
from bedside.plan.file.plan import Plan


def read(bench: Bench, plan: Plan, location: Path | str, base: Path) -> dict[str, Any]:
    """Read the data as it is: nothing changed, everything digested; what the reader leaves out goes to quarantine."""
    from bedside.intake.protocol import SetsAside

    reader = plugins.build("readers", {"name": plan.cohort.read, **reader_parameters(plan, base)})
    refused: Sequence[Refused] = ()
    if isinstance(reader, SetsAside):
        cohort, refused = reader.read_setting_aside(location)
    else:
        cohort = reader.read(location)
    for each in refused:
        bench.quarantine.put(each)
    if len(cohort) == 0:
        raise DataError(f"{location}: no rows", "check the file and the reader's parameters")
    return kept_as_read(bench, cohort, {"name": plan.cohort.read, **_alike(reader, plan, cohort)})


def kept_as_read(bench: Bench, cohort: Cohort, alike: Mapping[str, Any]) -> dict[str, Any]:
    """The output of reading; `alike` is the spec of the reader that reads later data as this was read."""
    counts = {"rows": len(cohort), "subjects": cohort.n_subjects}
    return {"cohort": bench.keep(cohort), **counts, "alike": dict(alike)}


def _alike(reader: Any, plan: Plan, cohort: Cohort) -> dict[str, Any]:
    from bedside.intake.protocol import ReadsAlike

    if isinstance(reader, ReadsAlike):
        return reader.like(cohort.schema)
    gone = {"target", "event", *getattr(reader, "paths", ())}  # a file beside the plan is not there later
    return {key: value for key, value in plan.cohort.parameters.items() if key not in gone}


def reader_parameters(plan: Plan, base: Path) -> dict[str, Any]:
    """The reader's parameters, those that are paths resolved against the plan's own folder."""
    paths = reader_paths(plan, base)
    return {key: str(paths[key]) if key in paths else value for key, value in plan.cohort.parameters.items()}


def reader_paths(plan: Plan, base: Path) -> dict[str, Path]:
    """Those of the reader's parameters that name files beside the table."""
    named = files_named("readers", {"name": plan.cohort.read, **plan.cohort.parameters})
    return {key: (base / path).resolve() for key, path in named.items()}
