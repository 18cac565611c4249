"""Step and CleanStep: the two ways data is changed, before and after the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.evidence.estimate import Evidence


@runtime_checkable
class CleanStep(Protocol):
    """A repair before the split. It learns nothing that is used later.

    `scope` "item" looks at one row at a time and is saved and replayed by serve; "cohort" may only drop rows or set
    subject and flags, and is never replayed. Entry point `bedside.steps`, name `clean.<name>`.
    """

    name: ClassVar[str]
    scope: ClassVar[Literal["item", "cohort"]]

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__, as JSON."""
        ...

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """The repaired cohort, and what was removed or doubted."""
        ...


@runtime_checkable
class Step(Protocol):
    """A transform fitted on the training part and replayed on every other row, today and in service.

    `__init__(**parameters)` only stores its parameters. Fitted state is JSON and arrays. Entry point `bedside.steps`.
    A field that `apply` adds or changes stays typed and described; the row ids and their order never change.
    """

    name: ClassVar[str]

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn from the training part only; returns self."""
        ...

    def apply(self, cohort: Cohort) -> Cohort:
        """The transformed cohort. Raises DataError when a field it learnt is missing."""
        ...

    def save(self, folder: Path) -> None:
        """Write step.json and, for arrays, plain .npy files into an existing empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        ...
