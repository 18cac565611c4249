"""Cleaning: each repair, what it counts, what it refuses; item-scope repairs replay on one row in service."""

from __future__ import annotations

import contextlib
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import BedsideError, DataError, PlanError
from bedside.prepare.clean import build, clean_all, replay
from bedside.prepare.clean.rules import parse
from bedside.prepare.clean.units import conversion


def cohort_of(columns: dict[str, list], fields: list[Field], subject: list[str] | None = None) -> Cohort:
    return Cohort.of(columns, fields, subject=subject)


def cleaned(cohort: Cohort, spec: object) -> tuple[Cohort, dict[tuple, float]]:
    """The cohort after one step, and its counts by metric and what they are at (the step's name left out)."""
    out, evidence, _ = clean_all(cohort, [spec])
    counts = {}
    for item in evidence.estimates:
        assert item.exact and item.part == "cohort" and item.n_rows is not None
        at = tuple(value for key, value in (item.at or {}).items() if key != "step")
        counts[(item.metric, *at)] = item.value
    return out, counts


# Units ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "source", "to", "analyte", "expected"),
    [
        # Worked pairs from the AMA Manual of Style's SI conversion table (11th ed.) and, for HbA1c, ngsp.org.
        (100, "mg/dL", "mmol/L", "glucose", 5.551),
        (1.0, "mg/dL", "umol/L", "creatinine", 88.40),
        (200, "mg/dL", "mmol/L", "cholesterol", 5.172),
        (150, "mg/dL", "mmol/L", "triglycerides", 1.694),
        (14, "mg/dL", "mmol/L", "BUN", 4.998),
        (1.0, "mg/dL", "µmol/L", "bilirubin", 17.104),
        (9.5, "mg/dL", "mmol/L", "calcium", 2.370),
        (5.0, "mg/dL", "umol/L", "uric acid", 297.4),
        (14.0, "g/dL", "mmol/L", "hemoglobin", 8.688),
        (4.8, "meq/L", "mmol/L", "calcium", 2.4),
        (140, "mEq/L", "mmol/L", "sodium", 140),
        (98.6, "[degF]", "Cel", "", 37.0),
        (98.6, "°F", "K", "", 310.15),
        (154, "lb", "kg", "", 69.853),
        (70, "in", "cm", "", 177.8),
        (760, "mmHg", "kPa", "", 101.325),
        (7.0, "%{NGSP}", "mmol/mol{IFCC}", "", 53.0),
        (60, "U/L", "ukat/L", "", 1.0),
        (250, "K/uL", "10*9/L", "", 250),
        (18, "months", "a", "", 1.5),
    ],
)
def test_units_convert_as_published(value: float, source: str, to: str, analyte: str, expected: float) -> None:
    factor, offset = conversion(source, to, analyte)
    assert value * factor + offset == pytest.approx(expected, rel=6e-4)
    back, back_offset = conversion(to, source, analyte)
    assert (value * factor + offset) * back + back_offset == pytest.approx(value, rel=1e-12)


def test_units_convert_value_and_range_and_are_counted() -> None:
    cohort = cohort_of({"glucose": [90.0, None]}, [Field("glucose", "number", unit="mg/dL", low=18, high=1800)])
    out, counts = cleaned(cohort, {"units": {"to": {"glucose": "mmol/L"}}})
    assert out["glucose"].to_list() == [pytest.approx(4.9957, abs=1e-4), None]
    item = out.schema["glucose"]
    assert item.unit == "mmol/L" and item.low == pytest.approx(0.99914, abs=1e-4)
    assert counts == {("clean_values_changed", "glucose", "mg/dL", "mmol/L"): 1}


def test_units_by_row() -> None:
    fields = [Field("temp", "number"), Field("unit", "category")]
    cohort = cohort_of({"temp": [98.6, 37.0, None], "unit": ["degF", "Cel", None]}, fields)
    out, _ = cleaned(cohort, {"units": {"to": {"temp": {"to": "Cel", "by": "unit"}}}})
    assert out["temp"].to_list() == [pytest.approx(37.0), 37.0, None]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("mmol/L", "no unit to convert from"),
        ({"from": "mg/dL", "to": "mmol/L"}, "needs the molar mass of 'x'"),
        ({"from": "mg/dL", "to": "kg"}, "is a mass concentration and 'kg' a mass"),
        ({"from": "furlong", "to": "m"}, "unit 'furlong' is not known"),
    ],
)
def test_units_that_cannot_be_converted_are_refused(wish: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cleaned(cohort_of({"x": [1.0]}, [Field("x", "number")]), {"units": {"to": {"x": wish}}})


# Ranges, missing codes, contradictions --------------------------------------------------------------------------------


def test_ranges_make_missing_what_is_outside_and_count_it() -> None:
    fields = [
        Field("hr", "number", low=20, high=300),
        Field("k", "number"),
        Field("sex", "category", levels=("F", "M")),
    ]
    cohort = cohort_of({"hr": [5, 20, 300, 301], "k": [4, 40, None, 5], "sex": ["F", "M", "x", None]}, fields)
    out, counts = cleaned(cohort, {"ranges": {"fields": {"k": [None, 10]}}})
    assert out["hr"].to_list() == [None, 20, 300, None]
    assert out["k"].to_list() == [4, None, None, 5]
    assert out["sex"].to_list() == ["F", "M", None, None]
    assert {key[1]: value for key, value in counts.items()} == {"hr": 2, "k": 1, "sex": 1}
    with pytest.raises(DataError, match="'hr' 2, 'sex' 1"):
        cleaned(cohort, {"ranges": "error"})
    with pytest.raises(PlanError, match="clipping invents values"):
        build({"ranges": "clip"})


def test_missing_codes_by_field_and_everywhere() -> None:
    fields = [Field("glucose", "number"), Field("smokes", "category"), Field("age", "number")]
    cohort = cohort_of({"glucose": [0, 90, -9], "smokes": ["unknown", "no", "-9"], "age": [0, 50, 60]}, fields)
    spec = {"missing_codes": {"codes": {"glucose": [0], "smokes": "unknown", "*": [-9]}}}
    out, counts = cleaned(cohort, spec)
    assert out["glucose"].to_list() == [None, 90, None]
    assert out["smokes"].to_list() == [None, "no", None]
    assert out["age"].to_list() == [0, 50, 60]
    assert counts == {("clean_values_removed", "glucose"): 2, ("clean_values_removed", "smokes"): 2}


def test_contradictions_lose_all_that_the_rule_names() -> None:
    fields = [Field("sys", "number"), Field("dia", "number"), Field("born", "time"), Field("died", "time")]
    day = datetime(2020, 1, 1)
    columns = {
        "sys": [120, 60, None],
        "dia": [80, 90, 70],
        "born": [day] * 3,
        "died": [datetime(2019, 1, 1), None, day],
    }
    out, counts = cleaned(cohort_of(columns, fields), {"impossible": ["dia > sys", "died < born"]})
    assert out["sys"].to_list() == [120, None, None]
    assert out["dia"].to_list() == [80, None, 70]
    assert out["died"].to_list() == [None, None, day]
    assert counts == {("clean_rows_contradicting", "dia > sys"): 1, ("clean_rows_contradicting", "died < born"): 1}
    with pytest.raises(DataError, match=r"'dia > sys' in 1 row"):
        cleaned(cohort_of(columns, fields), {"impossible": {"rules": ["dia > sys"], "then": "error"}})


# The grammar of rules -------------------------------------------------------------------------------------------------

DAY = datetime(2020, 5, 1)
RULES = cohort_of(
    {"age": [10, 50, None], "sex": ["F", "M", None], "ok": [True, False, None], "when": [DAY] * 3, "a b": [1, 2, 3]},
    [
        Field("age", "number"),
        Field("sex", "category"),
        Field("ok", "boolean"),
        Field("when", "time"),
        Field("a b", "number"),
    ],
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("age < 18", [True, False, False]),
        ("age >= 10 and sex == 'M'", [False, True, False]),
        ("age != 10", [False, True, False]),
        ("sex in ['F', 'X']", [True, False, False]),
        ("age not in [10]", [False, True, False]),
        ("age is missing", [False, False, True]),
        ("age is not missing and ok == false", [False, True, False]),
        ("when > '2020-04-30'", [True, True, True]),
        ("`a b` >= 2 and age is missing", [False, False, True]),
        ("age > `a b`", [True, True, False]),
        ("age > -1e1", [True, True, False]),
    ],
)
def test_rules(rule: str, expected: list[bool]) -> None:
    found = RULES.frame.select(parse(rule).expression(RULES.schema).alias("r"))["r"]
    assert found.to_list() == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("age <", "it ends too early"),
        ("age < 18 or sex == 'M'", "expected 'and' or the end instead of 'or'"),
        ("nobody > 3", "there is no field 'nobody'"),
        ("sex > 'F'", "has no order"),
        ("age == 'old'", "cannot be compared with 'old'"),
        ("age > when", "'age' is a number and 'when' a time"),
        ("when > 'tomorrow'", "is no ISO 8601 time"),
        ("__import__('os').system('x') > 1", "cannot read"),
        ("age in [sex]", "numbers and 'texts' only"),
        ("", "it ends too early"),
        ("3 < age", "begins with a field"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse(rule).expression(RULES.schema)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="age sx<>=!'\"`[]().,0123456789-+eandornotismissing\n", max_size=40))
def test_any_text_is_a_rule_or_a_plan_error(text: str) -> None:
    with contextlib.suppress(BedsideError):
        RULES.frame.select(parse(text).expression(RULES.schema))


# Exclusions, duplicates, mapping --------------------------------------------------------------------------------------


def test_exclusions_count_each_row_once_and_draw_the_flow() -> None:
    fields = [Field("age", "number"), Field("discharge", "category")]
    cohort = cohort_of({"age": [10, 12, 40, 50, None], "discharge": ["11", "1", "13", "1", "1"]}, fields, list("aabbc"))
    spec = {
        "exclude": [
            {"rule": "age < 18", "reason": "children"},
            {"field": "discharge", "in": [11, 13], "reason": "death or hospice"},
        ]
    }
    out, evidence, again = clean_all(cohort, [spec])
    assert out["age"].to_list() == [50, None]
    assert again == []
    (flow,) = evidence.figures
    assert flow.columns["step"] == ["read", "children", "death or hospice"]
    assert flow.columns["rows"] == [5, 3, 2] and flow.columns["subjects"] == [3, 2, 2]
    assert [item.value for item in evidence.estimates] == [2, 1]
    with pytest.raises(DataError, match="leave no row"):
        cleaned(cohort, {"exclude": [{"rule": "age > 0", "reason": "x"}, {"rule": "age is missing", "reason": "y"}]})
    with pytest.raises(PlanError, match="has no reason"):
        build({"exclude": [{"rule": "age < 18"}]})


def twins() -> Cohort:
    """Rows 0, 2, 5 are equal in x and c (5 with another label), so are 1 and 4; 3 and 6 hold only missing values."""
    fields = [Field("x", "number"), Field("c", "category"), Field("y", "boolean", ("target",))]
    x, c = [1.0, 2.0, 1.0, None, 2.0, 1.0, None], ["a", None, "a", None, None, "a", None]
    y = [True, False, True, True, False, False, False]
    return cohort_of({"x": x, "c": c, "y": y}, fields, ["p", "q", "r", "s", "t", "t", "u"])


def test_duplicates_group_joins_the_subjects_that_share_rows() -> None:
    out, counts = cleaned(twins(), "duplicates")
    # t has a row equal to q's and one equal to p's and r's: all four are one, named after the first.
    assert out["subject"].to_list() == ["p", "p", "p", "s", "p", "p", "u"]
    assert out.schema.identity == "declared"  # patients known by an id stay so
    assert counts == {
        ("clean_rows_repeated",): 3,
        ("clean_rows_conflicting",): 3,
        ("clean_subjects_joined",): 3,
    }


def test_duplicates_drop_keeps_the_first_and_joins_what_conflicts() -> None:
    out, counts = cleaned(twins(), {"duplicates": "drop"})
    assert out["row_id"].to_list() == ["0", "1", "3", "5", "6"]
    assert out["subject"].to_list() == ["p", "q", "s", "p", "u"]
    assert counts[("clean_rows_dropped",)] == 2


def test_duplicates_error_and_waive() -> None:
    with pytest.raises(DataError, match="3 row"):
        cleaned(twins(), {"duplicates": "error"})
    out, evidence, _ = clean_all(twins(), [{"duplicates": "waive"}])
    assert out.digest == twins().digest
    assert [item.id for item in evidence.findings] == ["duplicates_waived", "clean_labels_conflict"]


def test_without_duplicates_nothing_changes() -> None:
    cohort = cohort_of({"x": [1.0, 2.0]}, [Field("x", "number")])
    for how in ("group", "drop", "error", "waive"):
        out, evidence, _ = clean_all(cohort, [{"duplicates": how}])
        assert out.digest == cohort.digest and not evidence.findings


def test_duplicates_ignore_row_order() -> None:
    cohort = twins()
    order = np.random.default_rng(2).permutation(len(cohort))
    a, b = cleaned(cohort, "duplicates")[0], cleaned(cohort.take(order), "duplicates")[0]
    groups = dict(zip(a["row_id"], a["subject"], strict=True)), dict(zip(b["row_id"], b["subject"], strict=True))
    for one in groups[0]:
        for two in groups[0]:
            assert (groups[0][one] == groups[0][two]) == (groups[1][one] == groups[1][two])


ICD9 = [
    {"from": 390, "below": 460, "to": "circulatory"},
    {"is": ["785"], "to": "circulatory"},
    {"from": 250, "below": 251, "to": "diabetes"},
    {"starts": "V", "to": "supplementary"},
]


def test_map_values_by_range_prefix_and_value() -> None:
    cohort = cohort_of({"diag": ["428", "785", "250.83", "V57", "8", None]}, [Field("diag", "text", ("input",))])
    spec = {"map_values": {"fields": ["diag"], "table": ICD9, "otherwise": {"to": "other"}, "kind": "category"}}
    out, counts = cleaned(cohort, spec)
    assert out["diag"].to_list() == ["circulatory", "circulatory", "diabetes", "supplementary", "other", None]
    assert out.schema["diag"].kind == "category"
    assert counts == {("clean_values_changed", "diag"): 5}


def test_map_values_makes_numbers_of_bands_and_booleans_of_words() -> None:
    fields = [Field("age", "category"), Field("readmitted", "category", ("target",))]
    cohort = cohort_of({"age": ["[70-80)", "[0-10)"], "readmitted": ["<30", "NO"]}, fields)
    bands = {"fields": "age", "table": {"[70-80)": 75, "[0-10)": 5}, "kind": "number", "unit": "a"}
    label = {"fields": "readmitted", "table": {"<30": True, "NO": False, ">30": False}, "kind": "boolean"}
    out, _, again = clean_all(cohort, [{"map_values": bands}, {"map_values": label}])
    assert out["age"].to_list() == [75.0, 5.0] and out.schema["age"].unit == "a"
    assert out["readmitted"].to_list() == [True, False] and out.schema["readmitted"].roles == ("target",)
    # In service there is no target: what the step says of it is passed over.
    row = cohort_of({"age": ["[70-80)"]}, fields[:1])
    assert replay(row, again)["age"].to_list() == [75.0]


def test_map_values_refuses_what_is_not_in_the_table() -> None:
    cohort = cohort_of({"c": ["a", "b"]}, [Field("c", "category")])
    with pytest.raises(DataError, match=r"1 value\(s\) of 'c' are not in the table"):
        cleaned(cohort, {"map_values": {"fields": "c", "table": {"a": "x"}}})
    kept, _ = cleaned(cohort, {"map_values": {"fields": "c", "table": {"a": "x"}, "otherwise": "keep"}})
    assert kept["c"].to_list() == ["x", "b"]
    with pytest.raises(PlanError, match="cannot become 'x'"):
        cleaned(cohort, {"map_values": {"fields": "c", "table": {"a": "x"}, "kind": "number", "otherwise": "missing"}})


# The whole ------------------------------------------------------------------------------------------------------------


def test_replay_repeats_the_item_scope_steps_only() -> None:
    fields = [Field("hr", "number", unit="/min", low=20, high=300), Field("y", "boolean", ("target",))]
    cohort = cohort_of({"hr": [70, 999, 70], "y": [True, False, True]}, fields)
    specs = ["ranges", {"impossible": ["y is missing"]}, {"duplicates": "drop"}]
    out, evidence, again = clean_all(cohort, specs)
    assert len(out) == 2
    assert [spec["name"] for spec in again] == ["ranges", "impossible"]
    assert {item.metric for item in evidence.estimates} >= {"clean_values_removed", "clean_rows_dropped"}
    row = cohort_of({"hr": [999]}, fields[:1])
    assert replay(row, again)["hr"].to_list() == [None]


def test_a_fitted_step_before_the_split_is_refused() -> None:
    with pytest.raises(PlanError, match="learn from the test part"):
        clean_all(twins(), ["impute"])
    with pytest.raises(PlanError, match="no step is called"):
        clean_all(twins(), ["nonsense"])


def test_every_metric_and_finding_has_its_term() -> None:
    from bedside.evidence.glossary import term

    for key in ("values_removed", "values_changed", "rows_contradicting", "rows_excluded", "rows_repeated",
                "rows_conflicting", "rows_dropped", "subjects_joined", "labels_conflict"):  # fmt: skip
        assert term(f"clean_{key}").zh
    assert term("duplicates_waived").zh and term("cohort_flow").zh


def test_three_hundred_thousand_rows_in_seconds() -> None:
    import time

    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{j}": rng.integers(0, 1000, 300_000).astype(float) for j in range(10)})
    cohort = Cohort.of(frame, [Field(name, "number", low=0, high=990) for name in frame.columns])
    start = time.process_time()
    clean_all(cohort, ["duplicates", "ranges", {"impossible": ["x0 > x1 and x2 > x3"]}])
    assert time.process_time() - start < 10
