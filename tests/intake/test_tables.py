"""Tables of every format become the same Cohort; what is inferred is told, what does not fit is refused by name."""

from __future__ import annotations

import gzip
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.intake import Reader, Tables, from_pandas, from_polars, to_pandas

TABLE = """patient,age,sex,smokes,seen,note
p1,70,F,true,2020-01-31,walked in and said hello
p2,,M,false,2020-02-01,came by ambulance in the night
p1,71.5,F,,2021-01-31,came back
p3,40,M,true,,
"""
SAID = {"subject": "patient", "fields": {"note": "text", "sex": "category", "smokes": "boolean"}}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path: Path, content: str | bytes, **parameters: Any) -> Cohort:
    return Tables(**parameters).read(write(tmp_path / "table.csv", content))


def told(cohort: Cohort) -> dict[str, Any]:
    return dict(cohort.lineage[0].parameters)


# What is read ---------------------------------------------------------------------------------------------------------


def test_kinds_are_inferred_and_told(tmp_path: Path) -> None:
    cohort = read(tmp_path, TABLE, subject="patient")
    assert isinstance(plugins.build("readers", "tables"), Reader)
    assert {item.name: item.kind for item in cohort.schema.fields} == {
        "age": "number", "sex": "category", "smokes": "boolean", "seen": "time", "note": "text",
    }  # fmt: skip
    assert [item.name for item in cohort.schema.inputs] == ["age", "sex", "smokes"]
    assert cohort["subject"].to_list() == ["p1", "p2", "p1", "p3"]
    assert cohort["age"].to_list() == [70.0, None, 71.5, 40.0]
    assert cohort["smokes"].to_list() == [True, False, None, True]
    assert cohort["seen"].to_list()[0] == datetime(2020, 1, 31)
    assert cohort.schema.identity == "declared"
    assert told(cohort)["subject"] == "patient"
    assert told(cohort)["inferred"]["smokes"] == "boolean"
    assert len(cohort.lineage[0].inputs[0]) == 64


def test_every_format_gives_the_same_cohort(tmp_path: Path) -> None:
    reference = read(tmp_path, TABLE, **SAID)
    frame = pl.read_csv(TABLE.encode(), try_parse_dates=True)
    frame.write_parquet(tmp_path / "t.parquet")
    frame.to_pandas().to_excel(tmp_path / "t.xlsx", index=False)
    write(tmp_path / "t.tsv", TABLE.replace(",", "\t"))
    write(tmp_path / "t.txt", TABLE.replace(",", ";").replace("\n", "\r\n"))
    write(tmp_path / "t.csv.gz", gzip.compress(TABLE.encode()))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("folder/t.csv", TABLE)
        archive.writestr("__MACOSX/folder/._t.csv", b"\0junk")
    for name in ("t.parquet", "t.xlsx", "t.tsv", "t.txt", "t.csv.gz", "t.zip"):
        assert Tables(**SAID).read(tmp_path / name).digest == reference.digest, name
    url = f"sqlite:///{tmp_path / 't.db'}"
    frame.to_pandas().to_sql("admissions", url, index=False)
    assert Tables(query="SELECT * FROM admissions", **SAID).read(url).digest == reference.digest
    assert from_polars(frame, **SAID).digest == reference.digest
    assert from_polars(frame.lazy(), **SAID).digest == reference.digest
    assert from_pandas(frame.to_pandas(), **SAID).digest == reference.digest


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_chinese_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = "编号,性别,年龄\n" + "".join(f"病人{i},{'男女'[i % 2]},{i}\n" for i in range(20))
    cohort = read(tmp_path, text.encode(encoding), subject="编号")
    assert cohort.schema.names == ["性别", "年龄"]
    assert cohort["性别"].to_list()[:2] == ["男", "女"]
    assert told(cohort)["encoding"] == encoding


@pytest.mark.parametrize(
    ("encoding", "text"), [("latin-1", "größe,nächte\n1,ä\n2,ü é\n"), ("cp1252", "größe,x\n1,a – b\n2,c\n")]
)
def test_western_encodings_are_not_taken_for_chinese(tmp_path: Path, encoding: str, text: str) -> None:
    cohort = read(tmp_path, text.encode(encoding))
    assert told(cohort)["encoding"] == encoding
    assert "größe" in cohort.schema


def test_no_header_names_and_single_quotes(tmp_path: Path) -> None:
    cohort = read(tmp_path, "'40-49','a,b',3\n'50-59','c',?\n", header=False, names=["age", "what", "n"], missing=["?"])
    assert cohort["what"].to_list() == ["a,b", "c"]
    assert cohort["n"].to_list() == [3.0, None]
    assert told(cohort)["quote"] == "'"
    assert read(tmp_path, "1,2\n3,4\n", header=False).schema.names == ["column_1", "column_2"]


def test_missing_codes_by_column_and_as_numbers(tmp_path: Path) -> None:
    text = "glucose,insulin,kind\n0,0,-9\n90,-9,x\n-9.0,5,NA\n,6,x\n"
    cohort = read(tmp_path, text, missing=[-9, {"glucose": [0]}])
    assert cohort["glucose"].to_list() == [None, 90.0, None, None]
    assert cohort["insulin"].to_list() == [0.0, None, 5.0, 6.0]
    assert cohort["kind"].to_list() == [None, "x", None, "x"]


def test_leading_zeros_of_ids_stay_and_whole_numbers_lose_their_point() -> None:
    frame = pl.DataFrame({"id": [7, 8], "ward": [1.0, 2.0], "x": [1, 2]})
    cohort = from_polars(frame, subject="id", fields={"ward": "category"})
    assert cohort["subject"].to_list() == ["7", "8"]
    assert cohort["ward"].to_list() == ["1", "2"]


def test_decimal_comma(tmp_path: Path) -> None:
    text = "t;n\n36,6;1\n-0,5;2\n"
    assert read(tmp_path, text, decimal=",")["t"].to_list() == [36.6, -0.5]
    assert told(read(tmp_path, text))["doubts"] == [{"column": "t", "doubt": "decimal_comma", "count": 2}]


def test_values_with_separators_quotes_and_line_ends_inside(tmp_path: Path) -> None:
    cohort = read(tmp_path, 'a,b\n"x, ""y""\nz",1\nw,2\n', fields={"a": "text"})
    assert cohort["a"].to_list() == ['x, "y"\nz', "w"]


def test_roles_by_name_and_columns(tmp_path: Path) -> None:
    text = "id,age,sex,site,death,w,junk\n1,50,F,A,0,1,9\n2,60,M,B,1,2,9\n"
    cohort = read(
        tmp_path, text, row_id="id", target="death", site="site", weight="w", sensitive=["sex"], columns=["age", "sex"]
    )
    roles = {item.name: item.roles for item in cohort.schema.fields}
    assert roles == {
        "age": ("input",), "sex": ("input", "sensitive"), "site": ("site",), "death": ("target",), "w": ("weight",),
    }  # fmt: skip
    assert cohort["row_id"].to_list() == ["1", "2"]
    assert "site" not in read(tmp_path, text, ignore=["site"]).schema


def test_times_with_one_zone_become_utc_and_a_format_can_be_declared(tmp_path: Path) -> None:
    text = "t,u,v\n2020-01-01T10:00:00+01:00,31.12.2019,2020-07-01 12:00\n,01.01.2020,\n"
    fields = {"u": {"kind": "time", "format": "%d.%m.%Y"}, "v": {"kind": "time", "zone": "Europe/Berlin"}}
    cohort = read(tmp_path, text, fields=fields)
    assert cohort["t"].to_list() == [datetime(2020, 1, 1, 9), None]
    assert cohort["u"].to_list() == [datetime(2019, 12, 31), datetime(2020, 1, 1)]
    assert cohort["v"].to_list() == [datetime(2020, 7, 1, 10), None]


def test_doubts_are_told_by_shape_only(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'?' if i % 5 == 0 else i},{i % 3},\n" for i in range(30))
    cohort = read(tmp_path, "number,x,code,empty\n" + rows)
    assert told(cohort)["doubts"] == [
        {"column": "number", "doubt": "row_number"},
        {"column": "x", "doubt": "number_but_for", "shapes": ["?"], "count": 6},
        {"column": "code", "doubt": "number_or_code", "levels": 3},
        {"column": "empty", "doubt": "all_missing"},
    ]
    # A running number may tell the outcome in a sorted file: it is no input unless declared.
    assert cohort.schema["number"].roles == ()
    declared = read(tmp_path, "number,x,code,empty\n" + rows, fields={"number": "number"})
    assert declared.schema["number"].roles == ("input",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", "field,type,unit,min,max,label\nage,integer,a,0,120,Age\nsex,factor,,,,Sex\nelsewhere,text,,,,\n"),
        ("d.json", '{"age": {"kind": "number", "unit": "a", "low": 0, "high": 120, "label": "Age"},'
                   ' "sex": {"kind": "category", "label": "Sex"}, "elsewhere": "text"}'),
        ("d.yaml", "fields:\n- {name: age, kind: number, unit: a, low: 0, high: 120, label: Age}\n"
                   "- {name: sex, kind: category, label: Sex}\n"),
        ("redcap.csv", "Variable / Field Name,Field Type,Field Label,Text Validation Min,Text Validation Max,Units\n"
                       "age,number,Age,0,120,a\nsex,radio,Sex,,,\n"),
    ],
)  # fmt: skip
def test_a_data_dictionary_describes_columns(tmp_path: Path, name: str, content: str) -> None:
    dictionary = write(tmp_path / name, content)
    cohort = read(tmp_path, "age,sex\n50,1\n60,2\n", dictionary=str(dictionary), fields={"sex": {"levels": [1, 2]}})
    age, sex = cohort.schema.fields
    assert (age.kind, age.unit, age.low, age.high, age.label) == ("number", "a", 0.0, 120.0, "Age")
    assert (sex.kind, sex.levels, sex.label) == ("category", ("1", "2"), "Sex")


def test_redcap_choices_become_codes(tmp_path: Path) -> None:
    heading = 'Variable / Field Name,Field Type,"Choices, Calculations, OR Slider Labels"\n'
    dictionary = write(tmp_path / "d.csv", heading + 'sex,radio,"1, Male | 2, Female"\n')
    cohort = read(tmp_path, "sex\n1\n2\n", dictionary=str(dictionary))
    assert cohort.schema["sex"].codes == {"1": "Male", "2": "Female"}


def test_a_schema_reads_a_table_as_the_one_it_came_from(tmp_path: Path) -> None:
    cohort = read(tmp_path, TABLE, **SAID)
    again = Tables(subject="patient", fields=cohort.schema.to_json()["fields"]).read(tmp_path / "table.csv")
    assert again.digest == cohort.digest


def test_columns_called_subject_and_row_id_are_taken_as_such(tmp_path: Path) -> None:
    cohort = read(tmp_path, "row_id,subject,x\n007,a,1\n008,a,2\n")
    assert cohort["row_id"].to_list() == ["007", "008"] and cohort.n_subjects == 1


def test_to_pandas_and_back(tmp_path: Path) -> None:
    cohort = read(tmp_path, TABLE, **SAID)
    frame = to_pandas(cohort)
    assert list(frame["sex"].cat.categories) == ["F", "M"]
    assert from_pandas(frame, **{**SAID, "subject": "subject"}).digest == cohort.digest


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED = {
    "empty file": (b"", {}, "the file is empty"),
    "blank lines": (b"\n\n \n", {}, "blank lines only"),
    "NUL later": (b"a,b\n" + b"1,2\n" * 2_000_000 + b"1,\0\n", {}, r"NUL byte in line 2000002"),
    "binary": (bytes(range(256)), {}, "control character"),
    "ragged": (b"a,b,c\n1,2,3\n1,2\n1,2,3,4\n", {}, "3 columns: row 2 has 2; row 3 has 4"),
    "open quote": (b'a,b\n1,"2\n3,4\n', {}, "never closed"),
    "repeated names": (b"a,b,a\n1,2,3\n", {}, r"1 column name\(s\) stand more than once: a"),
    "no header": (b"1,2\n3,4\n", {}, "holds numbers where column names should be"),
    "wrong column": (b"age,sex\n1,2\n", {"target": "ages"}, "there is no column 'ages'"),
    "wrong declared column": (b"age,sex\n1,2\n", {"fields": {"weight": "number"}}, "there is no column 'weight'"),
    "text in a number": (
        b"age\n50\nabc\nA1\n?\n7\n9-9\n",
        {"fields": {"age": "number"}},
        r"column 'age': 4 value\(s\) are not a number: row 2 \(aaa\), 3 \(a9\), 4 \(\?\) …",
    ),
    "no boolean": (b"x\nyes\nmaybe\n", {"fields": {"x": "boolean"}}, r"1 value\(s\) are not true or false: row 2"),
    "no time": (b"x\n2020-02-30\n", {"fields": {"x": "time"}}, r"not an ISO 8601 time: row 1 \(9999-99-99\)"),
    "infinite": (b"x\n1\ninf\n", {"fields": {"x": "number"}}, "not a number: row 2"),
    "repeated row id": (b"id,x\na,1\nb,2\na,3\n", {"row_id": "id"}, r"repeats an id in 1 row\(s\): 3"),
    "missing subject": (b"id,x\na,1\n,2\nNA,3\n", {"subject": "id"}, r"'id' has 2 missing values \(first in row 2\)"),
    "target all missing": (b"x,y\n1,\n2,\n", {"target": "y"}, "target 'y' has no value at all"),
    "mixed zones": (
        b"t\n2020-01-01T10:00+01:00\n2020-07-01T10:00+02:00\n2020-01-01T10:00\n",
        {},
        r"mixed time zones: \+01:00, \+02:00, none",
    ),
    "unknown zone": (b"t\n2020-01-01\n", {"fields": {"t": {"kind": "time", "zone": "Mars"}}}, "'Mars' is not known"),
    "unknown kind": (b"x\n1\n", {"fields": {"x": "numbr"}}, "unknown kind 'numbr'"),
    "unknown attribute": (b"x\n1\n", {"fields": {"x": {"units": "kg"}}}, r"unknown attribute \['units'\]"),
    "unknown role": (b"x\n1\n", {"fields": {"x": {"roles": ["imput"]}}}, "unknown role 'imput'"),
    "two times": (b"x,y\n1,2020-01-01\n", {"time": "x", "fields": {"y": {"roles": ["time"]}}}, "more than one"),
    "wrong encoding": ("ä,b\n1,2\n".encode("latin-1"), {"encoding": "utf-8"}, "line 1 is not utf-8"),
    "unknown encoding": (b"a\n1\n", {"encoding": "klingon"}, "encoding 'klingon' is not known"),
    "too few names": (b"a,b\n1,2\n", {"names": ["x"]}, "1 names for 2 columns"),
    "file kind": (b"x\n1\n", {"fields": {"x": "image"}}, "cannot hold the kind 'image'"),
    "subject with a role": (b"x,y\n1,2\n", {"subject": "x", "site": "x"}, "is the subject or row id"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, parameters, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content, **parameters)
    assert caught.value.way_out
    assert "table.csv" in caught.value.what or "unknown" in case or case in ("subject with a role", "two times")


def test_errors_never_show_a_value(tmp_path: Path) -> None:
    rows = "name,age\nMaria Huber,Schmidt\nMaria Huber\n"
    for parameters in ({}, {"fields": {"age": "number"}}, {"row_id": "name"}):
        with pytest.raises(DataError) as caught:
            read(tmp_path, rows, **parameters)
        assert "Maria" not in str(caught.value) and "Schmidt" not in str(caught.value)


def test_damaged_containers_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": list(range(1000))})
    frame.write_parquet(tmp_path / "t.parquet")
    parquet = (tmp_path / "t.parquet").read_bytes()
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
        archive.writestr("b.csv", "x\n2\n")
    for name, content, message in [
        ("cut.gz", gzip.compress(TABLE.encode() * 50)[:-60], "cannot be read"),
        ("bad.zip", b"PK\x03\x04" + b"x" * 50, "cannot be read"),
        ("cut.parquet", parquet[: len(parquet) // 2], "damaged Parquet"),
        ("bad.xls", b"\xd0\xcf\x11\xe0" + b"x" * 600, "cannot be read as Excel"),
    ]:
        with pytest.raises(DataError, match=message):
            Tables().read(write(tmp_path / name, content))
    with pytest.raises(DataError, match=r"holds 2 files: a.csv, b.csv"):
        Tables().read(tmp_path / "two.zip")
    assert Tables(member="b.csv").read(tmp_path / "two.zip")["x"].to_list() == [2.0]
    with pytest.raises(DataError, match="no such file"):
        Tables().read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is not a file"):
        Tables().read(tmp_path)


def test_sql_errors_hide_the_password(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Tables(query="SELECT 1").read("sqlite://user:secret@host/none.db")
    assert "secret" not in str(caught.value)
    url = f"sqlite:///{tmp_path / 't.db'}"
    pl.DataFrame({"x": [1]}).to_pandas().to_sql("t", url, index=False)
    refused = {None: "no query", "SELECT y FROM t": "no such column", "SELECT x, x FROM t": "more than once"}
    for query, message in refused.items():
        with pytest.raises(DataError, match=message):
            Tables(query=query).read(url)


def test_frames_of_odd_types_are_refused_by_column() -> None:
    with pytest.raises(DataError, match="column 'x': holds List"):
        from_polars(pl.DataFrame({"x": [[1], [2]]}))
    with pytest.raises(DataError, match="column 'x': 1 infinite"):
        from_polars(pl.DataFrame({"x": [1.0, float("inf")]}))
    import pandas as pd

    with pytest.raises(DataError, match="column 'x' cannot be read"):
        from_pandas(pd.DataFrame({"x": [1, "a", [2]]}))


def test_an_enum_keeps_its_levels() -> None:
    cohort = from_polars(pl.DataFrame({"g": ["low", "high"]}, schema={"g": pl.Enum(["low", "mid", "high"])}))
    assert cohort.schema["g"].levels == ("low", "mid", "high")


@pytest.mark.slow
def test_ten_thousand_columns_take_seconds(tmp_path: Path) -> None:
    import time

    header = ",".join(f"g{j}" for j in range(10_000))
    row = ",".join(["1.5", ""] * 5_000)
    path = write(tmp_path / "wide.csv", header + "\n" + (row + "\n") * 60)
    start = time.process_time()
    cohort = Tables().read(path)
    assert (len(cohort), len(cohort.schema.fields)) == (60, 10_000)
    assert time.process_time() - start < 40
