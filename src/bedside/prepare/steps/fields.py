"""Choosing inputs: by name, by kind, or because they vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import KINDS, Field
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Finding
from bedside.prepare.steps.base import FittedStep


class _Chooser(FittedStep):
    """What the choosers share: the fields that lose the role `input`."""

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort without the dropped inputs; a field with another role (sensitive, site) keeps that one."""
        dropped = set(self.state["dropped"])
        self.require(cohort, dropped)
        roles = {item.name: tuple(r for r in item.roles if r != "input") for item in cohort.schema.fields}
        gone = {name for name in dropped if not roles[name]}
        left = [replace(item, roles=roles[item.name]) for item in cohort.schema.fields if item.name in dropped - gone]
        return cohort.with_fields(left).keeping([name for name in cohort.schema.names if name not in gone])


@dataclass
class Select(_Chooser):
    """Only the named inputs, or those of the `kinds` named, stay inputs."""

    fields: Sequence[str] = ()
    kinds: Sequence[str] = ()

    name: ClassVar[str] = "select"
    main: ClassVar[str] = "fields"

    def __post_init__(self) -> None:
        _check(self.name, self.fields, self.kinds)

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which inputs go; raises DataError when none stays."""
        kept = _meant(train, self.fields, self.kinds)
        if not kept:
            raise DataError(f"no input is a {' or a '.join(self.kinds)}", "select other kinds or fields")
        self.state_ = {"dropped": [item.name for item in train.schema.inputs if item.name not in kept]}
        return self


@dataclass
class Drop(_Chooser):
    """The named inputs, and those of the `kinds` named, are inputs no more."""

    fields: Sequence[str] = ()
    kinds: Sequence[str] = ()

    name: ClassVar[str] = "drop"
    main: ClassVar[str] = "fields"

    def __post_init__(self) -> None:
        _check(self.name, self.fields, self.kinds)

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which inputs go."""
        gone = _meant(train, self.fields, self.kinds)
        self.state_ = {"dropped": [item.name for item in train.schema.inputs if item.name in gone]}
        return self


@dataclass
class DropConstant(_Chooser):
    """Inputs that hold one value in train (missing is a value too) are inputs no more."""

    name: ClassVar[str] = "drop_constant"

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which inputs do not vary."""
        names = [item.name for item in train.schema.inputs]
        distinct = train.frame.select(pl.col(names).n_unique()).row(0) if names else ()
        self.state_ = {"dropped": [name for name, count in zip(names, distinct, strict=True) if count <= 1]}
        return self

    def findings(self) -> tuple[Finding, ...]:
        """How many were dropped, when any."""
        count = len(self.state["dropped"])
        return (Finding("constant_inputs_dropped", "info", {"count": count}),) if count else ()


def _check(step: str, fields: Sequence[str], kinds: Sequence[str]) -> None:
    if isinstance(fields, str) or isinstance(kinds, str) or not (fields or kinds):
        raise PlanError(f"step '{step}': neither fields nor kinds", f"write {{{step}: [age, sex]}}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise PlanError(f"step '{step}': unknown kinds {unknown}", f"any of {', '.join(KINDS)}")


def _meant(train: Cohort, fields: Sequence[str], kinds: Sequence[str]) -> set[str]:
    inputs: dict[str, Field] = {item.name: item for item in train.schema.inputs}
    absent = [name for name in fields if name not in inputs]
    if absent:
        raise DataError(f"{', '.join(absent[:5])}: no input of that name", f"inputs: {', '.join(list(inputs)[:30])}")
    return {name for name, item in inputs.items() if name in fields or item.kind in kinds}
