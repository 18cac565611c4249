"""Reader: how data from outside becomes a Cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from bedside.cohort.cohort import Cohort
from bedside.cohort.quarantine import Refused
from bedside.cohort.schema import Schema


@runtime_checkable
class Reader(Protocol):
    """Reads one kind of data. Entry point `bedside.readers`.

    `__init__(**parameters)` only stores its parameters; `paths` names those that are paths, which a plan gives relative
    to its own folder. Reading changes nothing: what was inferred stands in the lineage, what does not fit is an error.
    """

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]

    def read(self, path: Path | str) -> Cohort:
        """The cohort at a path (or URL), its lineage holding the source's digest and every inference.

        Raises DataError naming file, column and row, with the way out.
        """
        ...


@runtime_checkable
class SetsAside(Protocol):
    """A reader that can leave out what it cannot read, when the plan says so, and hand it over."""

    def read_setting_aside(self, path: Path | str) -> tuple[Cohort, Sequence[Refused]]:
        """As `read`, and the files that were left out."""
        ...


@runtime_checkable
class ReadsAlike(Protocol):
    """A reader that can say how later data is to be read as the first was, so that a release can hold it."""

    def like(self, schema: Schema) -> dict[str, Any]:
        """Parameters, as JSON, that read data of this schema with no other file beside it; no field must be there."""
        ...
