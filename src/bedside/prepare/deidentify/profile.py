"""Profile: what PS3.15 Annex E says of each attribute, with the options chosen, as one letter.

    K keep (a sequence: look into its items)   X remove   Z empty   D dummy value   U mapped UID
    S date shifted   C text cleaned (a sequence: look into its items)

Where the table leaves a choice to the object's type (X/Z, X/D, X/Z/D, Z/D), the value that is valid for every type is
taken: Z for X/Z, else D. What the table does not name is kept when the standard's dictionary knows it, under a second
net by VR: names, dates, addresses of machines and retired free text are removed, UIDs that are no class are mapped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Literal, get_args

from bedside.errors import PlanError

Dates = Literal["remove", "shift", "full"]
RETAINS = ("uids", "device", "institution", "patient_characteristics", "safe_private")
CLEANS = ("descriptors", "graphics", "structured_content")

# (code value, meaning) of PS3.16 CID 7050, by option of the table.
CODES = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
    "clean_structured_content": ("113104", "Clean Structured Content Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "dates_full": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "dates_shift": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_device": ("113109", "Retain Device Identity Option"),
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_institution": ("113112", "Retain Institution Identity Option"),
}
_CHOICES = {"X/Z": "Z", "X/D": "D", "X/Z/D": "D", "Z/D": "D", "X/Z/U*": "U"}
# X/Z where an image may leave it out but not empty: the Referenced Study Sequence.
_LEFT_OUT = {0x00081110: "X"}
_TEMPORAL = frozenset({"DA", "DT", "TM"})
_NET_REMOVED = frozenset({"PN", "AE", "UR"})
_FREE_TEXT = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "OB", "UN"})
# UIDs and URLs that name a class, a code or a coding scheme, never a patient's object.
_NAMING = frozenset(
    {0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x0008010C, 0x0008010D, 0x0008010E, 0x00080117, 0x00080118}
    | {0x00080120, 0x00081150, 0x0008115A, 0x00083002, 0x0008040E, 0x00340003, 0x04000010, 0x04000510}
    | {0x30100052, 0x30100053}
)
# Objects drawn over an image may spell a name: with the Graphic Annotation Sequence's dummy they go.
_DRAWN = frozenset({0x00700008, 0x00700009})


@dataclass(frozen=True)
class Rule:
    """What is done with an attribute: its letter, the VRs that the dictionary admits (empty: unknown), its keyword."""

    action: str
    vrs: frozenset[str]
    keyword: str = ""


UNKNOWN = Rule("X", frozenset())


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with options. `dates`: remove, shift (keeps intervals within a patient) or full; `retain` any
    of RETAINS, `clean` any of CLEANS. Raises PlanError for another word."""

    dates: Dates = "remove"
    retain: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dates not in get_args(Dates):
            raise PlanError(f"dates is {self.dates!r}", f"one of {', '.join(get_args(Dates))}")
        for name, known in (("retain", RETAINS), ("clean", CLEANS)):
            unknown = sorted(set(getattr(self, name)) - set(known))
            if unknown:
                raise PlanError(f"{name} cannot be {', '.join(unknown)}", f"any of {', '.join(known)}")
            object.__setattr__(self, name, tuple(each for each in known if each in getattr(self, name)))

    @property
    def options(self) -> tuple[str, ...]:
        """The chosen options by their key in the table, in the order of CODES."""
        chosen = {f"retain_{each}" for each in self.retain} | {f"clean_{each}" for each in self.clean}
        return tuple(each for each in CODES if each in chosen | {f"dates_{self.dates}"})

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"dates": self.dates, "retain": list(self.retain), "clean": list(self.clean)}

    @cached_property
    def table(self) -> dict[int, str]:
        """Tag → letter of every attribute that the standard's table names, but for repeating and private groups."""
        return {
            int(tag, 16): self._letter(action, options)
            for tag, (action, options) in standard_table().items()
            if "x" not in tag and tag != "ggggeeee"
        }

    @cached_property
    def _rules(self) -> dict[int, Rule]:
        return {}

    def rule(self, tag: int) -> Rule:
        """What is done with a public tag (group << 16 | element)."""
        found = self._rules.get(tag)
        if found is None:
            found = self._rules[tag] = self._made(tag)
        return found

    def _made(self, tag: int) -> Rule:
        from pydicom.datadict import DicomDictionary

        entry = DicomDictionary.get(tag)
        if entry is None or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFE):
            return UNKNOWN  # file meta is made anew; repeating groups are overlays, curves and retired ones
        vrs = frozenset(str(entry[0]).split(" or "))
        letter = self.table.get(tag)
        if letter == "Z":
            letter = _LEFT_OUT.get(tag, letter)
        if letter is None:
            letter = self._net(tag, vrs, bool(entry[3]))
        if letter == "D" and "SQ" in vrs and "Code" not in entry[4] and tag != CONTENT:
            letter = "K"  # its items hold what the table names
        return Rule(letter, vrs, str(entry[4]))

    def _letter(self, action: str, options: dict[str, str]) -> str:
        chosen = {options[name] for name in self.options if name in options}
        if "K" in chosen:
            return "K"
        if "C" in chosen:
            return "S" if options.get("dates_shift") == "C" and self.dates == "shift" else "C"
        return _CHOICES.get(action, action)

    def _net(self, tag: int, vrs: frozenset[str], retired: bool) -> str:
        if tag in _NAMING:
            return "K"
        if vrs & _NET_REMOVED or (retired and vrs & _FREE_TEXT):
            return "X"
        if vrs & _TEMPORAL:
            return {"remove": "X", "shift": "S", "full": "K"}[self.dates]
        if tag in _DRAWN and "graphics" not in self.clean:
            return "X"
        if "UI" in vrs and "uids" not in self.retain:
            return "U"
        return "K"


CONTENT = 0x0040A730


def standard_table() -> dict[str, tuple[str, dict[str, str]]]:
    """PS3.15 Table E.1-1: tag as eight hexadecimal digits → (action of the Basic Profile, {option: K or C})."""
    text = resources.files("bedside.prepare.deidentify").joinpath("table.json").read_text(encoding="utf-8")
    return {tag: (action, options) for tag, (action, options) in json.loads(text)["attributes"].items()}


def chosen(dates: str, retain: Iterable[str], clean: Iterable[str]) -> Profile:
    """The profile of words that a user wrote; `-` and `_` are one."""
    words = [tuple(each.strip().replace("-", "_") for each in group) for group in (retain, clean)]
    return Profile(dates, words[0], words[1])  # type: ignore[arg-type]
