"""Codes that stand for a missing value: −9, 999, a blood pressure of 0, "unknown"."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, counted


@dataclass
class MissingCodes(Cleaner):
    """Values that are codes become missing: {glucose: [0], smoking: [unknown], "*": [-9]} ("*" is every field)."""

    codes: Mapping[str, Any]

    name: ClassVar[str] = "missing_codes"
    scope: ClassVar[Literal["item", "cohort"]] = "item"
    main: ClassVar[str] = "codes"
    main_is_mapping: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.codes, Mapping) or not self.codes:
            raise PlanError("clean step 'missing_codes': no codes", 'write {glucose: [0], "*": [-9]}')

    def within(self, names: Collection[str]) -> Self | None:
        """The codes of these fields."""
        kept = {name: values for name, values in self.codes.items() if name == "*" or name in names}
        return replace(self, codes=kept) if kept else None

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """Codes made missing, counted by field. Raises DataError for a field that is not there."""
        everywhere = _listed(self.codes.get("*", []))
        by_field = {name: _listed(values) for name, values in self.codes.items() if name != "*"}
        for name in by_field:
            cohort.schema[name]
        changed, estimates = {}, []
        for item in cohort.schema.fields:
            values = [*by_field.get(item.name, []), *everywhere]
            column = cohort.frame[item.name]
            if item.kind == "number":
                wanted: list[Any] = [float(v) for v in values if not isinstance(v, str | bool)]
            elif column.dtype == pl.String:
                wanted = [v if isinstance(v, str) else f"{v:g}" for v in values if not isinstance(v, bool)]
            else:
                continue
            gone = column.is_in(wanted).fill_null(False) if wanted else None
            count = 0 if gone is None else int(gone.sum())
            if gone is not None and count:
                changed[item.name] = column.set(gone, None)
            if count or item.name in by_field:
                estimates.append(counted("clean_values_removed", count, cohort, step=self.name, field=item.name))
        return cohort.with_columns(changed), Evidence("clean.missing_codes", tuple(estimates))


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]
