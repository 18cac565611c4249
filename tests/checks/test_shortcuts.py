"""Shortcuts: what a blind baseline tells, and whether the model's score follows it."""

import numpy as np
import pytest

from bedside.errors import PlanError
from bedside.evidence.metrics.ranking import auroc
from bedside.models.predictions import Predictions


def made(case, p):
    return Predictions.of_probabilities(case.task, case.cohort["row_id"], np.column_stack([1 - p, p]))


def test_the_auroc_is_the_baselines_own(clustered):
    other = np.clip(clustered.p + np.random.default_rng(0).normal(0, 0.1, 600), 0, 1)
    found = clustered.check("shortcuts", reference={"logistic": made(clustered, other)})
    expected = auroc(clustered.y, other, subject=clustered.cohort.subject_codes)
    item = found.find("shortcut_auroc")
    assert (item.value, item.low, item.high) == (expected.value, expected.low, expected.high)
    assert item.at == {"baseline": "logistic"} and item.n_events == int(clustered.y.sum())
    reliance = found.find("shortcut_reliance")
    assert reliance.n_rows == int((clustered.y == 0).sum())


@pytest.mark.parametrize("used", [True, False])
def test_a_score_that_follows_the_machine_among_the_healthy_is_told(make_binary, used):
    # The machine goes with the event; the finding's own score is another number. Only the first model adds the machine.
    case = make_binary(2000)
    rng = np.random.default_rng(1)
    machine = rng.normal(size=2000) + 1.2 * case.y
    own = rng.normal(size=2000) + 1.5 * case.y
    score = own + machine if used else own
    judged = type(case)(case.cohort, case.task, made(case, 1 / (1 + np.exp(-score))))
    found = judged.check("shortcuts", reference={"metadata": made(case, 1 / (1 + np.exp(-machine)))})
    expected = ["shortcut_tells", "shortcut_used"] if used else ["shortcut_tells"]
    assert [item.id for item in found.findings] == expected
    # Bivariate normal, correlation 1/√2 among the healthy: Spearman's is 6/π asin(ρ/2) = .69 (Pearson 1907).
    truth = 6 / np.pi * np.arcsin(0.5 / np.sqrt(2)) if used else 0.0
    assert found.find("shortcut_reliance").value == pytest.approx(truth, abs=0.12)


def test_only_the_named_baselines_are_looked_at(binary):
    reference = {"a": made(binary, binary.p), "b": made(binary, 1 - binary.p)}
    found = binary.check({"shortcuts": ["b"]}, reference=reference)
    assert {item.at["baseline"] for item in found.estimates} == {"b"}
    with pytest.raises(PlanError, match=r"no baseline is called \['c'\]"):
        binary.check({"shortcuts": ["c"]}, reference=reference)
    assert [item.id for item in binary.check("shortcuts").findings] == ["baseline_absent"]
