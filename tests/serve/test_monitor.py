"""Monitoring: what comes in and what is answered, against what the release was made on."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from tests.serving import Node

from bedside.checks.drift import Drift, input_drift
from bedside.cohort.cohort import Cohort
from bedside.evidence.glossary import term
from bedside.models.observed import observe
from bedside.serve.monitor import inputs_drift
from bedside.synth.admissions import simulate


@pytest.fixture(scope="module")
def later() -> Cohort:
    """Patients of the same simulated hospital, whom no release saw."""
    return simulate(4000, seed=77)


def verdicts(found: Drift, watched: str) -> dict[str, str]:
    return {each.estimate.metric: each.verdict for each in found.alarms if each.watched == watched}


def changed(cohort: Cohort, **columns: pl.Expr) -> Cohort:
    return replace(cohort, frame=cohort.frame.with_columns(**columns))


def test_the_same_hospital_has_not_drifted(node: Node, later: Cohort) -> None:
    served = node.service.registry.state.find("linear")
    found = inputs_drift(served, later)
    assert not [alarm for alarm in found.alarms if alarm.verdict == "fail"]
    assert verdicts(found, "age")["drift_missing"] == "pass" and verdicts(found, "smoking")["drift_psi"] == "pass"
    every = found.evidence.estimates
    assert all(each.n_subjects and each.n_rows for each in every)
    levels = [each.level for each in every if each.level is not None]
    assert levels == pytest.approx([1 - 0.05 / len(every)] * len(every)), "Bonferroni over all that is looked at"


def test_a_shift_a_lost_sensor_and_another_case_mix_are_named(node: Node, later: Cohort) -> None:
    served = node.service.registry.state.find("linear")
    other = changed(later, age=pl.col("age") + 15, smoking=pl.lit("current"), lactate=pl.lit(None, dtype=pl.Float64))
    found = inputs_drift(served, other)
    assert verdicts(found, "age")["drift_ks"] == "fail"
    assert verdicts(found, "smoking")["drift_psi"] == "fail"
    assert verdicts(found, "lactate")["drift_missing"] == "fail"
    assert verdicts(found, "admission_type")["drift_psi"] == "pass", "what did not change raises no alarm"
    said = {each.id: each.values["watched"] for each in found.evidence.findings if each.severity == "caution"}
    assert said["drift_psi_alarm"] == "smoking" and all(term(key).kind == "finding" for key in said)


def test_few_patients_decide_nothing(node: Node, later: Cohort) -> None:
    found = inputs_drift(node.service.registry.state.find("linear"), later.take(range(4)))
    assert {alarm.verdict for alarm in found.alarms} == {"not_enough"}
    assert [each.id for each in found.evidence.findings] == ["drift_undecided"]


def test_levels_too_rare_to_be_listed_are_no_drift() -> None:
    """The reference names no level of fewer than five rows; what it left out is one more category."""
    names = [*["a"] * 500, *["b"] * 480, *[f"rare-{i}" for i in range(20)]]
    from bedside.cohort.schema import Field

    made = Cohort.of({"drug": names}, [Field("drug", "category", ("input",))])
    found = input_drift(observe(made), 1000, made)
    assert verdicts(found, "drug") == {"drift_missing": "pass", "drift_psi": "pass"}
    psi = next(each for each in found.evidence.estimates if each.metric == "drift_psi")
    assert psi.value == 0 and psi.at == {"field": "drug"}


def test_answers_are_compared_with_the_predictions_of_the_release(node: Node, later: Cohort) -> None:
    served = node.service.registry.state.find("trees")
    with node.caller("scientist") as caller:
        nothing = caller.get(f"/releases/{served.digest}/drift.json").json()
        assert [each["verdict"] for each in nothing["alarms"]] == ["not_enough"]
        row = {**served.example, "subject": "MRN-1"}
        rows = [{**row, "subject": f"MRN-{i}"} for i in range(400)]
        got = caller.post("/predict", json={"release": "trees", "rows": rows, "explain": False})
        assert got.status_code == 200
        found = caller.get(f"/releases/{served.digest}/drift.json").json()
    estimate = found["evidence"]["estimates"][0]
    assert estimate["metric"] == "drift_ks" and (estimate["n_rows"], estimate["n_subjects"]) == (400, 400)
    assert [each["verdict"] for each in found["alarms"]] == ["fail"], "one patient 400 times is another case mix"
    with node.caller("clinician") as caller:
        assert caller.get(f"/releases/{served.digest}/drift.json").status_code == 403
