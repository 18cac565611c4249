"""The glossary: one place for the name (English, Chinese), definition, direction and source of every id in evidence.

Every `*.json` in this folder is loaded, then the entry points `bedside.terms`: each is a mapping like such a file's
content, or the path of one. An id has one meaning: a second file that defines it is an error.
"""

from __future__ import annotations

import difflib
import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from bedside.cohort import plugins
from bedside.errors import DataError

Lang = Literal["en", "zh"]
Kind = Literal["metric", "method", "finding", "figure", "word"]
Direction = Literal["higher", "lower", "target", "none"]


@dataclass(frozen=True)
class Term:
    """One id of the glossary.

    `en`/`zh` are its names (of a finding: `str.format` templates over its values). A metric has a `direction`; with
    "target" its ideal is `target`. `unit` is UCUM; "%" shows a fraction as a percentage.
    """

    id: str
    kind: Kind
    en: str
    zh: str
    definition_en: str = ""
    definition_zh: str = ""
    direction: Direction | None = None
    target: float | None = None
    unit: str | None = None
    source: str | None = None

    def name(self, lang: Lang) -> str:
        """The name in a language."""
        return self.zh if lang == "zh" else self.en

    def definition(self, lang: Lang) -> str:
        """The definition in a language; empty when the name says it all."""
        return self.definition_zh if lang == "zh" else self.definition_en


_KNOWN = {item.name for item in fields(Term)} - {"id"}
_ALLOWED = {"kind": Kind.__args__, "direction": (*Direction.__args__, None)}  # type: ignore[attr-defined]


def term(key: str) -> Term:
    """The term of an id; raises KeyError naming the nearest ids."""
    found = terms().get(key)
    if found is None:
        near = difflib.get_close_matches(key, terms(), n=3)
        raise KeyError(f"the glossary has no '{key}'" + (f"; near: {', '.join(near)}" if near else ""))
    return found


def text(key: str, lang: Lang, /, **values: Any) -> str:
    """A term's name with its values put in; raises KeyError for an unknown id, ValueError for a missing value.

    Numbers without a format of their own read as everywhere: thousands apart, three significant digits, − for minus.
    The value `metric` is an id, and is put in words too.
    """
    metric = terms().get(str(values.get("metric")))
    if metric is not None and metric.kind == "metric":
        values["metric"] = metric.name(lang)
    try:
        return filled(term(key).name(lang), lang, values)
    except ValueError as error:
        raise ValueError(f"the text of '{key}': {error}") from None


def filled(template: str, lang: Lang, values: Mapping[str, Any]) -> str:
    """A template with its values put in; ValueError for a missing value, or a template that takes more than names."""
    try:
        return _Template(lang).vformat(template, (), values)
    except KeyError as error:
        raise ValueError(f"it needs the value {error} and has {sorted(values)}") from None


@cache
def terms() -> Mapping[str, Term]:
    """Every term by id; raises DataError when one is malformed or defined twice."""
    return merged(_sources())


def merged(sources: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Term]:
    """The terms of several (source, content) by id; raises DataError when one is malformed or defined twice."""
    out: dict[str, Term] = {}
    origin: dict[str, str] = {}
    for source, data in sources:
        for key, entry in data.items():
            if key in out:
                raise DataError(f"glossary: '{key}' is defined in {origin[key]} and in {source}", "keep one")
            out[key] = _read(source, key, entry)
            origin[key] = source
    return out


def placeholders(template: str) -> Sequence[str]:
    """The names of the values that a finding's template takes, sorted."""
    return sorted({name for _, name, _, _ in string.Formatter().parse(template) if name is not None})


def _sources() -> Iterator[tuple[str, Mapping[str, Any]]]:
    folder = resources.files(__package__)
    for item in sorted(folder.iterdir(), key=lambda each: each.name):
        if item.name.endswith(".json"):
            yield item.name, _parse(item.name, item.read_text(encoding="utf-8"))
    for name in plugins.catalogue("terms"):
        loaded = plugins.load("terms", name)
        if isinstance(loaded, Mapping):
            yield f"bedside.terms:{name}", loaded
        else:
            yield f"bedside.terms:{name}", _parse(str(loaded), Path(loaded).read_text(encoding="utf-8"))


def _parse(source: str, content: str) -> Mapping[str, Any]:
    try:
        data = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(f"glossary {source}: {error}", "write {id: {kind, en, zh, …}} as JSON") from None
    if not isinstance(data, dict):
        raise DataError(f"glossary {source}: not a mapping of ids", "write {id: {kind, en, zh, …}}")
    return data


def _read(source: str, key: str, entry: Mapping[str, Any]) -> Term:
    where = f"glossary {source}, '{key}'"
    unknown = set(entry) - _KNOWN
    missing = {"kind", "en", "zh"} - set(entry)
    if unknown or missing:
        raise DataError(f"{where}: unknown {sorted(unknown)}, missing {sorted(missing)}", f"use {sorted(_KNOWN)}")
    for name, allowed in _ALLOWED.items():
        if entry.get(name) not in allowed:
            raise DataError(f"{where}: {name} {entry.get(name)!r}", f"one of {allowed}")
    if entry["kind"] == "metric" and entry.get("direction") is None:
        raise DataError(f"{where}: a metric without a direction", "higher, lower, target or none")
    return Term(id=key, **entry)


class _Template(string.Formatter):
    """`str.format` for plain names only (no attributes, no indices), numbers shown as everywhere."""

    def __init__(self, lang: Lang) -> None:
        self.lang = lang

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        if not field_name.isidentifier():
            raise ValueError(f"a template takes plain names, not '{field_name}'")
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        # Imported here: the report, which owns how a number looks, is written in the glossary's terms.
        from bedside.evidence.report.numbers import plain

        if format_spec == "" or value is None or isinstance(value, str):
            return plain(value, self.lang)
        return format(value, format_spec).replace("-", "\u2212")
