"""TRIPOD+AI: 27 items, 52 with sub-items, each filled, left to the author or not applicable."""

import re

import pytest

from bedside.checks.tripod import checklist, tripod
from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence

AUROC = Estimate("auroc", 0.8, 0.7, 0.9, 0.95, n_rows=100)
FOUND = [Evidence("performance", (AUROC,)), Evidence("sample_size")]
FACTS = {
    "study": "both",
    "name": "demo",
    "task": {"target": "died", "kind": "classify"},
    "split": {"folds": 5},
    "steps": ["impute"],
    "model": {"name": "logistic"},
    "threshold": {"choose": "youden"},
}


def of(rows: list[dict], item: str) -> dict:
    return next(row for row in rows if row["item"] == item)


def test_all_items_of_the_statement_in_order():
    # Collins et al. BMJ 2024;385:e078378, table 2: 27 items, 52 with sub-items.
    items = [row["item"] for row in checklist()]
    assert len(items) == len(set(items)) == 52
    assert sorted({int(re.match(r"\d+", item)[0]) for item in items}) == list(range(1, 28))
    assert items == sorted(items, key=lambda item: (int(re.match(r"\d+", item)[0]), item))
    assert [row["item"] for row in checklist() if row["applies"] == "E"] == ["12f", "12g", "20c", "24"]
    assert [row["item"] for row in checklist() if row["applies"] == "D"] == [
        "9a", "12a", "12b", "12c", "15", "22", "27a", "27b",
    ]  # fmt: skip


def test_every_item_in_both_languages():
    for row in checklist():
        assert row["en"].isascii() and row["en"]
        assert re.search(r"[\u4e00-\u9fff]", row["zh"])


def test_the_run_fills_what_it_knows_with_a_pointer():
    rows = tripod(FACTS, FOUND)
    assert of(rows, "12a")["status"] == "filled"
    assert of(rows, "12a")["pointers"] == ["plan:split"]
    assert of(rows, "23a")["pointers"] == ["check:performance"]
    assert of(rows, "10")["pointers"] == ["check:sample_size"]
    assert of(rows, "15")["pointers"] == ["plan:threshold", "plan:task.kind"]


def test_what_only_the_author_knows_stays_with_the_author():
    rows = tripod(FACTS, FOUND)
    for item in ("2", "3a", "17", "18a", "25", "26"):
        assert of(rows, item)["status"] == "author"
    title = of(rows, "1")
    assert title["status"] == "author"  # the run gives the target, the author the words
    assert title["pointers"] == ["plan:name", "plan:task.target"]


def test_the_authors_words_fill_an_item():
    rows = tripod({**FACTS, "author": {"17": "Approved by the ethics board, 2024-11"}}, FOUND)
    assert of(rows, "17")["status"] == "filled"
    assert of(rows, "17")["answer"] == "Approved by the ethics board, 2024-11"


def test_not_applicable_to_the_kind_of_study_or_without_the_method():
    evaluation = tripod({"study": "evaluation"}, FOUND)
    assert of(evaluation, "12a")["status"] == "not_applicable"
    assert of(evaluation, "23a")["status"] == "filled"
    rows = tripod(FACTS, FOUND)
    assert of(rows, "13")["status"] == "not_applicable"  # no class weights
    assert of(rows, "24")["status"] == "not_applicable"  # nothing updated
    weighted = tripod({**FACTS, "model": {"name": "logistic", "class_weight": "balanced"}}, FOUND)
    assert of(weighted, "13")["status"] == "filled"


def test_nothing_known_leaves_everything_to_the_author():
    statuses = {row["status"] for row in tripod({}, [])}
    assert statuses == {"author", "not_applicable"}


def test_errors_name_the_way_out():
    with pytest.raises(DataError, match="no item"):
        tripod({"author": {"99": "?"}}, [])
    with pytest.raises(DataError, match="development, evaluation, both"):
        tripod({"study": "pilot"}, [])
