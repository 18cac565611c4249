"""Planted: objects in which every attribute of the standard's table carries an invented identity whose fate is known.

In the manner of the MIDI-B challenge (2024): what an action should do with each value is decided beforehand by the
table, then each value is looked for after de-identification, read by pydicom and not by the walker that wrote it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bedside.intake.dicom.quiet import quiet
from bedside.prepare.deidentify.apply import PATIENT_ID, PATIENT_NAME, Applier
from bedside.prepare.deidentify.document import deidentify
from bedside.prepare.deidentify.profile import Profile

PLACES = ("top", "nested", "deep")
NEST = 0x00081115  # Referenced Series Sequence: kept, so its items must be looked into
PRIVATE_GROUP = 0x0099
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLANATION = 0x00283003  # LUT Explanation: free text that is kept
_NEUTRAL = {"DS": "2.5", "IS": "12", "CS": "CHEST", "SH": "B30F", "LO": "STANDARD", "FD": 0.75, "FL": 0.5, "US": 7}
_SKIPPED = {NEST, 0x00080016, 0x00080018}


@dataclass(frozen=True)
class Fate:
    """One planted value: where, under which tag, the letter that should befall it, and whether it did.

    `leaked` says that the planted identity can still be read; None where nothing identifying was planted.
    """

    place: str
    tag: int
    letter: str
    right: bool
    leaked: bool | None


def fates(applier: Applier, *, patients: int, seed: int) -> Iterator[Fate]:
    """Every planted value of `patients` invented patients, and what became of it."""
    import pydicom

    rng = np.random.default_rng(seed)
    for number in range(patients):
        who = _Who(rng, number)
        with quiet():
            planted = _object(applier.profile, who)
            stream = io.BytesIO()
            planted.save_as(stream, enforce_file_format=True)
            made = deidentify(stream.getvalue(), applier).to_bytes()
            found = list(_judged(applier, who, planted, pydicom.dcmread(io.BytesIO(made)), made))
        yield from found


class _Who:
    """An invented person, whose words stand nowhere else."""

    def __init__(self, rng: np.random.Generator, number: int) -> None:
        letters = "BCDFGHJKLMNPQRSTVWXZ"
        self.family, self.given = ("".join(rng.choice(list(letters), 9)) for _ in range(2))
        self.number = f"{rng.integers(10**8, 10**9)}"
        self.count = number
        self.rng = rng

    def value(self, vr: str, tag: int, *, own: bool = True) -> Any:
        """A value of a VR that identifies the person (`own`) or the place, or None for one that cannot (a number's
        four bytes)."""
        text = f"{self.family} {self.number}" if own else "Northern Site 7"
        return {
            "PN": f"{self.family}^{self.given}",
            "DA": f"19{10 + tag % 80:02d}{1 + tag % 12:02d}{1 + tag % 28:02d}",
            "TM": f"{tag % 24:02d}{tag % 60:02d}{tag % 59:02d}.{tag % 899_999 + 100_000}",
            "DT": f"19{10 + tag % 80:02d}{1 + tag % 12:02d}{1 + tag % 28:02d}{tag % 24:02d}3000",
            "UI": f"1.3.6.1.4.1.{self.number}.{tag}",
            "AS": "093Y",
            "CS": f"{self.family}",
            "AE": f"{self.family}",
            "SH": f"{self.family[:6]}{self.number}" if own else "Site 7",
            "UR": f"http://{self.family}.example/{self.number}",
            "DS": "71.5",
            "IS": "71",
            **dict.fromkeys(("LO", "ST", "LT", "UT", "UC"), text),
            **dict.fromkeys(("OB", "UN"), f"{text} ".encode()),
        }.get(vr)


def _object(profile: Profile, who: _Who) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    top = Dataset()
    top.file_meta = FileMetaDataset()
    top.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    top.file_meta.SourceApplicationEntityTitle = who.family
    top.file_meta.PrivateInformationCreatorUID = f"1.3.6.1.4.1.{who.number}"
    top.file_meta.PrivateInformation = who.family.encode() + b" "
    top.preamble = f"{who.family} {who.number}".encode().ljust(128, b" ")
    deep, nested = Dataset(), Dataset()
    for each in (deep, nested, top):
        _plant(each, profile, who)
    nested.add_new(NEST, "SQ", [deep])
    top.add_new(NEST, "SQ", [nested])
    top.SOPClassUID, top.SOPInstanceUID = _CT, f"1.3.6.1.4.1.{who.number}.{who.count}.1"
    top.file_meta.MediaStorageSOPClassUID, top.file_meta.MediaStorageSOPInstanceUID = _CT, top.SOPInstanceUID
    top.PatientName, top.PatientID = f"{who.family}^{who.given}", f"ID{who.number}"
    top.LUTExplanation = f"curve made for {who.given}"  # an attribute that is kept, with a name in it
    return top


def _plant(dataset: Any, profile: Profile, who: _Who) -> None:
    from pydicom.datadict import DicomDictionary
    from pydicom.dataset import Dataset

    for tag in profile.table:
        if tag in _SKIPPED or tag >> 16 in (0x0000, 0x0002, 0xFFFC):
            continue
        vr = str(DicomDictionary[tag][0]).split(" or ")[0]
        if vr == "SQ":
            item = Dataset()
            item.add_new(0x00081030, "LO", f"{who.family} {who.number}")
            item.add_new(0x00100010, "PN", f"{who.family}^{who.given}")
            dataset.add_new(tag, "SQ", [item])
        elif (value := who.value(vr, tag, own=profile.rule(tag).action != "K")) is not None:
            dataset.add_new(tag, vr, value)
    for tag in _kept(profile):
        vr = str(DicomDictionary[tag][0])
        dataset.add_new(tag, vr, _NEUTRAL[vr])
    block = dataset.private_block(PRIVATE_GROUP, "WHO KNOWS", create=True)
    block.add_new(0x01, "LO", f"{who.family} {who.number}")
    block.add_new(0x02, "SQ", [Dataset()])


def _kept(profile: Profile) -> list[int]:
    """Attributes of acquisition and image that the table does not name and that say nothing of a person."""
    from pydicom.datadict import DicomDictionary

    return [
        tag
        for tag, entry in DicomDictionary.items()
        if tag >> 16 in (0x0018, 0x0028)
        and str(entry[0]) in _NEUTRAL
        and tag not in profile.table
        and tag not in (_EXPLANATION, 0x00280303)
        and not entry[3]
    ]


def _judged(applier: Applier, who: _Who, before: Any, after: Any, made: bytes) -> Iterator[Fate]:
    old, new = before, after
    words = [who.family.encode(), who.given.encode(), who.number.encode()]
    for place in PLACES:
        if place != "top":
            old, new = old[NEST].value[0], (new[NEST].value[0] if NEST in new and new[NEST].value else None)
        if new is None:
            raise ValueError("the sequence that is kept has gone")
        for element in old:
            tag = int(element.tag)
            if tag in _SKIPPED:
                continue
            if tag >> 16 & 1:
                leaked = tag in new and _says(new[tag].value, words)
                yield Fate(place, tag, "private", tag not in new, leaked)
                continue
            letter = applier.profile.rule(tag).action
            yield _fate(applier, who, place, element, new.get(tag), letter, words)
    head = after.file_meta
    gone = not any(word in made[: int(head.FileMetaInformationGroupLength) + 144] for word in words[:2])
    for tag in (0x00020016, 0x00020100, 0x00020102, 0x00000000):  # the last stands for the preamble
        yield Fate("file_meta", tag, "X", gone, not gone)


def _fate(applier: Applier, who: _Who, place: str, old: Any, new: Any, letter: str, words: list[bytes]) -> Fate:
    tag, value = int(old.tag), old.value
    if tag == _EXPLANATION:
        return Fate(place, tag, letter, new is not None, _says(new and new.value, words))
    if letter == "K":
        if old.VR == "SQ":
            named = _says(new and new.value, words)
            return Fate(place, tag, letter, new is not None and not named, named)
        return Fate(place, tag, letter, new is not None and new.value == value, None)
    leaked: bool | None = None
    if old.VR not in ("DS", "IS", "AS"):
        leaked = new is not None and (_same(old, new) or _says(new.value, words))
    if place == "top" and tag in (PATIENT_ID, PATIENT_NAME):
        right = new is not None and str(new.value).rstrip("^") == _pseudonym(applier, who)
    elif letter == "X":
        right = new is None
    elif letter == "Z":
        right = new is not None and not new.value
    elif letter in ("D", "U"):
        right = new is not None and bool(new.value) and not _same(old, new)
        if old.VR == "UI" and right:
            right = str(new.value).encode() == applier.pseudonyms.uid(str(value).encode())
    elif letter == "S" and old.VR == "TM":
        right, leaked = new is not None and str(new.value) == str(value), None
    else:
        right = new is not None and not leaked
    return Fate(place, tag, letter, right, leaked)


def _pseudonym(applier: Applier, who: _Who) -> str:
    return applier.pseudonyms.patient(f"id:ID{who.number}".encode())


def _same(old: Any, new: Any) -> bool:
    return old.VR != "SQ" and bool(old.value == new.value)


def _says(value: Any, words: list[bytes]) -> bool:
    """Whether any of these words can be read in a value, items of sequences included."""
    from pydicom.sequence import Sequence

    if isinstance(value, Sequence):
        return any(_says(element.value, words) for item in value for element in item)
    data = value if isinstance(value, bytes) else str(value).encode()
    return any(word in data for word in words)
