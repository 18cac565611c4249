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
    """Only the named fields, or the inputs of the `kinds` named, are inputs.

    A field that is named and is none (age as `sensitive`, the `site`) becomes one: so a baseline may look at what the
    model does not. The target never does.
    """

    fields: Sequence[str] = ()
    kinds: Sequence[str] = ()

    name: ClassVar[str] = "select"
    main: ClassVar[str] = "fields"

    def __post_init__(self) -> None:
        _check(self.name, self.fields, self.kinds)

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which inputs go; raises DataError when none stays."""
        inputs = {item.name for item in train.schema.inputs}
        made = [name for name in self.fields if name not in inputs and name in train.schema]
        _refuse_outcomes([train.schema[name] for name in made])
        kept = _meant(train, [name for name in self.fields if name not in made], self.kinds)
        if not kept and not made:
            raise DataError(f"no input is a {' or a '.join(self.kinds)}", "select other kinds or fields")
        self.state_ = {"dropped": [name for name in train.schema.names if name in inputs - kept], "made": made}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with these inputs and no others."""
        made = self.state.get("made", [])  # what an earlier version saved has none
        self.require(cohort, made)
        fields = [cohort.schema[name] for name in made]
        return super().apply(cohort.with_fields([replace(item, roles=("input", *item.roles)) for item in fields]))


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


def _refuse_outcomes(items: Sequence[Field]) -> None:
    for item in items:
        if {"target", "event", "weight"} & set(item.roles) or item.kind == "mask":
            told = " and ".join(item.roles) or item.kind
            raise DataError(f"step 'select': '{item.name}' is the {told}, which no model may look at", "remove it")


def _meant(train: Cohort, fields: Sequence[str], kinds: Sequence[str]) -> set[str]:
    inputs: dict[str, Field] = {item.name: item for item in train.schema.inputs}
    absent = [name for name in fields if name not in inputs]
    if absent:
        raise DataError(f"{', '.join(absent[:5])}: no input of that name", f"inputs: {', '.join(list(inputs)[:30])}")
    return {name for name, item in inputs.items() if name in fields or item.kind in kinds}
