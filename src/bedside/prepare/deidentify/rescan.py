"""Re-scan: what identified the patients before is looked for in the new files, both read by pydicom."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bedside.intake.dicom.quiet import quiet
from bedside.intake.dicom.source import Entry
from bedside.prepare.deidentify.apply import IDENTIFIERS, NAMES
from bedside.prepare.deidentify.profile import Profile
from bedside.prepare.deidentify.pseudonyms import STANDARD_ROOT

SHORTEST = 4
_SPLIT = re.compile(r"[\^= ,\\]+")


def rescan(before: Entry, after: Path, profile: Profile) -> list[bool]:
    """For each identifying value of a file: whether it can still be found in the new one, its path included."""
    import pydicom

    with quiet():
        old = pydicom.dcmread(io.BytesIO(before.read()), force=True)
        text, exact = _said(pydicom.dcmread(io.BytesIO(after.read_bytes())))
        values = sorted(set(identifying(old, profile)))
    path = "/".join(after.parts[-4:]).casefold()
    found = []
    for kind, value in values:
        if kind == "uid":
            found.append(value in exact)
        else:
            found.append(value.casefold() in text or value.casefold() in path)
    return found


def identifying(dataset: Any, profile: Profile) -> Iterator[tuple[str, str]]:
    """(kind, value) of names, numbers, dates and UIDs that the profile does not keep, wherever they are nested."""
    for element in _elements(dataset):
        tag = int(element.tag)
        if tag >> 16 & 1 or profile.rule(tag).action in "KC":
            continue
        values = element.value if isinstance(element.value, list) or element.VM > 1 else [element.value]
        for one in map(str, values):
            value = one.strip(" \0")
            if element.VR == "UI":
                if value and not value.startswith(STANDARD_ROOT.decode()):
                    yield "uid", value
            elif element.VR == "DA" and len(value) == 8 and value.isdigit():
                yield "date", value
            elif tag in IDENTIFIERS:
                yield from (
                    ("text", each)
                    for each in {value, *(_SPLIT.split(value) if tag in NAMES else ())}
                    if len(each) >= SHORTEST
                )


def _said(dataset: Any) -> tuple[str, set[str]]:
    """All text of a data set, casefolded, and each whole value of it; coded words (CS) count as a whole only."""
    pieces: list[str] = []
    exact: set[str] = set()
    for element in _elements(dataset):
        if element.VR in ("OB", "OW", "OF", "OD", "OL", "OV"):
            continue
        value = element.value
        ones = [str(each) for each in value] if element.VM > 1 else [str(value)]
        exact |= set(ones)
        if element.VR == "CS":
            pieces += [f"\n{one}\n" for one in ones if one.isupper() is False]
        elif element.VR not in ("UI", "DS", "IS", "FD", "FL", "US", "SS", "UL", "SL", "AT"):
            pieces += ones
    return "\n".join(pieces).casefold(), exact


def _elements(dataset: Any) -> Iterator[Any]:
    """Every leaf of a data set, items of sequences included; what pydicom cannot decode is passed over."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # noqa: S112  # whatever pydicom raises for one damaged value
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element
