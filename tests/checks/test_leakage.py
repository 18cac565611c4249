"""Leakage: planted leaks stop, strong predictors do not, and ten thousand columns take seconds."""

import time

import numpy as np
import polars as pl
import pytest

from bedside.checks import run_checks
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import PlanError
from bedside.models.task import Classify, Regress


def leakage(cohort, task=None, **parameters):
    task = Classify.of(cohort, "y") if task is None else task
    return run_checks([{"leakage": parameters}], None, cohort, task=task, seed=0)[0]


def of(columns: dict, y: np.ndarray, kinds: dict | None = None, subject=None) -> Cohort:
    fields = [Field(name, (kinds or {}).get(name, "number")) for name in columns]
    target = np.where(y, "yes", "no")
    return Cohort.of({**columns, "y": target}, [*fields, Field("y", "category", ("target",))], subject=subject)


def outcome(n: int, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.random(n) < 0.3, rng


def said(found) -> list[tuple[str, str, str]]:
    return [(item.id, item.severity, item.values["field"]) for item in found.findings if "field" in item.values]


def test_a_planted_leak_stops():
    y, rng = outcome(4000)
    found = leakage(of({"honest": y + rng.normal(size=4000), "discharge": rng.normal(0, 0.15, 4000) - y}, y))
    assert said(found) == [("leak_suspected", "stop", "discharge")]
    strongest = found.estimates[0]
    assert (strongest.metric, dict(strongest.at)) == ("single_field_auroc", {"class": "yes", "field": "discharge"})
    assert strongest.low >= 0.99 and strongest.n_rows == 4000


def test_a_very_strong_predictor_only_cautions():
    y, rng = outcome(4000)
    found = leakage(of({"troponin": y + rng.normal(0, 0.38, 4000)}, y))
    assert said(found) == [("leak_suspected", "caution", "troponin")]
    assert 0.95 <= found.estimates[0].low < 0.99


def test_few_rows_that_a_gene_happens_to_separate_only_caution_or_pass():
    # Golub 1999: single genes separate 38 leukaemias. With so few rows the interval reaches far below 0.99.
    y, rng = outcome(38)
    found = leakage(of({"gene": y * 2 + rng.normal(0, 0.1, 38)}, y))
    assert found.estimates[0].value == 1
    assert not [item for item in found.findings if item.severity == "stop"]


def test_a_level_that_is_the_class_stops_at_any_n():
    y, rng = outcome(60)
    columns = {"status": np.where(y, "dead", "alive"), "ward": rng.choice(["a", "b"], 60)}
    found = leakage(of(columns, y, dict.fromkeys(columns, "category")))
    assert said(found) == [("leak_suspected_level", "stop", "status")]
    assert found.findings[0].values["level"] == "dead"


def test_one_code_among_many_that_is_the_class_stops():
    y, rng = outcome(500)
    code = np.where(y, "hospice", rng.choice(["home", "rehab", "other"], 500))
    assert said(leakage(of({"discharged_to": code}, y, {"discharged_to": "category"}))) == [
        ("leak_suspected_level", "stop", "discharged_to")
    ]


def test_a_yes_no_number_that_is_the_class_stops():
    y, _ = outcome(80)
    assert said(leakage(of({"flag": y.astype(float)}, y))) == [("leak_suspected", "stop", "flag")]


def test_a_coincidence_in_a_handful_of_rows_does_not_stop():
    y = np.array([True] * 4 + [False] * 4)
    found = leakage(of({"flag": y.astype(float)}, y))
    assert not [item for item in found.findings if item.severity == "stop"]


def test_rows_of_few_patients_prove_little():
    # 400 rows, but 8 patients: the coincidence is one of 8 choose 4.
    y = np.repeat([True] * 4 + [False] * 4, 50)
    found = leakage(of({"flag": y.astype(float)}, y, subject=[str(i // 50) for i in range(400)]))
    assert not [item for item in found.findings if item.severity == "stop"]


def test_the_pattern_of_missing_values_can_tell_the_outcome():
    y, rng = outcome(3000)
    autopsy = np.where(y, rng.normal(size=3000), np.nan)
    found = leakage(of({"autopsy": autopsy}, y))
    assert said(found) == [("leak_suspected_missing", "stop", "autopsy")]


def test_allowed_fields_are_a_caution_that_says_it_was_waived():
    y, rng = outcome(4000)
    cohort = of({"discharge": y + rng.normal(0, 0.15, 4000)}, y)
    assert said(leakage(cohort, allow=["discharge"])) == [("leak_waived", "caution", "discharge")]
    assert said(leakage(cohort, allow="discharge")) == [("leak_waived", "caution", "discharge")]
    with pytest.raises(PlanError, match="do not exist"):
        leakage(cohort, allow=["discharg"])


def test_nothing_to_see_is_said(binary):
    found = binary.check("leakage")
    assert [(item.id, item.values["n"]) for item in found.findings] == [("leak_none", 3)]


def test_a_field_that_orders_a_number_stops():
    rng = np.random.default_rng(0)
    days = rng.gamma(2, 3, 2000)
    fields = [
        Field("billed", "number"),
        Field("copy", "number"),
        Field("age", "number"),
        Field("days", "number", ("target",)),
    ]
    columns = {
        "billed": -days + rng.normal(0, 0.05, 2000),
        "copy": days * 24,
        "age": rng.normal(size=2000),
        "days": days,
    }
    cohort = Cohort.of(columns, fields)
    found = leakage(cohort, Regress.of(cohort, "days"))
    assert said(found) == [
        ("leak_suspected_rank", "stop", "copy"),
        ("leak_suspected_rank", "stop", "billed"),
    ]


def test_each_class_against_the_rest(multiclass):
    code = np.where(multiclass.y == 2, "C", "not C")
    cohort = multiclass.cohort.with_columns({"code": pl.Series(code)}, [Field("code", "category")])
    found = type(multiclass)(cohort, multiclass.task, multiclass.predictions).check("leakage")
    assert [(item.id, item.values["class"]) for item in found.findings] == [("leak_suspected_level", "c")]


def test_the_target_itself_is_not_an_input():
    y, _ = outcome(200)
    cohort = Cohort.of({"y": np.where(y, "yes", "no")}, [Field("y", "category", ("input", "target"))])
    assert [item.id for item in leakage(cohort).findings] == ["leak_none"]


def test_ten_thousand_columns_and_sixty_rows_in_seconds():
    y, rng = outcome(60)
    columns = {f"g{i}": rng.normal(size=60) for i in range(10_000)}
    cohort = of(columns, y)
    start = time.process_time()
    found = leakage(cohort)
    assert time.process_time() - start < 20  # about 2 s alone on one core
    assert not [item for item in found.findings if item.severity == "stop"]
    assert len(found.estimates) == 10
