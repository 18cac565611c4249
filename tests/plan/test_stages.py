"""The four stages, each reached by a run; autonomous only at low risk, under a policy that says so, all gates pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bedside
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import trusted_keys
from bedside.plan.release.approvals import obstacles
from bedside.plan.release.opened import open_release
from bedside.plan.release.verify import verify_release


@pytest.fixture(scope="module")
def clear() -> Cohort:
    """An outcome that two measurements tell well (AUROC near 0.95) and that neither tells alone."""
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, 6000))
    event = rng.random(6000) < 1 / (1 + np.exp(-(2.8 * x + 2.8 * z)))
    fields = [Field("x", "number"), Field("z", "number"), Field("event", "boolean", ("target",))]
    return Cohort.of({"x": x, "z": z, "event": event}, fields)


PLAN: dict[str, Any] = {
    "name": "clear",
    "task": {"classify": "event", "risk": "low"},
    "split": {"test": 0.5, "tune": 0.2},
    "model": "logistic",
    "baseline": ["majority"],
    "threshold": {"sensitivity": 0.93},
    "gates": {"policy": "low-risk-autonomous"},
    "release": {"as": "clear", "stage": "autonomous"},
}


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        ({}, "autonomous", None),
        ({"task": {"classify": "event", "risk": "medium"}}, "assist", "stage_not_autonomous"),
        ({"gates": {"policy": "risk-model"}}, "assist", "stage_not_autonomous"),
        ({"gates": {"policy": "low-risk-autonomous", "brier": {"between": [0.05, 0.0899]}}}, "shadow", None),
        ({"gates": {"policy": "low-risk-autonomous", "auroc": {"at_least": 0.99}}}, "research", "stage_gate_failed"),
        ({"gates": {}}, "research", "stage_no_gates"),
    ],
    ids=["all hold", "risk", "policy", "undecided", "failed", "no gates"],
)
def test_a_run_reaches_the_highest_stage_whose_rule_holds(
    clear: Cohort, tmp_path: Path, change: dict[str, Any], stage: str, reason: str | None
) -> None:
    plan = PLAN | change
    if stage == "shadow":  # a bound right at the value, so that the interval holds it
        brier = bedside.run(PLAN, clear, home=tmp_path, threads=1).evidence
        value = next(item.value for piece in brier if (item := piece.find("brier")) is not None)
        plan = PLAN | {"gates": PLAN["gates"] | {"brier": {"at_most": value}}}
    outcome = bedside.run(plan, clear, home=tmp_path, threads=1)
    assert outcome.decision.stage == stage, outcome.decision
    assert outcome.exit_code == (0 if stage == "autonomous" else 3)
    assert reason is None or reason in {why for why, _ in outcome.decision.reasons}
    assert outcome.release is not None
    opened = open_release(outcome.release, trusted_keys(Workspace(tmp_path).keys))
    told = {answer.id: answer.result for answer in verify_release(outcome.release, {}, load_model=True).answers}
    assert told["verify_gates"] == "ok" and opened.stage == stage
    standing = obstacles(opened, "autonomous")
    assert ("policy" in standing) == (plan["gates"].get("policy") != "low-risk-autonomous")
    assert ("risk" in standing) == (plan["task"]["risk"] != "low")
    assert (standing == []) == (stage == "autonomous")
