"""What is written as CSV is read back unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.intake.tables import Tables
from bedside.synth.admissions import simulate
from bedside.synth.export import write_csv


def test_the_simulated_hospital_comes_back(tmp_path: Path) -> None:
    cohort = simulate(2000, 3, leak=True)
    dictionary = write_csv(cohort, tmp_path / "admissions.csv")
    again = Tables(dictionary=str(dictionary)).read(tmp_path / "admissions.csv")
    assert again.frame.equals(cohort.frame)
    assert again.schema.fields == cohort.schema.fields and again.schema.identity == "declared"


def test_awkward_text_and_rows_without_a_patient(tmp_path: Path) -> None:
    fields = [Field("note", "text", ()), Field("x", "number", low=0.1), Field("y", "boolean", ("target",))]
    notes = ['a, "quoted" word', "two\nlines", None]
    cohort = Cohort.of({"note": notes, "x": [0.1, 1e-300, None], "y": [True, False, None]}, fields)
    dictionary = write_csv(cohort, tmp_path / "t.csv")
    again = Tables(dictionary=str(dictionary)).read(tmp_path / "t.csv")
    assert again.frame.equals(cohort.frame) and again.schema.fields == cohort.schema.fields
    assert again.schema.identity == "row"


def test_a_field_of_files_is_refused(tmp_path: Path) -> None:
    cohort = Cohort.of({"scan": ["0" * 64]}, [Field("scan", "image")])
    with pytest.raises(DataError, match="scan"):
        write_csv(cohort, tmp_path / "t.csv")
