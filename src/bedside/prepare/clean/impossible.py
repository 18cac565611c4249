"""Values that contradict each other: diastolic above systolic, death before birth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, check_choice, counted
from bedside.prepare.clean.rules import parse


@dataclass
class Impossible(Cleaner):
    """Rows that fulfil a rule that no patient can: the fields it names become missing there, or it is an error.

    Which of two contradicting values is wrong is not known, so all that a rule names go. Rules in the grammar of
    `rules`.
    """

    rules: Sequence[str]
    then: str = "missing"

    name: ClassVar[str] = "impossible"
    scope: ClassVar[Literal["item", "cohort"]] = "item"
    main: ClassVar[str] = "rules"

    def __post_init__(self) -> None:
        check_choice(self.name, "then", self.then, ("missing", "error"))
        if isinstance(self.rules, str) or not self.rules:
            raise PlanError("clean step 'impossible': no list of rules", "write [diastolic > systolic]")
        for rule in self.rules:
            parse(rule)

    def within(self, names: Collection[str]) -> Self | None:
        """The rules that concern these fields only."""
        kept = [rule for rule in self.rules if set(parse(rule).fields) <= set(names)]
        return replace(self, rules=kept) if kept else None

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """Contradictions removed, counted by rule; all rules look at the values as they came."""
        rules = [parse(text) for text in self.rules]
        marked = cohort.frame.select([rule.expression(cohort.schema).alias(str(i)) for i, rule in enumerate(rules)])
        counts = marked.sum().row(0)
        broken = [f"'{rule.text}' in {count} row(s)" for rule, count in zip(rules, counts, strict=True) if count]
        if broken and self.then == "error":
            raise DataError(f"impossible values: {'; '.join(broken)}", "mend them, or say {then: missing}")
        changed: dict[str, pl.Series] = {}
        for i, rule in enumerate(rules):
            for name in rule.fields if counts[i] else ():
                changed[name] = changed.get(name, cohort.frame[name]).set(marked[str(i)], None)
        estimates = [
            counted("clean_rows_contradicting", count, cohort, step=self.name, rule=rule.text)
            for rule, count in zip(rules, counts, strict=True)
        ]
        return cohort.with_columns(changed), Evidence("clean.impossible", tuple(estimates))
