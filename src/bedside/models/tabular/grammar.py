"""The language of rules: conditions on fields, parsed into polars expressions and never evaluated as code.

    condition  = all ("or" all)*     all = part ("and" part)*     part = "not" part | "(" condition ")" | test
    test       = field ("==" | "!=" | "<" | "<=" | ">" | ">=") value
               | field ["not"] "in" "(" value ("," value)* ")"
               | field "is" ["not"] "missing"
    field      = a name, or any text between backticks
    value      = number | "text" | 'text' | true | false

Ordinal fields compare by the order of their levels. A test of a missing value is neither true nor false (Kleene's
logic), so `not` does not make it true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from bedside.cohort.schema import Field, Schema
from bedside.errors import PlanError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)|(?P<text>\"[^\"]*\"|'[^']*')|`(?P<quoted>[^`]+)`"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED = ("number", "ordinal")
_DEPTH = 50


class Condition:
    """A parsed condition: the fields it reads and, for each row, whether it is true (null where unknown)."""

    def __init__(self, text: str, schema: Schema) -> None:
        self.text = text
        self.fields: list[str] = []
        self._schema = schema
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self.expression: pl.Expr = self._any()
        if self._at < len(self._tokens):
            raise self._wrong("the end, 'and' or 'or'")

    def _any(self) -> pl.Expr:
        found = self._all()
        while self._take("or"):
            found = found | self._all()
        return found

    def _all(self) -> pl.Expr:
        found = self._part()
        while self._take("and"):
            found = found & self._part()
        return found

    def _part(self) -> pl.Expr:
        self._depth += 1
        if self._depth > _DEPTH:
            raise PlanError(f"rule '{self.text[:60]}…' is nested deeper than {_DEPTH}", "split it into several rules")
        if self._take("not"):
            found = ~self._part()
        elif self._take("("):
            found = self._any()
            self._expect(")")
        else:
            found = self._test()
        self._depth -= 1
        return found

    def _test(self) -> pl.Expr:
        field = self._field()
        column = pl.col(field.name)
        if self._take("is"):
            negated = self._take("not")
            self._expect("missing")
            return column.is_not_null() if negated else column.is_null()
        negated = self._take("not")
        if self._take("in"):
            self._expect("(")
            values = [self._value(field)]
            while self._take(","):
                values.append(self._value(field))
            self._expect(")")
            found = column.is_in(values)
            return ~found if negated else found
        kind, sign = self._next()
        if negated or kind != "sign" or sign not in _COMPARE:
            raise self._wrong("a comparison, 'in' or 'is missing'", back=1)
        value = self._value(field)
        if sign not in ("==", "!=") and field.kind not in _ORDERED:
            raise PlanError(f"rule '{self.text}': '{field.name}' is a {field.kind} and has no order", "use == or in")
        if sign in ("==", "!=") or field.kind == "number":
            compared: pl.Expr = _COMPARE[sign](column, value)
            return compared
        levels = list(field.levels or ())
        rank = levels.index(str(value))
        return column.is_in([level for i, level in enumerate(levels) if _COMPARE[sign](i, rank)])

    def _field(self) -> Field:
        kind, text = self._next()
        if kind not in ("word", "quoted"):
            raise self._wrong("a field", back=1)
        field = self._schema[text]
        if "input" not in field.roles:
            raise PlanError(f"rule '{self.text}': '{text}' is not an input", "a rule may look at input fields only")
        if field.kind not in ("number", "boolean", "category", "ordinal"):
            raise PlanError(f"rule '{self.text}': '{text}' is a {field.kind}", "use numbers, booleans or categories")
        if text not in self.fields:
            self.fields.append(text)
        return field

    def _value(self, field: Field) -> float | str | bool:
        kind, text = self._next()
        value: float | str | bool
        if kind == "number":
            value = float(text)
        elif kind == "text":
            value = text[1:-1]
        elif kind == "word" and text in ("true", "false"):
            value = text == "true"
        else:
            raise self._wrong("a number, a quoted text, true or false", back=1)
        wanted = {"number": float, "boolean": bool}.get(field.kind, str)
        if type(value) is not wanted:
            raise PlanError(f"rule '{self.text}': '{field.name}' is a {field.kind}, compared with {text}")
        if field.levels is not None and value not in field.levels:
            raise PlanError(f"rule '{self.text}': {text} is no level of '{field.name}'", f"levels: {field.levels}")
        if field.kind == "ordinal" and field.levels is None:
            raise PlanError(f"rule '{self.text}': '{field.name}' has no levels", "declare them in the schema")
        return value

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise PlanError(f"rule '{self.text}' ends too early", "complete it")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, text: str) -> bool:
        here = self._tokens[self._at] if self._at < len(self._tokens) else None
        if here is not None and here[0] in ("word", "sign") and here[1] == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._wrong(f"'{text}'")

    def _wrong(self, wanted: str, back: int = 0) -> PlanError:
        at = self._at - back
        found = f"'{self._tokens[at][1]}'" if at < len(self._tokens) else "the end"
        return PlanError(f"rule '{self.text}': expected {wanted}, found {found}", "see bedside.models.tabular.grammar")


def first_true(conditions: Sequence[Condition]) -> pl.Expr:
    """Index of the first condition that is true in each row, or their number when none is."""
    found = pl.lit(len(conditions), dtype=pl.Int64)
    for i, condition in reversed(list(enumerate(conditions))):
        found = pl.when(condition.expression.fill_null(False)).then(pl.lit(i, dtype=pl.Int64)).otherwise(found)
    return found.alias("rule")


def _tokens(text: str) -> list[tuple[str, str]]:
    found = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise PlanError(
                f"rule '{text}': cannot read '{text[at:].strip()[:20]}'", "see bedside.models.tabular.grammar"
            )
        found.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        at = match.end()
    return found
