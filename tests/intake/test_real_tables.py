"""Real tables: every one is read, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.intake import Tables

# Rows and columns as the sources state them (UCI's .names files; R packages' help pages; DATA.md).
SIZES = {
    "uci_small/pima-indians-diabetes.csv": (768, 9),
    "uci_small/breast-cancer-wisconsin.csv": (699, 10),
    "uci_small/breast-cancer.csv": (286, 10),
    "uci_small/haberman.csv": (306, 4),
    "uci_small/horse-colic.csv": (300, 28),
    "uci_small/new-thyroid.csv": (215, 6),
    "uci_small/mammography.csv.gz": (11183, 7),
    "heart_cleveland/heart_cleveland_upload.csv": (297, 14),
    "rdatasets/MASS__birthwt.csv": (189, 11),
    "rdatasets/medicaldata__strep_tb.csv": (107, 14),
    "rdatasets/medicaldata__covid_testing.csv.gz": (15524, 18),
}


@pytest.mark.parametrize("name", SIZES)
def test_rows_and_columns_are_those_of_the_source(shared_data: Path, name: str) -> None:
    cohort = Tables(header="uci" not in name, missing=["?"]).read(shared_data / "ehr" / name)
    assert (len(cohort), len(cohort.schema.fields)) == SIZES[name]


def test_every_table_is_read_or_refused_with_a_reason(shared_data: Path) -> None:
    read = 0
    for folder in ("uci_small", "heart_cleveland", "rdatasets", "mimic3_demo"):
        for path in sorted((shared_data / "ehr" / folder).glob("*.csv*")):
            cohort = Tables(header=folder != "uci_small", missing=["?"]).read(path)
            assert cohort.lineage[0].parameters["encoding"]
            read += 1
    assert read > 40


def test_uci_without_saying_that_there_is_no_header_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match="numbers where column names should be"):
        Tables().read(shared_data / "ehr/uci_small/pima-indians-diabetes.csv")


def test_row_names_of_sorted_data_are_no_input(shared_data: Path) -> None:
    cohort = Tables(target="class").read(shared_data / "ehr/rdatasets/MASS__biopsy.csv")
    assert cohort.schema["rownames"].roles == ()


def test_diabetes_130_as_the_study_reads_it(shared_data: Path) -> None:
    """Strack 2014: 101 766 encounters of 71 518 patients."""
    reader = Tables(
        member="diabetic_data.csv",
        subject="patient_nbr",
        row_id="encounter_id",
        target="readmitted",
        sensitive=["race", "gender", "age"],
        missing=["?"],
    )
    cohort = reader.read(shared_data / "ehr/diabetes130/dataset_diabetes.zip")
    assert (len(cohort), cohort.n_subjects) == (101_766, 71_518)
    assert cohort["race"].null_count() == 2273  # UCI: "Missing values: 2 %"
    assert cohort.schema["diag_1"].kind == "category"
    assert dict(cohort["readmitted"].value_counts().iter_rows()) == {"NO": 54864, ">30": 35545, "<30": 11357}
    # "None" is a value here (not measured), which is why it is no missing code by default.
    assert "None" in cohort["max_glu_serum"].unique().to_list()
