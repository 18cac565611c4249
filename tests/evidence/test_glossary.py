"""The glossary: one meaning an id, in two languages, with a direction and a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import pytest

from bedside.errors import DataError
from bedside.evidence import glossary
from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import STAGES, Gate, decide_stage, judge
from bedside.evidence.glossary import Term, filled, placeholders, term, terms, text
from bedside.evidence.metrics.interval import METHODS

CHINESE = re.compile("[\u4e00-\u9fff]")
# The metrics every part of Bedside counts on, with the side that is good.
DIRECTIONS = {
    **dict.fromkeys(
        (
            "auroc",
            "average_precision",
            "scaled_brier",
            "sensitivity",
            "specificity",
            "ppv",
            "npv",
            "accuracy",
            "balanced_accuracy",
            "f1",
            "mcc",
            "net_benefit",
            "interventions_avoided",
            "auroc_macro",
            "auroc_hand_till",
            "f1_macro",
            "kappa",
            "r2",
            "pearson",
            "spearman",
        ),
        "higher",
    ),
    **dict.fromkeys(("brier", "log_loss", "ece", "ici", "e50", "e90", "mae", "rmse", "median_ae"), "lower"),
    **dict.fromkeys(("calibration_in_the_large", "calibration_slope", "oe_ratio", "bias"), "target"),
    **dict.fromkeys(("prevalence", "net_benefit_treat_all"), "none"),
}


def complaints(item: Term) -> Iterator[str]:
    """What is wrong with a term."""
    if not (CHINESE.search(item.zh) or item.zh == item.en):
        yield "the Chinese is neither Chinese nor a symbol"
    if bool(item.definition_en) != bool(item.definition_zh) or not (item.en.strip() and item.zh.strip()):
        yield "one language only"
    if CHINESE.search(item.en + item.definition_en):
        yield "Chinese in the English"
    if item.definition_zh and not CHINESE.search(item.definition_zh):
        yield "the Chinese definition is not Chinese"
    if re.search("[\u4e00-\u9fff][,;:?!](?:[\u4e00-\u9fff]|$)", item.zh + item.definition_zh):
        yield "a Western mark between Chinese characters"
    if placeholders(item.en) != placeholders(item.zh):
        yield "the languages take different values"
    if not all(name.isidentifier() for name in placeholders(item.en)):
        yield "a template takes plain names"
    if item.kind in ("metric", "method", "figure") and not item.definition_en:
        yield "no definition"
    if item.direction == "target" and item.target is None:
        yield "no target"


def test_every_term_is_whole_in_both_languages() -> None:
    found = [f"{key}: {wrong}" for key, item in terms().items() for wrong in complaints(item)]
    assert found == []


def test_the_metrics_of_the_brief_have_their_direction() -> None:
    assert {key: term(key).direction for key in DIRECTIONS} == DIRECTIONS
    assert term("calibration_slope").target == 1
    assert term("calibration_in_the_large").target == 0


def test_what_comes_from_a_paper_or_a_standard_says_so() -> None:
    borrowed = [*DIRECTIONS, *METHODS, "roc", "calibration_curve", "decision_curve", "forest"]
    assert [key for key in borrowed if not term(key).source and term(key).kind != "word"] == []


def test_chinese_names_are_the_ones_statisticians_use() -> None:
    names = {key: term(key).zh for key in ("sensitivity", "specificity", "calibration_slope", "net_benefit", "ppv")}
    assert names == {
        "sensitivity": "灵敏度",
        "specificity": "特异度",
        "calibration_slope": "校准斜率",
        "net_benefit": "净获益",
        "ppv": "阳性预测值",
    }
    assert "受试者工作特征曲线下面积" in term("auroc").zh


def test_every_interval_method_has_a_term() -> None:
    assert [key for key in [*METHODS, "exact_count"] if key not in terms() or term(key).kind != "method"] == []


def test_every_stage_verdict_part_and_reason_has_a_term() -> None:
    for key in (*STAGES, "pass", "fail", "not_enough", "train", "tune", "search", "calibrate", "test", "external"):
        assert term(key).kind == "word"
    nothing = judge(Gate("auroc", low=0.8), Evidence("none"))
    assert term(str(nothing.reason)).kind == "finding"
    decisions = [
        decide_stage([], asked="assist", risk="high"),
        decide_stage([nothing], asked="assist", risk="high"),
        decide_stage([], asked="assist", risk="high", broken=["leak_suspected"]),
        decide_stage([], asked="shadow", risk="high", caps={"duplicates_waived": "research"}),
    ]
    for decision in decisions:
        for reason, subject in decision.reasons:
            assert subject in text(reason, "en", subject=subject) or subject == ""


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="calibration_slope"):
        term("calibration_slop")


class TestText:
    def test_numbers_read_as_everywhere(self) -> None:
        sources = [
            ("a.json", {"f": {"kind": "finding", "en": "{n} of {share:.1%}, {x}, {gone}", "zh": "{n}{share}{x}{gone}"}})
        ]
        found = glossary.merged(sources)["f"]
        shown = glossary._Template("en").vformat(
            found.en, (), {"n": 20_000, "share": 0.125, "x": -0.51234, "gone": None}
        )
        assert shown == "20,000 of 12.5%, −0.512, —"

    def test_a_missing_value_is_named(self) -> None:
        with pytest.raises(ValueError, match="subject"):
            text("stage_gate_failed", "en")

    def test_a_metric_among_the_values_is_put_in_words(self) -> None:
        assert "Brier 评分" in text("report_beats", "zh", versus="logistic", metric="brier")
        assert "AUROC" in text("report_beats", "en", versus="logistic", metric="auroc")

    def test_a_value_is_never_a_template(self) -> None:
        assert text("stage_gate_failed", "en", subject="{0.__class__}") == "A gate failed: {0.__class__}"

    def test_a_template_cannot_reach_into_its_values(self) -> None:
        with pytest.raises(ValueError, match="plain names"):
            filled("{x.__class__}", "en", {"x": 1})


class TestSources:
    good: ClassVar = {"kind": "word", "en": "a", "zh": "甲"}

    def test_an_id_has_one_meaning(self) -> None:
        with pytest.raises(DataError, match=r"'x' is defined in a\.json and in b\.json"):
            glossary.merged([("a.json", {"x": self.good}), ("b.json", {"x": self.good})])

    @pytest.mark.parametrize(
        ("entry", "says"),
        [
            ({"kind": "word", "en": "a"}, "missing \\['zh'\\]"),
            ({**good, "colour": "red"}, "unknown \\['colour'\\]"),
            ({**good, "kind": "verb"}, "kind 'verb'"),
            ({**good, "kind": "metric"}, "without a direction"),
            ({**good, "direction": "up"}, "direction 'up'"),
        ],
    )
    def test_a_malformed_entry_is_refused_by_name(self, entry: dict, says: str) -> None:
        with pytest.raises(DataError, match=says) as caught:
            glossary.merged([("mine.json", {"x": entry})])
        assert "mine.json" in str(caught.value) and "'x'" in str(caught.value)
