"""Apply: a profile to the raw elements of one data set; what is kept goes through byte for byte, pixels uncopied."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from bedside.prepare.deidentify.elements import LONG, Buffer, Element, Encoding, Odd
from bedside.prepare.deidentify.profile import CODES, CONTENT, Profile, Rule
from bedside.prepare.deidentify.pseudonyms import Pseudonyms
from bedside.prepare.deidentify.values import cleaned, dummy, pattern_of, shifted, words_of

PATIENT_NAME, PATIENT_ID, STUDY_UID = 0x00100010, 0x00100020, 0x0020000D
# Who the patient is, and what else of the header must not turn up in its free text.
NAMES = frozenset({PATIENT_NAME, 0x00080090, 0x00081050, 0x00081070, 0x00101001, 0x00101005, 0x00101060, 0x00321032})
IDENTIFIERS = NAMES | {PATIENT_ID, 0x00080050, 0x00080080, 0x00080081, 0x00101000, 0x00101040, 0x00102154}
_WHO = IDENTIFIERS | {STUDY_UID}
_REMEMBERED = 1000
_METHOD = {0x00120062, 0x00120063, 0x00120064, 0x00280303}
_TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
_NUMERIC = frozenset({"DS", "IS", "FD", "FL", "US", "SS", "UL", "SL"})
_DIGITS = b"0123456789+-.eE \\\0"
_TEMPORAL_WORDS = {"remove": "REMOVED", "shift": "MODIFIED", "full": "UNMODIFIED"}


@dataclass
class Subject:
    """Whose data set it is: the pseudonym, the days its dates go back, and the pattern of its own identifiers."""

    pseudonym: str
    days: int
    own: re.Pattern[bytes] | None


@dataclass
class Applied:
    """The parts of the new data set in order, what was done (letter → values), and who it is of."""

    parts: list[Buffer]
    done: Counter[str]
    subject: Subject
    uids: dict[int, str] = field(default_factory=dict)


def subject_of(values: Mapping[int, bytes], profile: Profile, pseudonyms: Pseudonyms) -> Subject:
    """The patient of a data set, from its values of `IDENTIFIERS` and its Study Instance UID: by Patient ID, without
    one by name, without either each study stands for itself."""
    identity = next(
        (
            kind + plain
            for kind, tag in ((b"id:", PATIENT_ID), (b"name:", PATIENT_NAME), (b"study:", STUDY_UID))
            if (plain := values.get(tag, b"").strip(b" \0"))
        ),
        b"nobody",
    )
    pseudonym = pseudonyms.patient(identity)
    own = pattern_of(
        word
        for tag, value in values.items()
        if tag != STUDY_UID and profile.rule(tag).action != "K"
        for word in (words_of(value) if tag in NAMES else [value.strip(b" \0")])
    )
    return Subject(pseudonym, pseudonyms.days(pseudonym), own)


class Applier:
    """A profile under a key. `strict` says whether an element whose VR is not the dictionary's raises Odd (the fast
    path) or is judged by what it is (after the slow path has read it)."""

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms) -> None:
        self.profile = profile
        self.pseudonyms = pseudonyms
        self.known: dict[int, Rule] = {}
        self._subjects: dict[tuple[tuple[int, bytes], ...], Subject] = {}
        self._statements: dict[Encoding, list[tuple[int, bytes]]] = {}
        self.keeps_private = "safe_private" in profile.retain

    def apply(self, data: Buffer, elements: list[Element], encoding: Encoding, *, strict: bool) -> Applied:
        """The new data set of these elements."""
        subject = self._subject(data, elements)
        work = _Work(self, data, encoding, subject, strict)
        made = Applied([], work.done, subject, work.uids)
        if encoding not in self._statements:
            self._statements[encoding] = list(self._statement(work))
        pending = self._statements[encoding][:]
        private = 0
        for each in elements:
            tag = each.tag
            if tag & 0x10000:  # an odd group
                private += 1
                continue
            while pending and pending[0][0] < tag:
                made.parts.append(pending.pop(0)[1])
            if tag not in _METHOD:
                work.element(each, made.parts, top=True)
        work.done["private"] += private
        made.parts += [part for _, part in pending]
        if self.keeps_private:
            work.private(elements, made.parts)
        return made

    def _subject(self, data: Buffer, elements: list[Element]) -> Subject:
        """The patient of a data set; recent ones are remembered, since a series has many."""
        values = {each.tag: bytes(data[each.value : each.end]) for each in elements if each.tag in _WHO}
        key = tuple(values.items())
        found = self._subjects.get(key)
        if found is None:
            if len(self._subjects) >= _REMEMBERED:
                self._subjects.clear()
            found = self._subjects[key] = subject_of(values, self.profile, self.pseudonyms)
        return found

    def _statement(self, work: _Work) -> Iterator[tuple[int, bytes]]:
        """What PS3.15 E.1.1 asks to be said of the object: that, how and by which options identity was removed."""
        codes = [CODES["basic"], *(CODES[each] for each in self.profile.options)]
        items = [
            work.write(0x00080100, "SH", value.encode())
            + work.write(0x00080102, "SH", b"DCM")
            + work.write(0x00080104, "LO", meaning.encode())
            for value, meaning in codes
        ]
        yield 0x00120062, work.write(0x00120062, "CS", b"YES")
        yield 0x00120063, work.write(0x00120063, "LO", b"Bedside PS3.15 Annex E")
        yield 0x00120064, work.sequence(0x00120064, items)
        yield 0x00280303, work.write(0x00280303, "CS", _TEMPORAL_WORDS[self.profile.dates].encode())


class _Work:
    """One data set on its way."""

    def __init__(self, applier: Applier, data: Buffer, encoding: Encoding, subject: Subject, strict: bool) -> None:
        self.profile, self.pseudonyms, self._known = applier.profile, applier.pseudonyms, applier.known
        self.data, self.encoding, self.subject, self.strict = data, encoding, subject, strict
        self.safe = applier.keeps_private
        self.done: Counter[str] = Counter()
        self.uids: dict[int, str] = {}
        order = ">" if encoding.big else "<"
        self._short = struct.Struct(order + "HH2sH").pack
        self._long = struct.Struct(order + "HH2sHI").pack
        self._implicit = struct.Struct(order + "HHI").pack

    def element(self, each: Element, out: list[Buffer], *, top: bool = False) -> None:
        """Append what stands for one element, if anything does."""
        tag = each.tag
        if tag & 0x10000:  # an odd group
            self.done["private"] += 1
            return
        rule = self._known.get(tag)
        if rule is None:
            rule = self._known[tag] = self.profile.rule(tag)
        action = rule.action
        if action == "X":
            self.done["X"] += 1
            return
        if each.vr not in rule.vrs:
            self._odd_if(True)
            if "SQ" in rule.vrs or each.vr == "UN":  # what lies inside cannot be looked into
                self.done["X"] += 1
                return
        if each.items is not None:
            self._sequence(each, action, rule.keyword, out)
        elif tag in (PATIENT_ID, PATIENT_NAME) and top:
            self.done["pseudonym"] += 1
            name = self.subject.pseudonym + ("^" if tag == PATIENT_NAME else "")
            out.append(self.write(tag, each.vr, name.encode()))
        elif action == "K":
            self._keep(each, out)
        else:
            self._replace(each, action, out)
        if top and tag in (0x00080016, 0x00080018, STUDY_UID, 0x0020000E):
            self.uids[tag] = self._mapped_uid(each, action)

    def _odd_if(self, odd: bool) -> None:
        if odd and self.strict:
            raise Odd("an element has another VR than the standard's dictionary says")

    def _mapped_uid(self, each: Element, action: str) -> str:
        value = bytes(self.data[each.value : each.end])
        return (self.pseudonyms.uid(value) if action == "U" else value).strip(b"\0 ").decode("latin-1")

    def _sequence(self, each: Element, action: str, keyword: str, out: list[Buffer]) -> None:
        items = each.items if each.items is not None else []
        self.done[action if action in "ZD" else "recursed"] += 1
        if action == "Z" or not items:
            out.append(self.sequence(each.tag, []))
        elif action == "D":
            out.append(self.sequence(each.tag, [self._dummy_item(each.tag)]))
        else:
            out.append(self.sequence(each.tag, [self._item(item) for item in items]))

    def _item(self, elements: list[Element]) -> bytes:
        parts: list[Buffer] = []
        for each in elements:
            self.element(each, parts)
        if self.safe:
            self.private(elements, parts)
        return b"".join(parts)

    def _dummy_item(self, tag: int) -> bytes:
        code = (
            self.write(0x00080100, "SH", b"REMOVED")
            + self.write(0x00080102, "SH", b"99BEDSIDE")
            + self.write(0x00080104, "LO", b"Removed")
        )
        if tag != CONTENT:
            return code
        return (
            self.write(0x0040A010, "CS", b"CONTAINS")
            + self.write(0x0040A040, "CS", b"TEXT")
            + self.sequence(0x0040A043, [code])
            + self.write(0x0040A160, "UT", b"REMOVED")
        )

    def _keep(self, each: Element, out: list[Buffer]) -> None:
        if each.vr in _TEXT and self.subject.own is not None:
            if self.subject.own.search(self.data[each.value : each.end]):
                self.done["own"] += 1
                out.append(self.write(each.tag, each.vr, dummy(each.vr)))  # not empty: it may be of type 1
                return
        elif each.vr in ("DS", "IS") and bytes(self.data[each.value : each.end]).strip(_DIGITS):
            self.done["own"] += 1
            out.append(self.write(each.tag, each.vr, b""))
            return
        self.done["K"] += 1
        out.append(self.data[each.start : each.end])

    def _replace(self, each: Element, action: str, out: list[Buffer]) -> None:
        value = bytes(self.data[each.value : each.end])
        self.done[action] += 1
        if action == "Z" or not value.strip(b"\0 "):
            new = b""
        elif action == "U" or (action == "D" and each.vr == "UI"):
            new = b"\\".join(self.pseudonyms.uid(one) for one in value.split(b"\\")) if each.vr == "UI" else b""
        elif action == "D":
            new = dummy(each.vr)
        elif action == "S":
            new = shifted(value, each.vr, self.subject.days) if each.vr in ("DA", "DT", "TM") else b""
        else:
            new = cleaned(value, self.subject.own) if each.vr in _TEXT else b""
        out.append(self.write(each.tag, each.vr, new))

    def private(self, elements: list[Element], out: list[Buffer]) -> None:
        """Append the private elements that are known to be safe, each after its block's creator, in tag order."""
        creators = {
            (each.tag >> 16, each.tag & 0xFF): bytes(self.data[each.value : each.end]).strip(b"\0 ").decode("latin-1")
            for each in elements
            if each.tag >> 16 & 1 and 0x10 <= each.tag & 0xFFFF <= 0xFF
        }
        kept: dict[int, bytes] = {}
        for each in elements:
            group, number = each.tag >> 16, each.tag & 0xFFFF
            creator = creators.get((group, number >> 8))
            if not group & 1 or creator is None or number & 0xFF not in safe_private().get((creator, group), ()):
                continue
            value = bytes(self.data[each.value : each.end])
            if each.vr not in _NUMERIC or (each.vr in ("DS", "IS") and value.strip(_DIGITS)):
                continue
            self.done["safe_private"] += 1
            kept[group << 16 | number >> 8] = self.write(group << 16 | number >> 8, "LO", creator.encode("latin-1"))
            kept[each.tag] = bytes(self.data[each.start : each.end])
        if not kept:
            return
        tagged = [(self._tag_at(part), part) for part in out] + list(kept.items())
        out[:] = [part for _, part in sorted(tagged, key=lambda pair: pair[0])]

    def _tag_at(self, part: Buffer) -> int:
        order = ">HH" if self.encoding.big else "<HH"
        group, number = struct.unpack_from(order, part)
        return int(group) << 16 | int(number)

    def write(self, tag: int, vr: str, value: bytes) -> bytes:
        """One element; a value of odd length is padded (PS3.5 section 6.2)."""
        if len(value) & 1:
            value += b"\0" if vr in ("UI", "OB", "UN") else b" "
        group, number = tag >> 16, tag & 0xFFFF
        if self.encoding.implicit:
            return self._implicit(group, number, len(value)) + value
        code = vr.encode()
        if code in LONG:
            return self._long(group, number, code, 0, len(value)) + value
        return self._short(group, number, code, len(value)) + value

    def sequence(self, tag: int, items: list[bytes]) -> bytes:
        """A sequence of defined lengths."""
        inner = b"".join(self._implicit(0xFFFE, 0xE000, len(item)) + item for item in items)
        return self.write(tag, "SQ", inner)


@cache
def safe_private() -> dict[tuple[str, int], frozenset[int]]:
    """(creator, group) → the element numbers of its block that are known to hold no identity."""
    text = resources.files("bedside.prepare.deidentify").joinpath("safe_private.json").read_text(encoding="utf-8")
    return {
        (creator, int(group, 16)): frozenset(int(number, 16) for number in numbers)
        for creator, groups in json.loads(text)["attributes"].items()
        for group, numbers in groups.items()
    }
