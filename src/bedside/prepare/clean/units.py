"""Units: number fields converted to the unit that the study uses."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, counted, number_field

_MASS, _AMOUNT, _EQUIVALENT = "mass concentration", "amount concentration", "equivalent concentration"


@dataclass
class Units(Cleaner):
    """Fields converted to a wanted unit (UCUM): {glucose: mmol/L}, or {glucose: {to: mmol/L, from: mg/dL, analyte: …}}.

    `from` defaults to the declared unit; `by` names a field that holds each row's unit instead. Between mass and
    amount the `analyte` must be known, by default from the field's name. The declared range is converted too. Factors
    and their sources: units.json.
    """

    to: Mapping[str, Any]

    name: ClassVar[str] = "units"
    scope: ClassVar[Literal["item", "cohort"]] = "item"
    main: ClassVar[str] = "to"
    main_is_mapping: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.to, Mapping) or not self.to:
            raise PlanError("clean step 'units': no fields", "write {units: {to: {glucose: mmol/L}}}")
        for name in self.to:
            unit_of(self._wish(name)["to"])

    def within(self, names: Collection[str]) -> Self | None:
        """The conversions of these fields."""
        kept = {name: wish for name, wish in self.to.items() if name in names}
        return replace(self, to=kept) if kept else None

    def _wish(self, name: str) -> dict[str, Any]:
        wish = self.to[name]
        out = dict(wish) if isinstance(wish, Mapping) else {"to": wish}
        if "to" not in out or set(out) - {"to", "from", "by", "analyte"} or {"from", "by"} <= set(out):
            raise PlanError(f"clean step 'units': cannot read {wish!r} for '{name}'", "write {to: …, from: …}")
        return out

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """Values converted, counted by field. Raises DataError for an unknown unit or analyte, or one not declared."""
        columns, fields, estimates = {}, [], []
        for name in self.to:
            number_field(cohort, name, self.name)
            wish, item = self._wish(name), cohort.schema[name]
            analyte = wish.get("analyte", name)
            if "by" in wish:
                out, low, high = self._by_row(cohort, name, wish, analyte), None, None
                counts = cohort.frame[wish["by"]].filter(cohort.frame[name].is_not_null()).value_counts()
                moved = {str(unit): count for unit, count in sorted(counts.iter_rows()) if unit is not None}
            else:
                source = wish.get("from", item.unit)
                if source is None:
                    raise DataError(f"field '{name}' has no unit to convert from", "declare its `unit`, or say `from`")
                factor, offset = conversion(source, wish["to"], analyte)
                out = cohort.frame[name] * factor + offset
                low, high = (None if each is None else each * factor + offset for each in (item.low, item.high))
                moved = {source: out.len() - out.null_count()}
            columns[name] = out
            fields.append(replace(item, unit=wish["to"], low=low, high=high))
            for unit, count in moved.items():
                at = {"step": self.name, "field": name, "from": unit, "to": wish["to"]}
                estimates.append(counted("clean_values_changed", count, cohort, **at))
        return cohort.with_columns(columns, fields), Evidence("clean.units", tuple(estimates))

    def _by_row(self, cohort: Cohort, name: str, wish: Mapping[str, Any], analyte: str) -> pl.Series:
        units = cohort[wish["by"]]
        values = cohort.frame[name]
        unknown = int((units.is_null() & values.is_not_null()).sum())
        if unknown:
            raise DataError(f"'{name}' has {unknown} value(s) whose unit in '{wish['by']}' is missing", "fill it in")
        out = values
        for unit in units.filter(values.is_not_null()).unique().sort():
            factor, offset = conversion(unit, wish["to"], analyte)
            out = out.zip_with(units != unit, values * factor + offset)
        return out


def conversion(source: str, to: str, analyte: str = "") -> tuple[float, float]:
    """Factor and offset that turn a value in one unit into another; raises DataError when they measure other things."""
    if source == to:
        return 1.0, 0.0
    (kind, size, zero), (to_kind, to_size, to_zero) = unit_of(source), unit_of(to)
    bridge = 1.0
    if kind != to_kind:
        if not {kind, to_kind} <= {_MASS, _AMOUNT, _EQUIVALENT}:
            raise DataError(f"'{source}' is a {kind} and '{to}' a {to_kind}", "correct one of the units")
        bridge = _moles_per(kind, analyte, source, to) / _moles_per(to_kind, analyte, source, to)
    return size * bridge / to_size, (zero - to_zero) / to_size


def unit_of(symbol: str) -> tuple[str, float, float]:
    """What a unit measures, its size and its zero in that quantity's own unit; raises DataError for an unknown one."""
    table = _table()
    found = table["units"].get(table["also_written"].get(symbol, symbol))
    if found is None:
        known = ", ".join(table["units"])
        raise DataError(f"unit '{symbol}' is not known", f"convert it before, or use one of: {known}")
    kind, size, zero = (*found, 0.0)[:3]
    return kind, size, zero


def _moles_per(kind: str, analyte: str, source: str, to: str) -> float:
    """Moles in one unit of a concentration (a gram, a mole, an equivalent) of an analyte."""
    if kind == _AMOUNT:
        return 1.0
    table = _table()
    plain = " ".join(analyte.lower().replace("_", " ").split())
    known = table["analytes"].get(table["analyte_also_written"].get(plain, plain), {})
    key = "molar_mass" if kind == _MASS else "valence"
    if key not in known:
        named = ", ".join(name for name, about in table["analytes"].items() if key in about)
        raise DataError(
            f"from '{source}' to '{to}' needs the {key.replace('_', ' ')} of '{analyte}'", f"say `analyte`: {named}"
        )
    return 1.0 / float(known[key])


@cache
def _table() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(resources.files(__package__).joinpath("units.json").read_text("utf-8"))
    return content
