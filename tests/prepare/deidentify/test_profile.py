"""The profile is the standard's table, with its options; the second net is under it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.deidentify_table import compact

from bedside.errors import PlanError
from bedside.prepare.deidentify.profile import CLEANS, RETAINS, Profile, chosen, standard_table


def test_our_table_is_the_standards(shared_data: Path) -> None:
    rows = json.loads((shared_data / "standard" / "confidentiality_profile_attributes.json").read_text())
    assert json.loads(json.dumps(compact(rows)["attributes"])) == {k: list(v) for k, v in standard_table().items()}
    assert len(standard_table()) == 621


@pytest.mark.parametrize(
    ("tag", "letters"),
    [  # PS3.15 Table E.1-1, by hand: Basic Profile; dates shifted; everything retained and cleaned
        (0x00100010, "ZZZ"),  # Patient's Name
        (0x00100030, "ZZZ"),  # Patient's Birth Date has no option
        (0x00080020, "ZSK"),  # Study Date
        (0x00080018, "UUK"),  # SOP Instance UID
        (0x00181000, "DDK"),  # Device Serial Number, X/Z/D
        (0x00080080, "DDK"),  # Institution Name, X/Z/D
        (0x00101010, "XXK"),  # Patient's Age
        (0x00081030, "XXC"),  # Study Description
        (0x0040A730, "DDC"),  # Content Sequence
        (0x00081140, "UUK"),  # Referenced Image Sequence, X/Z/U*
        (0x00280010, "KKK"),  # Rows: not in the table
        (0x00140104, "XXX"),  # Secondary Reviewer Name: a name that the table forgets
        (0x00209312, "UUK"),  # Volume Frame of Reference UID: a UID that it forgets
        (0x60003000, "XXX"),  # Overlay Data
        (0x12345678, "XXX"),  # no attribute of the standard
    ],
)
def test_letters_of_well_known_attributes(tag: int, letters: str) -> None:
    profiles = (Profile(), Profile("shift"), Profile("full", RETAINS, CLEANS))
    assert "".join(each.rule(tag).action for each in profiles) == letters


def test_words_are_checked() -> None:
    assert chosen("shift", ["patient-characteristics", "uids"], []) == Profile(
        "shift", ("uids", "patient_characteristics")
    )
    with pytest.raises(PlanError, match="retain cannot be everything"):
        chosen("shift", ["everything"], [])
    with pytest.raises(PlanError, match="dates is 'keep'"):
        chosen("keep", [], [])
