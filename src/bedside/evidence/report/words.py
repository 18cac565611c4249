"""Text in both languages at once, and the terms that a report has used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from bedside.evidence.glossary import Lang, Term, terms, text
from bedside.evidence.report.numbers import plain

# Labels of series and groups that checks write; every other label is the user's own and is never looked up.
LABELS = frozenset(
    {"overall", "model", "treat_all", "treat_none", "event", "no_event", "ideal", "chance", "base", "other_fields"}
    | {"train_loss", "tune_loss"}
    | {"deletion_hottest", "deletion_random", "insertion_hottest", "insertion_random"}
)
LISTED = ("metric", "method", "figure", "word")
LANGS: tuple[Lang, ...] = ("en", "zh")
TAGS: Mapping[Lang, str] = {"en": "en", "zh": "zh-CN"}

# Control characters, and the marks that make text run backwards over what stands beside it.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")


def clean(value: object) -> str:
    """Text of a value that came from outside, its invisible characters shown as U+FFFD."""
    return _HIDDEN.sub("\ufffd", plain(value))


@dataclass(frozen=True)
class Both:
    """One text in English and in Chinese; printed once where they are the same."""

    en: str
    zh: str

    @classmethod
    def same(cls, value: object) -> Both:
        """A value that has no language: a name, a label, a digest."""
        return cls(clean(value), clean(value))

    def __getitem__(self, lang: Lang) -> str:
        return self.zh if lang == "zh" else self.en

    def __add__(self, other: Both | str) -> Both:
        if isinstance(other, str):
            return Both(self.en + other, self.zh + other)
        return Both(self.en + other.en, self.zh + other.zh)

    def __html__(self) -> str:
        if self.en == self.zh:
            return str(escape(self.en))
        return str(Markup("").join(spans(self)))


def spans(both: Both) -> Iterator[Markup]:
    """The text as two elements of which the page shows one."""
    for lang in LANGS:
        yield Markup('<span class="{}" lang="{}">{}</span>').format(lang, TAGS[lang], both[lang])


class Words:
    """The glossary as a report uses it: in both languages, remembering which ids were used and which are unknown."""

    def __init__(self) -> None:
        self.used: dict[str, Term] = {}
        self.unknown: list[str] = []

    def get(self, key: str) -> Term | None:
        """The term of an id, or None."""
        found = terms().get(key)
        if found is not None:
            self.used[key] = found
        return found

    def name(self, key: str) -> Both:
        """The name of an id that ought to be a term; an unknown one is shown as it is, and listed."""
        found = self.get(key)
        if found is None:
            self._miss(key)
            return Both.same(key)
        return Both(found.en, found.zh)

    def maybe(self, key: str) -> Both:
        """The name of an id, or the text itself when it is none: a figure's column, a note."""
        found = self.get(key)
        return Both.same(key) if found is None else Both(found.en, found.zh)

    def label(self, value: object) -> Both:
        """A label from the data as it is; only the few that checks themselves give are terms."""
        if isinstance(value, str):
            return self.name(value) if value in LABELS else Both.same(value)
        return Both(plain(value, "en"), plain(value, "zh"))

    def series(self, value: object) -> Both:
        """The name of a figure's series: a metric, a label that checks write, else as it is."""
        found = terms().get(value) if isinstance(value, str) else None
        return self.name(found.id) if found is not None and found.kind == "metric" else self.label(value)

    def definition(self, key: str) -> Both:
        """The definition of an id; empty for an unknown one."""
        found = self.get(key)
        return Both("", "") if found is None else Both(found.definition_en, found.definition_zh)

    def sentence(self, key: str, values: Mapping[str, Any]) -> Both:
        """A finding's text with its values put in; where there is none that fits, id and values, and the id is listed.

        So a report can still be made of evidence that is older, or newer, than the glossary here.
        """
        if self.get(key) is not None:
            shown = {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}
            try:
                return Both(text(key, "en", **shown), text(key, "zh", **shown))
            except ValueError:  # the text needs a value that the finding does not have
                pass
        self._miss(key)
        listed = "; ".join(f"{name} = {clean(value)}" for name, value in values.items())
        return Both.same(f"{key} ({listed})" if listed else key)

    def _miss(self, key: str) -> None:
        if key not in self.unknown:
            self.unknown.append(key)

    def told(self, key: str, **values: Both) -> Both:
        """A sentence whose values are texts in both languages."""
        en, zh = ({name: value[lang] for name, value in values.items()} for lang in LANGS)
        self.name(key)
        return Both(text(key, "en", **en), text(key, "zh", **zh))

    def glossary(self) -> list[tuple[str, list[Term]]]:
        """The terms used that have a definition, in name order within each kind; findings say what they are."""
        found = sorted(self.used.values(), key=lambda item: item.en.lower())
        by_kind = [(kind, [item for item in found if item.kind == kind and item.definition_en]) for kind in LISTED]
        return [(kind, items) for kind, items in by_kind if items]
