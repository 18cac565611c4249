"""Long event tables become a cohort's events, beside the rows to predict for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bedside.cohort.run import Run
from bedside.errors import DataError
from bedside.intake.events import Events
from bedside.prepare import steps

LONG = "id,when,what,value\na,00:30,HR,80\na,47:59,HR,-1\nb,01:00,Height,-1\nb,,ICU,medical\nz,00:00,HR,1\n"
ROWS = "id,died,SOFA\na,0,3\nb,1,9\nc,0,1\n"
NAMES = {"subject": "id", "time": "when", "code": "what"}


def files(tmp_path: Path, long: str = LONG, rows: str = ROWS) -> dict[str, Any]:
    (tmp_path / "long.csv").write_text(long)
    (tmp_path / "rows.csv").write_text(rows)
    return {**NAMES, "outcomes": str(tmp_path / "rows.csv"), "rows": {"target": "died", "ignore": ["SOFA"]}}


def test_events_and_rows_become_one_cohort(tmp_path: Path) -> None:
    reader = Events(**files(tmp_path), clock="hh:mm", missing=[{"Height": [-1]}])
    cohort = reader.read(tmp_path / "long.csv")
    assert cohort["subject"].to_list() == ["a", "b", "c"] and cohort.schema.names == ["died"]
    assert cohort.schema["died"].roles == ("target",)
    assert cohort.events is not None
    assert cohort.events.rows() == [
        ("a", datetime(1970, 1, 1, 0, 30), "HR", 80.0, None),
        ("a", datetime(1970, 1, 2, 23, 59), "HR", -1.0, None),
        ("b", datetime(1970, 1, 1, 1), "Height", None, None),
        ("b", None, "ICU", None, "medical"),
    ]
    told = cohort.lineage[-1].parameters
    assert told["events_of_unknown_subjects"] == 1 and told["subjects_without_events"] == 1


def test_without_outcomes_each_subject_is_a_row(tmp_path: Path) -> None:
    files(tmp_path)
    cohort = Events(**NAMES, clock="hh:mm").read(tmp_path / "long.csv")
    assert cohort["row_id"].to_list() == ["a", "b", "z"]


@pytest.mark.parametrize(
    ("clock", "written"), [("iso", "1970-01-01 12:00"), ("hours", "12"), ("minutes", "720"), ("days", "0.5")]
)
def test_clocks(tmp_path: Path, clock: str, written: str) -> None:
    parameters = files(tmp_path, f"id,when,what,value\na,{written},HR,80\n")
    cohort = Events(**parameters, clock=clock).read(tmp_path / "long.csv")
    assert cohort.events is not None and cohort.events["time"].to_list() == [datetime(1970, 1, 1, 12)]


@pytest.mark.parametrize(
    ("long", "more", "message"),
    [
        (LONG, {"clock": "iso"}, r"column 'when': 4 value\(s\) are not an ISO 8601 time: row 1 \(99:99\)"),
        (LONG.replace("00:30", "0:3"), {"clock": "hh:mm"}, r"column 'when': 1 value\(s\) are not hh:mm"),
        (LONG.replace(",HR,80", ",,80"), {"clock": "hh:mm"}, "column 'what' has 1 missing"),
        (LONG, {"clock": "hh:mm", "value": "values"}, "there is no column 'values'"),
        (LONG, {"clock": "hh:mm", "rows": {"target": "dead"}}, "there is no column 'dead'"),
        (LONG, {"clock": "hh:mm", "rows": {"tarjet": "died"}}, "unexpected keyword"),
        (LONG.replace("a,00:30", ",00:30"), {"clock": "hh:mm"}, "column 'id' has 1 missing"),
        (LONG, {"clock": "weeks"}, "clock is 'weeks'"),
    ],
)
def test_bad_event_tables_are_refused(tmp_path: Path, long: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Events(**{**files(tmp_path, long), **more}).read(tmp_path / "long.csv")


@pytest.mark.slow
def test_physionet_2012_as_the_challenge_reads_it(shared_data: Path) -> None:
    """Silva 2012: set A has 4000 stays, 554 died in hospital (13.85 %), 37 time series and 5 descriptors."""
    folder = shared_data / "ehr/physionet2012_set_a"
    leaks = ["SAPS-I", "SOFA", "Length_of_stay", "Survival"]
    cohort = Events(
        subject="RecordID", time="Time", code="Parameter", value="Value", clock="hh:mm",
        missing=[{"Height": [-1], "Weight": [-1], "Gender": [-1]}], outcomes=str(folder / "Outcomes-a.txt"),
        rows={"target": "In-hospital_death", "ignore": leaks},
    ).read(folder / "long.csv.gz")  # fmt: skip
    assert len(cohort) == cohort.n_subjects == 4000
    assert cohort["In-hospital_death"].sum() == 554
    assert cohort.events is not None and cohort.events["code"].n_unique() == 41
    fitted = steps.fit_all([{"summarise_events": [0, 48]}], cohort, Run(Path()))
    out = steps.apply_all(fitted, cohort)
    assert len(out.schema.inputs) == 6 * 41
    one = cohort.events.filter(subject_id="132539", code="HR")
    row = out["subject"].to_list().index("132539")
    assert out["HR.count"][row] == one.height and out["HR.first"][row] == 73.0
    assert out["HR.mean"][row] == pytest.approx(one["numeric_value"].mean())
