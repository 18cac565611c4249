"""What a column's name suggests, in English and Chinese. A suggestion is put to the user, never acted on unseen."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def _vocabulary() -> dict[str, Any]:
    import yaml

    content = resources.files(__package__).joinpath("names.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(content))


@cache
def _words(topic: str) -> tuple[frozenset[str], tuple[str, ...]]:
    entry = _vocabulary()[topic]
    return frozenset(entry["en"].split()), tuple(entry.get("zh", "").split())


@cache
def values(topic: str) -> frozenset[str]:
    """The values of a topic (`missing`, `event`, `no_event`), lower case."""
    return frozenset(_vocabulary()[topic]["values"])


def tokens(name: str) -> list[str]:
    """The words of a column's name, lower case: `PatientNbr`, `patient_nbr` and `patient nbr` are [patient, nbr]."""
    return re.findall(r"[^\W_]+", _CAMEL.sub(" ", name).lower())


def says(name: str, topic: str) -> bool:
    """Whether a name holds a word of a topic of names.yaml."""
    english, chinese = _words(topic)
    return not english.isdisjoint(tokens(name)) or any(word in name for word in chinese)


def is_called(name: str, topic: str) -> bool:
    """Whether a name is, as a whole, one word of a topic."""
    return " ".join(tokens(name)) in _words(topic)[0]


def names_a_patient(name: str) -> bool:
    """Whether a name is that of a patient's id, and of nothing else about the patient (not `patient_age`)."""
    person, chinese = _words("person")
    if any(word in name for word in chinese):
        return not any(says(name, topic) for topic in ("identifies", "sensitive", "birth"))
    words = set(tokens(name))
    joined = {word for word in words if word.endswith("id") and word[:-2] in person}
    return bool(words & (person | joined)) and words <= person | joined | _words("number")[0]


def names_a_site(name: str) -> bool:
    """Whether a name is that of a hospital or site, and of nothing that happened there (not `time_in_hospital`)."""
    site, chinese = _words("site")
    if any(word in name for word in chinese):
        return True
    words = set(tokens(name))
    return bool(words & site) and words <= site | _words("number")[0] | _words("beside_site")[0]


def names_an_id(name: str) -> bool:
    """Whether a name ends like an id or number: `id`, `record_no`, `RecordID`."""
    words = tokens(name)
    if any(word in name for word in _words("number")[1]):
        return True
    known = _words("person")[0] | _words("record")[0]
    return bool(words) and (words[-1] in _words("number")[0] or (words[-1].endswith("id") and words[-1][:-2] in known))


def names_a_record(name: str) -> bool:
    """Whether a name is that of one row: `encounter_id`, `rownames`, `id`."""
    words = tokens(name)
    if len(words) == 1 and (names_an_id(name) or words[0] in _words("record")[0]):
        return True
    return names_an_id(name) and says(name, "record")


def plain(name: str) -> str:
    """A name as it may stand in a comment: one line, printable, at most 60 characters long."""
    out = "".join(character if character.isprintable() else "?" for character in name)
    return out if len(out) <= 60 else out[:59] + "…"
