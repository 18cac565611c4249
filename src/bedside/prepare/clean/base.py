"""What every clean step shares: parameters as dataclass fields, counts as exact estimates."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar, Literal, Self

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Estimate, Evidence, Scalar

PART = "cohort"


class Cleaner(ABC):
    """Base of the clean steps: a subclass is a dataclass of its parameters and one `clean`."""

    name: ClassVar[str]
    scope: ClassVar[Literal["item", "cohort"]]

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__, as JSON."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """The repaired cohort, and what was removed or doubted."""

    def within(self, names: Collection[str]) -> Self | None:
        """The part of an item-scope step that concerns these fields, or None when nothing is left.

        A row in service lacks the target and may lack what no model looks at; a field that a model does look at is
        missed by the model itself. A cohort-scope step is never replayed, so nothing of it is left.
        """
        return None


def counted(metric: str, value: int, cohort: Cohort, **at: Scalar) -> Estimate:
    """A count over the rows of a cohort, exact."""
    return Estimate(metric, float(value), n_rows=len(cohort), part=PART, at=at, unit="1", exact=True)


def check_choice(step: str, parameter: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise PlanError unless the value is one of the choices."""
    if value not in choices:
        raise PlanError(f"clean step '{step}': {parameter} is {value!r}", f"one of {', '.join(choices)}")


def number_field(cohort: Cohort, name: str, step: str) -> None:
    """Raise DataError unless the field is a number."""
    if cohort.schema[name].kind != "number":
        raise DataError(
            f"clean step '{step}': field '{name}' is a {cohort.schema[name].kind}, not a number",
            "declare its kind, or leave it out",
        )
