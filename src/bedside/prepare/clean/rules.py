"""Rules about a row, in a small safe grammar: `diastolic > systolic`, `age < 18 and sex == 'M'`, `site in [3, 7]`.

rule      = condition { "and" condition }
condition = field op value | field ["not"] "in" "[" value { "," value } "]" | field "is" ["not"] "missing"
op        = "<" | "<=" | ">" | ">=" | "==" | "!="
value     = field | number | 'text' | true | false        (a date is text: '2020-01-31')

A field whose name is not a plain word stands in backquotes. A comparison with a missing value is false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from bedside.cohort.schema import Schema
from bedside.errors import PlanError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w])"
    r"|'(?P<text>[^']*)'|\"(?P<text2>[^\"]*)\"|`(?P<quoted>[^`]+)`|(?P<word>[^\W\d][\w.]*)"
    r"|(?P<op><=|>=|==|!=|<|>|\[|\]|,))"
)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TEXT_KINDS = ("category", "ordinal", "text")


@dataclass(frozen=True)
class Value:
    """A field's name or a constant."""

    value: str | float | bool
    is_field: bool = False


@dataclass(frozen=True)
class Condition:
    """One condition: `left` op `right`; `in` and `is missing` carry their constants in `right`."""

    left: str
    op: str
    right: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Conditions that must all hold."""

    text: str
    conditions: tuple[Condition, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that the rule looks at, in order of appearance."""
        named = [name for item in self.conditions for name in (item.left, *_fields(item.right))]
        return tuple(dict.fromkeys(named))

    def expression(self, schema: Schema) -> pl.Expr:
        """Whether each row fulfils the rule; raises PlanError for an unknown field or kinds that do not compare."""
        parts = [_expression(item, schema, self.text) for item in self.conditions]
        return pl.all_horizontal(parts)


def parse(text: str) -> Rule:
    """The rule that a text says; raises PlanError with the place where it stops making sense."""
    tokens = _tokens(text)
    conditions: list[Condition] = []
    position = 0
    while True:
        condition, position = _condition(text, tokens, position)
        conditions.append(condition)
        if position == len(tokens):
            return Rule(text, tuple(conditions))
        if tokens[position] != ("word", "and"):
            raise _wrong(text, f"expected 'and' or the end instead of '{tokens[position][1]}'")
        position += 1


def _fields(values: tuple[Value, ...]) -> list[str]:
    return [str(value.value) for value in values if value.is_field]


def _tokens(text: str) -> list[tuple[str, str]]:
    out, position = [], 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise _wrong(text, f"cannot read '{text[position:].strip()[:20]}'")
        out.append((found.lastgroup.rstrip("2"), found.group(found.lastgroup)))
        position = found.end()
    return out


def _condition(text: str, tokens: list[tuple[str, str]], at: int) -> tuple[Condition, int]:
    def take(*wanted: str) -> tuple[str, str]:
        nonlocal at
        if at >= len(tokens):
            raise _wrong(text, "it ends too early")
        if wanted and tokens[at][1] not in wanted:
            raise _wrong(text, f"expected {' or '.join(wanted)} instead of '{tokens[at][1]}'")
        at += 1
        return tokens[at - 1]

    kind, left = take()
    if kind not in ("word", "quoted"):
        raise _wrong(text, f"a condition begins with a field, not '{left}'")
    _, op = take("is", "not", "in", *_OPERATORS)
    if op == "is":
        _, word = take("not", "missing")
        if word == "not":
            take("missing")
        return Condition(left, "is missing" if word == "missing" else "is not missing"), at
    if op in ("not", "in"):
        if op == "not":
            take("in")
        take("[")
        values = [_value(text, take())]
        while take(",", "]")[1] == ",":
            values.append(_value(text, take()))
        if any(value.is_field for value in values):
            raise _wrong(text, "a list holds numbers and 'texts' only")
        return Condition(left, "not in" if op == "not" else "in", tuple(values)), at
    return Condition(left, op, (_value(text, take()),)), at


def _value(text: str, token: tuple[str, str]) -> Value:
    kind, value = token
    if kind == "number":
        return Value(float(value))
    if kind == "text":
        return Value(value)
    if kind == "word" and value in ("true", "false"):
        return Value(value == "true")
    if kind in ("word", "quoted"):
        return Value(value, is_field=True)
    raise _wrong(text, f"expected a value instead of '{value}'")


def _expression(item: Condition, schema: Schema, text: str) -> pl.Expr:
    for name in (item.left, *_fields(item.right)):
        if name not in schema:
            raise _wrong(text, f"there is no field '{name}'", f"fields: {', '.join(schema.names[:30])}")
    left, kind = pl.col(item.left), schema[item.left].kind
    if item.op == "is missing":
        return left.is_null()
    if item.op == "is not missing":
        return left.is_not_null()
    constants = [_operand(value, item.left, kind, schema, text) for value in item.right]
    if item.op in ("in", "not in"):
        found = pl.any_horizontal([left == each for each in constants]).fill_null(False)
        return found if item.op == "in" else ~found & left.is_not_null()
    if item.op not in ("==", "!=") and kind in (*_TEXT_KINDS, "boolean"):
        raise _wrong(text, f"'{item.left}' is a {kind}, which has no order", "use ==, != or in")
    return _OPERATORS[item.op](left, constants[0]).fill_null(False)  # type: ignore[no-any-return]


def _operand(value: Value, left: str, kind: str, schema: Schema, text: str) -> pl.Expr:
    """The right side, of the same sort as the left."""
    if value.is_field:
        other = schema[str(value.value)].kind
        if other != kind and not {other, kind} <= set(_TEXT_KINDS):
            raise _wrong(text, f"'{left}' is a {kind} and '{value.value}' a {other}")
        return pl.col(str(value.value))
    if kind == "time" and isinstance(value.value, str):
        try:
            moment = datetime.fromisoformat(value.value)
        except ValueError:
            raise _wrong(text, f"'{value.value}' is no ISO 8601 time") from None
        if moment.tzinfo is not None:
            raise _wrong(text, f"'{value.value}' has a time zone, and times of a cohort have none (UTC)")
        return pl.lit(moment, dtype=pl.Datetime("us"))
    if kind in _TEXT_KINDS and not isinstance(value.value, bool):
        # YAML and people write codes as numbers; a table's category holds their text.
        number = value.value
        return pl.lit(number if isinstance(number, str) else f"{number:g}")
    wanted = {"number": float, "boolean": bool}.get(kind)
    if wanted is None or type(value.value) is not wanted:
        raise _wrong(text, f"'{left}' is a {kind} and cannot be compared with {value.value!r}")
    return pl.lit(value.value)


def _wrong(text: str, why: str, way_out: str = "write it like: diastolic > systolic and age >= 18") -> PlanError:
    return PlanError(f"rule '{text}': {why}", way_out)
