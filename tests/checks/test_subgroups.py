"""Subgroups: what is judged, what is refused, and at which level."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from bedside.checks.groups import grouping, intersections
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence.gates import Gate, judge


def groups_of(found) -> set[tuple[tuple[str, str], ...]]:
    return {tuple(item.group.items()) for item in found.estimates}


def test_each_group_is_what_the_rows_of_it_say(make_binary):
    case = make_binary(2000)
    found = case.check({"subgroups": {"by": ["sex"]}})
    rows = case.cohort["sex"].to_numpy() == "F"
    item = found.find("auroc", group={"sex": "F"})
    assert item.value == pytest.approx(roc_auc_score(case.y[rows], case.p[rows]), abs=1e-12)
    assert (item.n_rows, item.n_events) == (rows.sum(), case.y[rows].sum())
    sensitivity = found.find("sensitivity", group={"sex": "F"})
    assert sensitivity.n_rows == case.y[rows].sum()
    assert sensitivity.value == pytest.approx((case.p[rows & (case.y == 1)] >= 0.3).mean(), abs=1e-12)


def test_intervals_hold_for_all_groups_at_once(make_binary):
    case = make_binary(2000)
    found = case.check({"subgroups": {"by": ["sex", "age"]}})
    # 2 of sex, 4 of age (nobody is under 18), 8 intersections; all have enough events.
    assert len(groups_of(found)) == 14
    assert {item.level for item in found.estimates} == {1 - 0.05 / 14}
    alone = case.check({"subgroups": {"by": "sex"}})
    assert {item.level for item in alone.estimates} == {1 - 0.05 / 2}


def test_sensitive_fields_are_the_default_and_ages_are_cut_at_the_usual_years(make_binary):
    case = make_binary(2000)
    found = case.check({"subgroups": {"intersections": False}})
    assert {dict(group)["age"] for group in groups_of(found) if "age" in dict(group)} == {
        "18–<45", "45–<65", "65–<75", "≥75",
    }  # fmt: skip
    other = case.check({"subgroups": {"by": ["age"], "cuts": {"age": [50]}}})
    assert groups_of(other) == {(("age", "<50"),), (("age", "≥50"),)}


def test_a_group_with_too_few_events_is_refused_with_its_n(make_binary):
    case = make_binary(400)
    rare = pl.Series(["X"] * 12 + case.cohort["sex"].to_list()[12:], dtype=pl.String)
    changed = type(case)(case.cohort.with_columns({"sex": rare}), case.task, case.predictions)
    found = changed.check({"subgroups": {"by": ["sex"]}})
    item = found.find("auroc", group={"sex": "X"})
    assert (item.value, item.why_not, item.n_rows) == (None, "why_too_few_events", 12)
    assert item.n_events == case.y[:12].sum()
    assert "subgroups_refused" in {each.id for each in found.findings}
    # A refused group can never let a gate on the worst group pass.
    assert judge(Gate("auroc", low=0.1, each_group=True), found).verdict == "not_enough"


def test_events_of_one_patient_are_one_event(make_binary):
    case = make_binary(400)
    subject = pl.Series(["one"] * 100 + case.cohort["subject"].to_list()[100:], dtype=pl.String)
    site = pl.Series(["A"] * 100 + ["B"] * 300, dtype=pl.String)
    cohort = case.cohort.with_columns({"site": site}, [Field("site", "category", ("site",))])
    cohort = cohort.derive(cohort.frame.with_columns(subject.alias("subject")))
    found = type(case)(cohort, case.task, case.predictions).check({"subgroups": {"by": ["site"]}})
    assert found.find("auroc", group={"site": "A"}).why_not == "why_too_few_events"
    assert found.find("auroc", group={"site": "B"}).value is not None


def test_a_group_that_does_worse_is_named(make_binary):
    case = make_binary(3000)
    shuffled = case.p.copy()
    women = np.flatnonzero(case.cohort["sex"].to_numpy() == "F")
    shuffled[women] = np.random.default_rng(0).permutation(shuffled[women])
    made = case.predictions.with_columns(**{"p:yes": shuffled, "p:no": 1 - shuffled})
    found = type(case)(case.cohort, case.task, made).check({"subgroups": {"by": ["sex"]}})
    lower = [(item.values["metric"], item.values["group"]) for item in found.findings if item.id == "subgroup_lower"]
    assert ("auroc", "F") in lower and ("auroc", "M") not in lower


def test_missing_values_are_a_group_of_their_own():
    column = pl.Series(["b", None, "a", "b"], dtype=pl.String)
    cohort = Cohort.of({"x": column}, [Field("x", "category", levels=("b", "a"))])
    made = grouping(cohort, "x")
    assert made.labels == (("b",), ("a",), ("missing",))
    assert made.codes.tolist() == [0, 2, 1, 0]
    crossed = intersections([made, made])[0]
    assert all("missing" not in label for label in crossed.labels)
    assert crossed.codes[1] == -1


def test_numbers_without_declared_cuts_are_cut_at_tertiles():
    cohort = Cohort.of({"x": np.arange(30.0)}, [Field("x", "number")])
    assert np.bincount(grouping(cohort, "x").codes).tolist() == [9, 10, 11]


def test_errors_name_the_way_out(binary):
    with pytest.raises(PlanError, match="no field \\['height'\\]"):
        binary.check({"subgroups": {"by": ["height"]}})
    with pytest.raises(PlanError, match="must rise"):
        binary.check({"subgroups": {"by": ["age"], "cuts": {"age": [60, 40]}}})
    with pytest.raises(PlanError, match="not grouped by"):
        binary.check({"subgroups": {"by": ["sex"], "cuts": {"age": [60]}}})
    with pytest.raises(DataError, match="has no groups"):
        grouping(Cohort.of({"x": ["a"]}, [Field("x", "text")]), "x")


def test_too_many_levels_are_not_judged(binary):
    names = pl.Series([f"ward {i % 30}" for i in range(400)], dtype=pl.String)
    cohort = binary.cohort.with_columns({"ward": names}, [Field("ward", "category")])
    found = type(binary)(cohort, binary.task, binary.predictions).check({"subgroups": {"by": ["ward"]}})
    assert found.estimates == ()
    assert [(item.id, item.values["n"]) for item in found.findings] == [("subgroup_too_many_levels", 30)]


def test_three_classes_and_numbers_have_groups_too(multiclass, number):
    found = number.check("subgroups")
    assert found.find("mae", group={"sex": "F"}).unit == "d"
    sexes = pl.Series(["F", "M"] * 150, dtype=pl.String)
    cohort = multiclass.cohort.with_columns({"sex": sexes}, [Field("sex", "category", ("sensitive",))])
    found = type(multiclass)(cohort, multiclass.task, multiclass.predictions).check("subgroups")
    hit = multiclass.predictions.calls == multiclass.y
    assert found.find("accuracy", group={"sex": "M"}).value == pytest.approx(hit[1::2].mean())
