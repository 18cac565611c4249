"""Schema and Cohort: what is declared is what is held, and bad input is refused by field and way out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort import EVENT_COLUMNS, Cohort, Field, Origin, Run, Schema
from bedside.cohort.cohort import first_appearance
from bedside.errors import DataError

FIELDS = [
    Field("age", "number", unit="a", low=0, high=120),
    Field("sex", "category", ("input", "sensitive"), levels=("f", "m"), codes={"f": "female", "m": "male"}),
    Field("dead", "boolean", ("target",)),
    Field("at", "time", ("time",)),
]


def wards() -> Cohort:
    columns = {
        "age": [70, 71, 55],
        "sex": ["f", "f", "m"],
        "dead": [False, True, False],
        "at": [datetime(2020, 1, 1), datetime(2020, 2, 1), None],
    }
    return Cohort.of(columns, FIELDS, subject=["p1", "p1", "p2"], name="wards")


def events(subjects: list[str]) -> pl.DataFrame:
    rows = [(subject, datetime(2020, 1, 1), "LAB//K", 4.1, None) for subject in subjects]
    return pl.DataFrame(rows, schema=EVENT_COLUMNS, orient="row")


def test_a_field_round_trips_through_json() -> None:
    for item in FIELDS:
        assert Field.from_json(item.to_json()) == item


def test_a_schema_round_trips_through_json() -> None:
    schema = wards().schema
    again = Schema.from_json(schema.to_json())
    assert again == schema
    assert again.digest == schema.digest
    assert again.one("target") == FIELDS[2]
    assert [item.name for item in again.inputs] == ["age", "sex"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Field("x", "float"), "unknown kind 'float'"),  # type: ignore[arg-type]
        (lambda: Field("x", "number", ("label",)), "unknown role 'label'"),  # type: ignore[arg-type]
        (lambda: Field("subject", "text"), "cannot be named 'subject'"),
        (lambda: Field.from_json({"name": "x", "kind": "number", "units": "kg"}), "unknown attribute"),
        (lambda: Schema((Field("x", "number"), Field("x", "text"))), "'x' is declared twice"),
        (lambda: Schema((Field("s", "text", ("site",)), Field("t", "text", ("site",)))), "more than one field"),
        (lambda: Schema.from_json({"format": 2}), "format 2"),
        (lambda: Schema((Field("x", "number"),))["y"], "no field 'y'"),
    ],
)
def test_a_wrong_declaration_is_refused(make: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        make()  # type: ignore[operator]


def test_a_cohort_is_typed_and_knows_its_subjects() -> None:
    cohort = wards()
    assert cohort.frame.columns == ["row_id", "subject", "age", "sex", "dead", "at"]
    assert cohort["age"].dtype == pl.Float64
    assert (len(cohort), cohort.n_subjects, cohort.schema.identity) == (3, 2, "declared")
    assert cohort.subject_codes.tolist() == [0, 0, 1]
    assert "wards" in repr(cohort) and "p1" not in repr(cohort)


def test_without_subjects_each_row_stands_for_itself() -> None:
    cohort = Cohort.of({"x": [1.0, float("nan")]}, [Field("x", "number")])
    assert cohort.schema.identity == "row"
    assert cohort["x"].to_list() == [1.0, None]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cohort.of({"x": [1.0]}, [Field("y", "number")]), "no column 'y'"),
        (lambda: Cohort.of({"x": ["1", "lots"]}, [Field("x", "number")]), "'x' .* holds values that are no number"),
        (lambda: Cohort.of({"x": [1, 2]}, [Field("x", "number")], row_id=["a", "a"]), "row ids repeat: 1 rows"),
        (lambda: Cohort.of({"x": [1, 2]}, [Field("x", "number")], subject=["a", None]), "'subject' has 1 empty"),
        (lambda: Cohort(wards().schema, wards().frame.drop("age")), r"missing \['age'\]"),
        (lambda: Cohort(wards().schema, wards().frame.with_columns(extra=1)), r"not in the schema \['extra'\]"),
        (lambda: wards().derive(wards().frame.with_columns(pl.col("age").cast(pl.Int64))), "'age' is Int64"),
        (lambda: Cohort(wards().schema, wards().frame, events=pl.DataFrame({"x": [1]})), "events must have"),
        (lambda: wards()["weight"], "no field 'weight'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(make: object, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        make()  # type: ignore[operator]
    assert "lots" not in str(error.value)  # a value may be identity


def test_the_digest_is_of_content_not_of_lineage() -> None:
    cohort = wards()
    later = cohort.with_origin(Origin("read", {"path": "x.csv"}))
    assert later.digest == cohort.digest
    assert later.lineage == (Origin("read", {"path": "x.csv"}),)
    assert Origin.from_json(later.lineage[0].to_json()) == later.lineage[0]


@pytest.mark.parametrize(
    "other",
    [
        wards().take([1, 0, 2]),
        wards().keeping(["age", "sex", "dead"]),
        wards().with_fields([Field("age", "number", unit="mo")]),
        wards().with_columns({"age": pl.Series([70.0, 71.0, 56.0])}),
        Cohort(wards().schema, wards().frame, events(["p1"])),
    ],
)
def test_the_digest_changes_with_rows_fields_units_values_and_events(other: Cohort) -> None:
    assert other.digest != wards().digest


def test_taking_rows_keeps_the_events_of_those_who_remain() -> None:
    cohort = Cohort(wards().schema, wards().frame, events(["p1", "p1", "p2"]))
    rest = cohort.take(np.array([2]))
    assert rest["row_id"].to_list() == ["2"]
    assert rest.events is not None and rest.events["subject_id"].to_list() == ["p2"]


def test_columns_are_added_with_their_field() -> None:
    cohort = wards().with_columns({"old": pl.Series([True, True, False])}, [Field("old", "boolean")])
    assert cohort.schema.names[-1] == "old"
    assert cohort.keeping(["old", "age"]).schema.names == ["age", "old"]


def test_codes_are_in_order_of_first_appearance() -> None:
    assert first_appearance(pl.Series(["b", None, "a", "b", None])).tolist() == [0, 1, 2, 0, 1]


def test_ten_thousand_columns_of_sixty_rows() -> None:
    names = [f"gene_{i}" for i in range(10_000)]
    values = np.random.default_rng(0).normal(size=(60, 10_000))
    cohort = Cohort.of(pl.DataFrame(values, schema=names), [Field(name, "number") for name in names])
    assert len(cohort.schema.inputs) == 10_000
    assert len(cohort.digest) == 64


def test_a_run_makes_folders_of_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, seed=3)
    assert run.inside("fit").folder == tmp_path / "fit"
    assert run.inside("fit").seed == 3 and not run.cancelled()
