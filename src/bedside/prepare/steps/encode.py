"""Encode category, ordinal and boolean inputs as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.prepare.steps.base import FittedStep, check_choice, chosen, rebuilt


@dataclass
class Encode(FittedStep):
    """Categories to numbers: `onehot` (a 0/1 field a level) or `codes` (small integers in level order, for trees).

    Levels are those of train, in declared order else sorted. With onehot, where train had levels seen fewer than
    `min_count` times or beyond the `max_levels` most frequent, these and all unseen in train share the field
    `<name>=other` (a list of the rare ones would name patients); where it had none, an unseen level gives zeros
    everywhere (and 1 in `<name>=unseen` when `unseen`). A missing value gives zeros (and 1 in `<name>=missing` when
    `missing` and train had missing values). With codes, unseen and rare levels become missing. An ordinal becomes its
    rank 0, 1, 2 … in the declared levels (unseen: missing), a boolean 0/1. An encoded field that has another role
    too (sensitive, site) is kept in that role.
    """

    how: str = "onehot"
    fields: Sequence[str] | None = None
    min_count: int = 5
    max_levels: int = 100
    unseen: bool = False
    missing: bool = True

    name: ClassVar[str] = "encode"
    main: ClassVar[str] = "how"

    def __post_init__(self) -> None:
        check_choice(self.name, "how", self.how, ("onehot", "codes"))

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn the levels of each field; raises DataError for an ordinal without declared levels."""
        learnt: dict[str, dict[str, Any]] = {}
        for item in chosen(train, ("category", "ordinal", "boolean"), self.fields):
            if item.kind == "boolean":
                learnt[item.name] = {"as": "boolean"}
            elif item.kind == "ordinal":
                if item.levels is None:
                    raise DataError(
                        f"ordinal field '{item.name}' has no levels", "declare them low to high, or make it a category"
                    )
                learnt[item.name] = {"as": "codes", "levels": list(item.levels)}
            else:
                learnt[item.name] = self._learn(train.frame[item.name], item)
        self.state_ = {"fields": learnt}
        return self

    def _learn(self, column: pl.Series, item: Field) -> dict[str, Any]:
        counts = dict(column.drop_nulls().value_counts().iter_rows())
        order = {level: i for i, level in enumerate(item.levels or ())}
        seen = sorted(counts, key=lambda level: (order.get(level, len(order)), level))
        frequent = sorted((level for level in seen if counts[level] >= self.min_count), key=lambda v: (-counts[v], v))
        kept = set(frequent[: self.max_levels])
        levels = [level for level in seen if level in kept]
        if self.how == "codes":
            return {"as": "codes", "levels": levels}
        return {"as": "onehot", "levels": levels, "pooled": len(levels) < len(seen), "missing": column.null_count() > 0}

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with number fields in the place of the encoded ones."""
        self.require(cohort, self.state["fields"])
        changed = {}
        for name, learnt in self.state["fields"].items():
            item = cohort.schema[name]
            other_roles = tuple(role for role in item.roles if role != "input")
            if learnt["as"] == "onehot":
                outputs = list(self._onehot(name, learnt))
                if other_roles:
                    outputs.append((replace(item, roles=other_roles), pl.col(name)))
            else:
                # The name stays with the number; a sensitive field keeps its role there.
                number = Field(name, "number", item.roles, label=item.label, description=item.description)
                if learnt["as"] == "boolean":
                    value = pl.col(name).cast(pl.Float64)
                else:
                    ranks = {level: float(i) for i, level in enumerate(learnt["levels"])}
                    value = pl.col(name).replace_strict(ranks, default=None, return_dtype=pl.Float64)
                outputs = [(number, value)]
            changed[name] = outputs
        return rebuilt(cohort, changed)

    def _onehot(self, name: str, learnt: dict[str, Any]) -> list[tuple[Field, pl.Expr]]:
        tests = {level: pl.col(name) == level for level in learnt["levels"]}
        if learnt["pooled"] or self.unseen:
            tests["other" if learnt["pooled"] else "unseen"] = ~pl.col(name).is_in(learnt["levels"])
        if self.missing and learnt["missing"]:
            tests["missing"] = pl.col(name).is_null()
        return [
            (Field(f"{name}={level}", "number", low=0.0, high=1.0), test.fill_null(False).cast(pl.Float64))
            for level, test in tests.items()
        ]
