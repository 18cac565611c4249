"""The demo on images: a shortcut is caught, and the same plan passes once it is gone; groups at the marker's site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bedside.checks import run_checks
from bedside.cohort import Cohort, Workspace
from bedside.evidence.estimate import join
from bedside.evidence.gates import Judgement, judge
from bedside.evidence.policy import expand
from bedside.models.predictions import Predictions
from bedside.models.task import Classify
from bedside.synth import phantom2d


@pytest.fixture(scope="module")
def marked() -> Cohort:
    return phantom2d.simulate(900, 5, size=32, finding="effusion", shortcut=1.0)


def judged(cohort: Cohort, score: np.ndarray) -> dict[str, Judgement]:
    """The gates of a model that gives these probabilities and calls from one half on."""
    task = Classify.of(cohort, "finding", "effusion")
    made = Predictions.of_probabilities(task, cohort["row_id"], np.column_stack([1 - score, score]))
    made = made.with_columns(call=np.where(score >= 0.5, "effusion", "none"))
    checks = ["performance", {"subgroups": {"by": ["site", "device"]}}]
    evidence = join("all", run_checks(checks, made, cohort, task=task, seed=0))
    gates = expand({"auroc": 0.85, "specificity": 0.8, "worst_group": {"specificity": 0.6}})
    return {gate.id: judge(gate, evidence) for gate in gates}


def test_the_gate_on_groups_fails_where_the_whole_passes(marked: Cohort) -> None:
    # A reader that sees the finding well and trusts the marker more: among the few healthy with a marker it is wrong.
    y = (marked["finding"] == "effusion").to_numpy()
    honest = 1 / (1 + np.exp(-(2.5 * np.random.default_rng(0).normal(size=len(y)) / 2 + 5.0 * (y - 0.5))))
    marker = marked["marker"].is_not_null().to_numpy()
    found = judged(marked, np.where(marker, 0.98, honest))
    assert {name: each.verdict for name, each in found.items()} == {
        "auroc>=0.85": "pass",
        "specificity>=0.8": "pass",
        "worst_group:specificity>=0.6": "fail",
    }
    worst = found["worst_group:specificity>=0.6"].estimate
    assert worst is not None and worst.group == {"device": "portable", "site": "north"} and worst.value == 0
    assert {each.verdict for each in judged(marked, honest).values()} == {"pass"}


@pytest.mark.slow
def test_the_shortcut_is_caught_and_once_it_is_gone_the_gates_pass(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra imaging is not installed")
    from bedside.plan.demo import demo_images

    with_it, without = (each.outcome for each in demo_images(Workspace(tmp_path), threads=1))
    verdicts = [{each.gate.id: each.verdict for each in outcome.judgements} for outcome in (with_it, without)]
    changed = {"shortcut_auroc<=0.61", "shortcut_reliance<=0.23"}
    assert {name: verdicts[0][name] for name in changed} == dict.fromkeys(changed, "fail")
    assert set(verdicts[1].values()) == {"pass"}
    assert (with_it.decision.stage, without.decision.stage) == ("research", "assist")
    said = {item.id for piece in with_it.evidence for item in piece.findings}
    assert {"shortcut_tells", "shortcut_used"} <= said
    assert not {"shortcut_tells", "shortcut_used"} & {i.id for piece in without.evidence for i in piece.findings}
    events = without.evidence[0].find("auroc") or next(
        item for piece in without.evidence if (item := piece.find("auroc")) is not None
    )
    assert events.n_events is not None and events.n_events >= 400
    for outcome in (with_it, without):
        assert "simulated" in outcome.report.read_text(encoding="utf-8")
        assert outcome.release is not None
        assert "simulated" in (outcome.release / "card.md").read_text(encoding="utf-8")
