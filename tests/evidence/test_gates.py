"""Gates judge the interval; stages follow from the verdicts; nothing undecided ever passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import Gate, Judgement, decide_stage, judge
from bedside.evidence.policy import expand


def estimate(value: float, low: float, high: float, **more: object) -> Estimate:
    given = {"level": 0.95, "n_rows": 100, "n_subjects": 100, "method": "delong", **more}
    return Estimate("auroc", value, low, high, **given)  # type: ignore[arg-type]


def verdict(gate: Gate, *items: Estimate) -> str:
    return judge(gate, Evidence("performance", tuple(items))).verdict


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.81, 0.9, "pass"), (0.8, 0.9, "pass"), (0.79, 0.9, "not_enough"), (0.7, 0.8, "not_enough"), (0.7, 0.79, "fail")],
)
def test_a_floor_is_judged_on_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert verdict(Gate("auroc", low=0.8), estimate((low + high) / 2, low, high)) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.9, 1.1, "pass"), (0.7, 0.9, "not_enough"), (0.5, 0.7, "fail"), (1.3, 1.5, "fail")]
)
def test_a_range_is_judged_on_both_sides(low: float, high: float, expected: str) -> None:
    assert verdict(Gate("auroc", low=0.8, high=1.2), estimate((low + high) / 2, low, high)) == expected


def test_what_was_not_estimated_never_passes() -> None:
    assert verdict(Gate("auroc", low=0.1)) == "not_enough"
    refused = Estimate("auroc", None, why_not="why_too_few_events", n_rows=4)
    judged = judge(Gate("auroc", low=0.1), Evidence("performance", (refused,)))
    assert judged.verdict == "not_enough" and judged.reason == "not_estimable"


def test_the_worst_group_decides_and_a_refused_group_does_not_pass() -> None:
    gate = Gate("auroc", low=0.7, each_group=True)
    men, women = (estimate(0.85, 0.8, 0.9, group={"sex": sex}) for sex in ("m", "f"))
    poor = estimate(0.6, 0.5, 0.65, group={"sex": "x"})
    refused = Estimate("auroc", None, why_not="why_too_few_events", group={"sex": "x"})
    assert verdict(gate, men, women) == "pass"
    assert verdict(gate, men, women, poor) == "fail"
    assert verdict(gate, men, women, refused) == "not_enough"
    # Six rows whose sex nobody wrote down are no declared group; enough of them to judge are.
    assert verdict(gate, men, replace(refused, group={"sex": "missing"})) == "pass"
    assert verdict(gate, men, replace(poor, group={"sex": "missing"})) == "fail"
    # The whole is not a group, and a group is not the whole.
    assert verdict(gate, estimate(0.9, 0.85, 0.95)) == "not_enough"
    assert verdict(Gate("auroc", low=0.7), men) == "not_enough"


def test_training_and_tuning_estimates_are_never_judged() -> None:
    assert verdict(Gate("auroc", low=0.7), estimate(0.9, 0.85, 0.95, part="train")) == "not_enough"


def test_the_n_that_would_decide_is_said_for_a_sensitivity() -> None:
    """No miss among 50 positives: Wilson's lower end is .929; 73 positives would put it at .95 (FIELD_NOTES: ≥ 73)."""
    seen = Estimate("sensitivity", 1.0, 0.9287, 1.0, 0.95, 50, 50, method="wilson")
    judged = judge(Gate("sensitivity", low=0.95), Evidence("performance", (seen,)))
    assert judged.verdict == "not_enough"
    assert judged.n_deciding == 73


def test_no_n_decides_a_value_that_sits_on_the_threshold() -> None:
    judged = judge(Gate("auroc", low=0.8), Evidence("performance", (estimate(0.8, 0.7, 0.9),)))
    assert judged.n_deciding is None


def judgement(verdict_: str) -> Judgement:
    return Judgement(Gate("auroc", low=0.8), verdict_, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "risk", "asked", "reached"),
    [
        (["pass", "pass"], "high", "assist", "assist"),
        (["pass", "pass"], "high", "shadow", "shadow"),
        (["pass", "not_enough"], "high", "assist", "shadow"),
        (["pass", "fail"], "high", "assist", "research"),
        (["pass"], "high", "autonomous", "assist"),
        (["pass"], "low", "autonomous", "assist"),
        ([], "low", "assist", "research"),
    ],
)
def test_the_stage_is_the_highest_whose_rule_holds(verdicts: list[str], risk: str, asked: str, reached: str) -> None:
    decision = decide_stage([judgement(each) for each in verdicts], asked=asked, risk=risk)  # type: ignore[arg-type]
    assert decision.stage == reached
    assert bool(decision.reasons) == (reached != asked)


def test_autonomous_needs_low_risk_and_a_policy_that_says_so() -> None:
    decision = decide_stage([judgement("pass")], asked="autonomous", risk="low", autonomous_allowed=True)
    assert decision.stage == "autonomous"


def test_broken_integrity_refuses_every_stage() -> None:
    decision = decide_stage([judgement("pass")], asked="research", risk="low", broken=["leak_suspected"])
    assert decision.stage is None


def test_a_waiver_caps_the_stage() -> None:
    decision = decide_stage([judgement("pass")], asked="assist", risk="high", caps={"duplicates_waived": "research"})
    assert decision.stage == "research" and ("stage_capped", "duplicates_waived") in decision.reasons


def test_gates_are_written_as_the_plan_does() -> None:
    gates = expand(
        {
            "auroc": {"at_least": 0.8},
            "brier": 0.1,
            "calibration_slope": {"between": [0.8, 1.2]},
            "worst_group": {"sensitivity": 0.85},
            "beats": {"auroc": "logistic", "brier": "logistic"},
        }
    )
    assert [gate.id for gate in gates] == [
        "auroc>=0.8",
        "brier<=0.1",
        "calibration_slope>=0.8<=1.2",
        "worst_group:sensitivity>=0.85",
        "auroc-logistic>=0",
        "brier-logistic<=0",
    ]
    assert {gate.metric: gate.low for gate in expand({"policy": "diagnostic-image"})} == {
        "sensitivity": 0.95,
        "specificity": 0.85,
        "auroc": 0.90,
    }


@pytest.mark.parametrize(
    "bad",
    [
        {"auroc": {}},
        {"auroc": "high"},
        {"auroc": {"at_least": "0.8"}},
        {"auroc": {"above": 0.8}},
        {"auroc": {"between": [0.9]}},
        {"auroc": {"between": [0.9, 0.8]}},
        {"calibration_slope": 1.0},
        {"nonsense": 0.8},
        {"wilson": 0.8},
        {"policy": "unheard-of"},
        {"worst_group": 0.8},
    ],
)
def test_a_gate_that_says_nothing_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(PlanError):
        expand(bad)


def test_a_judgement_round_trips() -> None:
    judged = judge(Gate("auroc", low=0.8), Evidence("performance", (estimate(0.82, 0.75, 0.9),)))
    assert Judgement.from_json(judged.to_json()) == judged
