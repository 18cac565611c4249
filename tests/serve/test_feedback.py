"""Feedback on answers: who judged, what is right, and the cohort that corrections become."""

from __future__ import annotations

from typing import Any

import pytest
from tests.serving import Node


@pytest.fixture
def asked(node: Node) -> tuple[int, dict[str, Any]]:
    """An answer's number and the row it answers."""
    row = {**node.service.registry.state.find("trees").example, "subject": "MRN-7"}
    with node.caller("clinician") as caller:
        found = caller.post("/predict", json={"release": "trees", "row": row}).json()
    return found["answers"][0]["audit"], row


def judge(node: Node, position: int, **said: Any) -> Any:
    with node.caller("clinician") as caller:
        return caller.post(f"/answers/{position}/feedback", json=said)


def test_corrections_become_a_cohort_whose_lineage_names_them(node: Node, asked: tuple[int, dict[str, Any]]) -> None:
    position, row = asked
    digest = node.service.registry.state.find("trees").digest
    first = judge(node, position, verdict="correct", reason="died at night", correction="true", row=row)
    assert first.json() == {"answer": position, "number": 1, "verdict": "correct", "row_kept": True}
    changed = judge(node, position, verdict="correct", reason="no, he lives", correction="false", row=row)
    assert changed.json()["number"] == 2
    with node.caller("scientist") as caller:
        made = caller.post(f"/releases/{digest}/corrections", json={}).json()
        told = caller.get(f"/releases/{digest}/feedback.json").json()["feedback"]
    cohort = node.service.workspace.store.get_cohort(made["cohort"])
    mine = cohort.frame.filter(cohort["row_id"] == f"answer-{position}")
    assert mine["died_in_hospital"].to_list() == [False], "the last word on an answer counts"
    assert mine["subject"].to_list() == ["MRN-7"] and mine["age"][0] == row["age"]
    assert [field.name for field in cohort.schema.with_role("target")] == ["died_in_hospital"]
    (origin,) = cohort.lineage
    assert origin.action == "corrections" and origin.parameters == {"release": digest}
    kept = node.service.workspace.store.get_cohort(origin.inputs[-1])
    assert kept.lineage[0].action == "correct" and kept.lineage[0].parameters["answer"] >= 0
    assert {each["reason"] for each in told} >= {"died at night", "no, he lives"}
    recorded = node.service.audit.page(kind="feedback", limit=1)[0]
    assert recorded["answer"] == position and "reason" not in recorded.body, "free text may name a patient"


def test_another_row_is_not_taken_for_the_one_that_was_answered(node: Node, asked: tuple[int, dict[str, Any]]) -> None:
    position, row = asked
    refused = judge(
        node, position, verdict="correct", reason="long enough", correction="true", row={**row, "age": 20.0}
    )
    assert refused.status_code == 422 and "not the row that was answered" in refused.text


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"verdict": "accept"}, 200),
        ({"verdict": "reject", "reason": "blurred"}, 200),
        ({"verdict": "reject"}, 422),
        ({"verdict": "correct", "reason": "because"}, 422),
        ({"verdict": "correct", "reason": "because", "correction": "perhaps"}, 422),
        ({"verdict": "accept", "correction": "true"}, 422),
        ({"verdict": "doubt"}, 422),
    ],
)
def test_a_judgement_says_enough(
    node: Node, asked: tuple[int, dict[str, Any]], said: dict[str, Any], status: int
) -> None:
    assert judge(node, asked[0], **said).status_code == status


def test_only_answers_are_judged(node: Node, asked: tuple[int, dict[str, Any]]) -> None:
    assert judge(node, 10**9, verdict="accept").status_code == 404
    assert judge(node, 2**70, verdict="accept").status_code == 404
    assert judge(node, asked[0], verdict="accept").status_code == 200
    feedback = node.service.audit.page(kind="feedback", limit=1)[0].index
    assert judge(node, feedback, verdict="accept").status_code == 404
