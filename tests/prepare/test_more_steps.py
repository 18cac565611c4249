"""Splines, choosing inputs, summaries of events, and the dataset card."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort import plugins
from bedside.cohort.cohort import EVENT_COLUMNS, Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError, PlanError
from bedside.evidence.glossary import term, text
from bedside.intake import from_polars
from bedside.prepare import steps
from bedside.prepare.card import describe
from bedside.prepare.protocol import CleanStep, Step
from bedside.prepare.steps.splines import Splines, cubic_terms
from bedside.prepare.steps.summarise_events import SummariseEvents

RUN = Run(Path())


def test_every_entry_point_keeps_the_protocol() -> None:
    minimal = {
        "clean.units": {"to": {"x": "kg"}},
        "clean.missing_codes": {"codes": {"x": [0]}},
        "clean.impossible": {"rules": ["x > 1"]},
        "clean.exclude": {"criteria": [{"rule": "x > 1", "reason": "r"}]},
        "clean.map_values": {"fields": "x", "table": {"a": "b"}},
        "select": {"fields": ["x"]},
        "drop": {"fields": ["x"]},
    }
    for name, point in plugins.catalogue("steps").items():
        if point.value.startswith("bedside.prepare"):
            made = point.load()(**minimal.get(name, {}))
            assert isinstance(made, CleanStep if name.startswith("clean.") else Step), name
            assert made.name == name.removeprefix("clean.")
            assert type(made)(**made.parameters()).parameters() == made.parameters()


# Splines --------------------------------------------------------------------------------------------------------------


def test_the_cubic_terms_are_harrells_formula() -> None:
    """RMS 2nd ed., eq. 2.25, by hand for knots 0, 1, 2: [x₊³ − 2 (x − 1)₊³ + (x − 2)₊³] / 4."""
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(cubic_terms(x, np.array([0.0, 1.0, 2.0]))[:, 0], [0, 0, 0.03125, 0.25, 1.5, 3.0, 4.5])


def test_the_terms_span_the_natural_cubic_splines() -> None:
    """A natural cubic spline through the knots (scipy) is a combination of 1, x and the terms, and straight beyond."""
    from scipy.interpolate import CubicSpline

    knots = np.array([-2.0, -0.5, 0.3, 1.0, 4.0])
    target = CubicSpline(knots, [1.0, -2.0, 0.5, 3.0, -1.0], bc_type="natural")
    x = np.linspace(-2, 4, 200)
    basis = np.column_stack([np.ones_like(x), x, cubic_terms(x, knots)])
    weights, *_ = np.linalg.lstsq(basis, target(x), rcond=None)
    np.testing.assert_allclose(basis @ weights, target(x), atol=1e-10)
    beyond = np.array([5.0, 6.0, 7.0, -3.0, -4.0, -5.0])
    curve = np.column_stack([np.ones(6), beyond, cubic_terms(beyond, knots)]) @ weights
    np.testing.assert_allclose(np.diff(curve[:3], 2), 0, atol=1e-8)
    np.testing.assert_allclose(np.diff(curve[3:], 2), 0, atol=1e-8)


def test_splines_keep_the_linear_term_and_leave_coarse_fields() -> None:
    rng = np.random.default_rng(0)
    columns = {"age": rng.normal(60, 10, 200), "stage": rng.integers(0, 5, 200).astype(float)}
    columns["age"][3] = np.nan
    cohort = Cohort.of(columns, [Field("age", "number", unit="a", low=0), Field("stage", "number")])
    step = Splines(knots=5).fit(cohort, run=RUN)
    out = step.apply(cohort)
    assert out.schema.names == ["age", "age'", "age''", "age'''", "stage"]
    expected = np.quantile(columns["age"][~np.isnan(columns["age"])], [0.05, 0.275, 0.5, 0.725, 0.95])
    np.testing.assert_allclose(step.state["knots"]["age"], expected)
    assert out["age'"][3] is None and out["age"].to_list()[:3] == cohort["age"].to_list()[:3]
    with pytest.raises(PlanError, match="3, 4 or 5"):
        Splines(7)


# Choosing inputs ------------------------------------------------------------------------------------------------------


def mixed() -> Cohort:
    fields = [
        Field("age", "number"),
        Field("sex", "category", ("input", "sensitive")),
        Field("const", "number"),
        Field("empty", "category"),
        Field("y", "boolean", ("target",)),
    ]
    columns = {"age": [1.0, 2.0], "sex": ["F", "M"], "const": [3.0, 3.0], "empty": [None, None], "y": [True, False]}
    return Cohort.of(columns, fields)


@pytest.mark.parametrize(
    ("spec", "inputs", "names"),
    [
        ({"select": ["age"]}, ["age"], ["age", "sex", "y"]),
        ({"select": {"kinds": ["category"]}}, ["sex", "empty"], ["sex", "empty", "y"]),
        ({"drop": ["sex", "const"]}, ["age", "empty"], ["age", "sex", "empty", "y"]),
        ("drop_constant", ["age", "sex"], ["age", "sex", "y"]),
    ],
)
def test_inputs_are_chosen_and_other_roles_stay(spec: object, inputs: list[str], names: list[str]) -> None:
    fitted = steps.fit_all([spec], mixed(), RUN)
    out = steps.apply_all(fitted, mixed())
    assert [item.name for item in out.schema.inputs] == inputs
    assert out.schema.names == names
    assert out.schema["sex"].roles[-1] == "sensitive"


def test_choosing_what_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="y: no input of that name"):
        steps.fit_all([{"drop": ["y"]}], mixed(), RUN)
    with pytest.raises(DataError, match="no input is a time"):
        steps.fit_all([{"select": {"kinds": ["time"]}}], mixed(), RUN)
    with pytest.raises(PlanError, match="neither fields nor kinds"):
        steps.build("drop")


# Events ---------------------------------------------------------------------------------------------------------------

START = datetime(2020, 1, 1)


def stay(events: list[tuple[str, float | None, str, float | None]], *, timed: bool = True) -> Cohort:
    """Two rows of patient a (48 h apart) and one of b; events are (subject, hours after START, code, value)."""
    begin = START if timed else datetime(1970, 1, 1)
    table = pl.DataFrame(
        {
            "subject_id": [e[0] for e in events],
            "time": [None if e[1] is None else begin + timedelta(hours=e[1]) for e in events],
            "code": [e[2] for e in events],
            "numeric_value": [e[3] for e in events],
            "text_value": [None] * len(events),
        },
        schema=EVENT_COLUMNS,
    )
    frame = pl.DataFrame({"row_id": ["a1", "a2", "b"], "subject": ["a", "a", "b"]})
    if not timed:
        return Cohort(Schema(identity="declared"), frame, table)
    starts = pl.Series("start", [START, START + timedelta(hours=48), START], dtype=pl.Datetime("us"))
    schema = Schema((Field("start", "time", ("time",)),), identity="declared")
    return Cohort(schema, frame.with_columns(starts), table)


EVENTS = [
    ("a", 1.0, "HR", 80.0), ("a", 5.0, "HR", 60.0), ("a", 3.0, "HR", 100.0), ("a", 50.0, "HR", 77.0),
    ("a", None, "height", 170.0), ("b", 48.0, "HR", 50.0), ("b", 48.1, "HR", 10.0), ("b", 2.0, "HR", None),
    ("a", -1.0, "HR", 1.0), ("b", 3.0, "rare", 1.0),
]  # fmt: skip


def test_events_are_summarised_in_each_rows_own_window() -> None:
    step = SummariseEvents(min_rows=2).fit(stay(EVENTS), run=RUN)
    out = step.apply(stay(EVENTS))
    assert step.state["codes"] == ["HR", "height"]
    row = {name: out[name].to_list() for name in out.schema.names if name.startswith("HR")}
    assert row["HR.first"] == [80.0, 77.0, 50.0]
    assert row["HR.last"] == [60.0, 77.0, 50.0]
    assert row["HR.min"] == [60.0, 77.0, 50.0] and row["HR.max"] == [100.0, 77.0, 50.0]
    assert row["HR.mean"] == [80.0, 77.0, 50.0] and row["HR.count"] == [3.0, 1.0, 1.0]
    assert out["height.last"].to_list() == [170.0, 170.0, None]
    assert out["height.count"].to_list() == [1.0, 1.0, 0.0]
    assert all(item.roles == ("input",) for item in out.schema.fields[1:])


def test_without_a_time_field_events_count_from_1970() -> None:
    step = SummariseEvents([0, 4], codes=["HR"], statistics=["last"]).fit(stay(EVENTS, timed=False), run=RUN)
    assert step.apply(stay(EVENTS, timed=False))["HR.last"].to_list() == [100.0, 100.0, None]


def test_the_order_of_events_does_not_matter() -> None:
    tied = [*EVENTS, ("a", 1.0, "HR", 81.0)]
    step = SummariseEvents(min_rows=1).fit(stay(tied), run=RUN)
    assert step.apply(stay(tied)).frame.equals(step.apply(stay(tied[::-1])).frame)


def test_event_summaries_save_and_refuse(tmp_path: Path) -> None:
    step = SummariseEvents(min_rows=1).fit(stay(EVENTS), run=RUN)
    step.save(tmp_path)
    assert SummariseEvents.load(tmp_path).apply(stay(EVENTS)).digest == step.apply(stay(EVENTS)).digest
    with pytest.raises(DataError, match="no events to summarise"):
        step.apply(mixed())
    with pytest.raises(DataError, match="has the code glucose"):
        SummariseEvents(codes=["glucose"]).fit(stay(EVENTS), run=RUN)
    with pytest.raises(PlanError, match="write \\[from, to\\]"):
        SummariseEvents([48])
    with pytest.raises(PlanError, match="statistics \\['median'\\]"):
        SummariseEvents(statistics=["median"])


# The card -------------------------------------------------------------------------------------------------------------


def test_the_card_describes_fields_without_naming_anyone() -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "number": np.arange(200),
            "age": rng.normal(60, 10, 200).round(1),
            "sex": ["F", "M"] * 100,
            "ward": ["A"] * 150 + ["B"] * 45 + ["rare"] * 5,
            "thin": [1.5] + [None] * 199,
        }
    )
    evidence = describe(from_polars(frame))
    found = {(item.metric, *(item.at or {}).values()): item.value for item in evidence.estimates}
    assert found[("cohort_rows",)] == 200 and found[("missing_share", "thin")] == 0.995
    assert found[("field_median", "age")] == pytest.approx(float(np.median(frame["age"].to_numpy())))
    assert found[("field_level_share", "ward", "A")] == 0.75
    assert ("field_level_share", "ward", "rare") not in found and ("field_level_share", "ward", "other") not in found
    assert found[("field_median", "thin")] is None
    assert [item.id for item in evidence.findings] == ["doubt_row_number"]
    for figure in evidence.figures:
        assert all(rows == 0 or rows >= 10 for rows in figure.columns["rows"])
    for item in evidence.findings:
        assert text(item.id, "zh", **item.values)
    for item in (*evidence.estimates, *evidence.figures):
        assert term(item.metric if hasattr(item, "metric") else item.id).zh
    assert term("too_few_rows").zh
