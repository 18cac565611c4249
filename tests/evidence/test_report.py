"""The report page: self-contained, bilingual, safe with hostile values, and nothing left out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bedside.cohort.digest import canonical_json
from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding, join
from bedside.evidence.gates import Gate, decide_stage, judge
from bedside.evidence.glossary import Lang, terms
from bedside.evidence.report import ReportData, evidence_schema, headline, render, render_json
from bedside.evidence.report.numbers import interval_text, value_text
from bedside.evidence.report.schema import schema_text
from bedside.evidence.report.sections import sections

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e"
DIGEST = "0123456789abcdef" * 4


def estimate(metric: str, value: float, low: float, high: float, n: int = 400, **more: object) -> Estimate:
    attributes = {"level": 0.95, "n_rows": n, "n_subjects": n, "n_events": n // 4, "method": "delong", **more}
    return Estimate(metric, value, low, high, **attributes)  # type: ignore[arg-type]


def evidence() -> tuple[Evidence, ...]:
    roc = Figure(
        "roc",
        "line",
        {"false_positive_rate": [0.0, 0.2, 1.0], "true_positive_rate": [0.0, 0.8, 1.0]},
        {"x": "false_positive_rate", "y": "true_positive_rate"},
    )
    performance = Evidence(
        "performance",
        (
            estimate("auroc", 0.84, 0.80, 0.88),
            estimate("sensitivity", 0.86, 0.78, 0.92, 100, method="wilson"),
            estimate("specificity", 0.61, 0.56, 0.66, 300, method="wilson"),
            Estimate("ppv", None, n_rows=0, why_not="not_estimable"),
        ),
        (roc,),
    )
    calibration = Evidence("calibration", (estimate("calibration_slope", 0.91, 0.82, 1.0, method="sandwich"),))
    groups = Evidence(
        "subgroups",
        (
            estimate("auroc", 0.83, 0.75, 0.9, 200, group={"sex": "F"}, level=0.975),
            estimate("auroc", 0.85, 0.78, 0.92, 200, group={"sex": HOSTILE}, level=0.975),
        ),
    )
    baseline = Evidence(
        "baseline",
        (
            estimate("auroc", 0.03, 0.01, 0.05, versus="logistic", method="delong_paired"),
            estimate("brier", 0.004, 0.001, 0.007, versus=HOSTILE, method="delta"),
            estimate("auroc", 0.0, -0.02, 0.02, versus="age_only", method="delong_paired"),
        ),
    )
    odd = Evidence(
        HOSTILE,
        (estimate("metric_of_a_plugin", 3.14, 3.0, 3.3, method="its_method"),),
        (Figure("hologram", "hologram", {HOSTILE: [HOSTILE, None]}, {"x": HOSTILE}),),
        (Finding("finding_of_a_plugin", "caution", {"label": HOSTILE}), Finding("stage_no_gates", "info")),
        {"cohort": DIGEST},
    )
    return performance, calibration, groups, baseline, odd


def report(**more: object) -> ReportData:
    pieces = evidence()
    gates = [
        Gate("auroc", low=0.75),
        Gate("specificity", low=0.7),
        Gate("sensitivity", low=0.85),
        Gate("auroc", low=0.8, each_group=True),
        Gate("kappa", low=0.5),
    ]
    judgements = tuple(judge(gate, join("all", pieces)) for gate in gates)
    content: dict[str, object] = {
        "title": f"icu {HOSTILE}",
        "kind": "run",
        "facts": (
            ("cohort", HOSTILE),
            ("rows", 20_400),
            ("identity", "row"),
            ("steps", ("impute", HOSTILE)),
            ("cohort_digest", DIGEST),
        ),
        "evidence": pieces,
        "judgements": judgements,
        "stage": decide_stage(judgements, asked="assist", risk="high"),
        "overrides": ({"gate": "specificity>=0.7", "by": HOSTILE, "reason": "agreed", "key": "9f3a"},),
        "tripod": (
            {"item": "12e", "section": "methods", "en": "All measures", "zh": "全部指标", "status": "filled",
             "pointers": ["check:performance", "plan:checks"], "answer": HOSTILE},
            {"item": "17", "section": "methods", "en": "Ethics", "zh": "伦理", "status": "author",
             "pointers": [], "answer": None},
        ),
        "notes": ("stage_no_gates", HOSTILE),
        "watermark": "watermark_research",
    }  # fmt: skip
    return ReportData(**{**content, **more})  # type: ignore[arg-type]


class Page(HTMLParser):
    """The page as tags with attributes, its visible text, and whether it nests."""

    VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[Mapping[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def html() -> str:
    return render(report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


class TestSafety:
    def test_hostile_values_are_text(self, html: str, page: Page) -> None:
        assert page.open == [], "every element is closed"
        assert len(page.all("script")) == 1
        assert page.all("img") == []
        assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
        assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in page.words, "it is shown, as text"
        assert "\u202e" not in html

    def test_nothing_comes_from_outside(self, html: str, page: Page) -> None:
        for _, attributes in page.tags:
            for key in ("src", "href", "action", "poster", "data", "xlink:href", "formaction", "srcset", "style"):
                assert attributes.get(key, "#").startswith("#"), attributes
        assert not re.search(r"@import|url\s*\(|fetch\s*\(|XMLHttpRequest|import\s*\(|WebSocket|sendBeacon", html)
        assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "embed", "form", "base"})

    def test_the_policy_allows_only_the_page_s_own_script(self, page: Page) -> None:
        (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
        assert "img-src data:" in policy

    def test_ids_are_unique_and_links_lead_somewhere(self, page: Page) -> None:
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        targets = [attributes["href"][1:] for attributes in page.all("a")]
        assert sorted(set(targets) - set(ids)) == []
        for _, attributes in page.tags:
            for key in ("aria-labelledby", "aria-describedby"):
                assert attributes.get(key, ids[0]) in ids

    def test_the_same_report_is_the_same_bytes(self, html: str) -> None:
        assert render(report()) == html


class TestContent:
    @pytest.mark.parametrize("lang", ["en", "zh"])
    def test_every_estimate_is_there_with_value_interval_n_and_method(self, page: Page, lang: Lang) -> None:
        for piece in evidence():
            for item in piece.estimates:
                term, method = terms().get(item.metric), terms().get(item.method or "")
                shown = [term.name(lang) if term else item.metric]
                if item.value is not None:
                    shown += [value_text(item, term, lang), interval_text(item, term, lang).replace("\u00a0", " ")]
                    shown.append(method.name(lang) if method else str(item.method))
                assert [each for each in shown if each not in page.words] == []
        assert ("无法估计" if lang == "zh" else "It could not be estimated") in page.words

    def test_every_estimate_figure_and_finding_has_one_section(self) -> None:
        found = sections(evidence()).values()
        pieces = evidence()
        assert sum(len(section.estimates) for section in found) == sum(len(piece.estimates) for piece in pieces)
        assert sum(len(section.figures) for section in found) == sum(len(piece.figures) for piece in pieces)
        assert sum(len(section.findings) for section in found) == sum(len(piece.findings) for piece in pieces)

    def test_the_verdict_is_word_shape_and_interval(self, page: Page, html: str) -> None:
        assert "research, not assist" in page.words and "研究（未达到“辅助”）" in page.words
        for words in (
            "AUROC ≥ 0.75",
            "特异度 ≥ 0.70",
            "worst group: AUROC ≥ 0.80",
            "A gate failed: Specificity ≥ 0.70",
        ):
            assert words in page.words
        for verdict in ("pass", "fail", "not_enough"):
            assert f'class="shape {verdict}"' in html and f'class="verdict {verdict}"' in html
        assert "0.84 (0.80–0.88), n = 400" in page.words and "0.84（0.80–0.88），n = 400" in page.words
        assert html.count('class="gatebar"') == 4, "each gate with an estimate has its bar"
        deciding = judge(Gate("sensitivity", low=0.85), join("all", evidence())).n_deciding
        assert deciding is not None and f">{deciding}</td>" in html.replace("\n", "").replace(" ", "")
        assert "No check estimated this" in page.words

    def test_an_override_shows_in_red_with_name_and_reason(self, html: str, page: Page) -> None:
        assert '<section class="overrides"' in html
        assert re.search(r"\.overrides \{[^}]*color: var\(--fail\)", html)
        assert "Specificity ≥ 0.70: overridden by" in page.words and "because “agreed”" in page.words

    def test_it_says_plainly_who_wins(self, page: Page) -> None:
        assert "The model beats logistic on AUROC." in page.words
        assert "beats the model on Brier score: use" in page.words, "a higher Brier score is worse"
        assert "The model is not shown to beat age_only on AUROC" in page.words

    def test_what_has_no_term_is_shown_and_said(self, page: Page) -> None:
        listed = page.words[page.words.index("The glossary has no fitting text for these ids") :]
        for key in ("metric_of_a_plugin", "its_method", "finding_of_a_plugin", "hologram"):
            assert key in listed
        assert "This figure has no picture here" in page.words

    def test_facts_are_in_words_and_digests_under_provenance(self, page: Page) -> None:
        assert "unknown: each row stands for itself" in page.words and "未知：每条记录视为一名受试者" in page.words
        assert "20,400" in page.words
        assert DIGEST in page.words[page.words.index("bedside verify RELEASE") :]
        for piece in evidence():
            assert piece.digest in page.words

    def test_the_checklist_links_to_its_sections(self, html: str, page: Page) -> None:
        assert '<a href="#discrimination">' in html.split('<table class="tripod">')[1]
        assert "needs the author" in page.words and "需作者补充" in page.words

    def test_every_term_used_is_defined_in_both_languages(self, html: str) -> None:
        for key in ("auroc", "calibration_slope", "delong", "wilson", "roc", "assist"):
            block = html[html.index(f'<div id="term-{key}">') :]
            block = block[: block.index("</div>")]
            assert terms()[key].definition_zh[:12] in block and 'lang="zh-CN"' in block
            assert (terms()[key].source or "")[:12] in block

    def test_research_use_is_said_on_every_page(self, html: str, page: Page) -> None:
        assert "For research use. Not a cleared medical device." in page.words
        assert "仅供研究使用，非经批准的医疗器械。" in page.words
        assert '@bottom-center { content: "Bedside · For research use.' in html

    def test_pictures_have_a_name_a_description_and_a_table(self, page: Page, html: str) -> None:
        pictures = [each for each in page.all("svg") if each.get("role") == "img"]
        assert len(pictures) == 2  # the ROC curve, and a forest made from the groups
        figures = html.split("<figure ")[1:]
        assert len(figures) == 3, "with the one that cannot be drawn"
        assert all("<details><summary>" in each and "<tbody>" in each for each in figures)

    def test_languages_are_marked(self, page: Page) -> None:
        assert page.all("html")[0]["lang"] == "en"
        for _, attributes in page.tags:
            names = attributes.get("class", "").split()
            if "zh" in names or "en" in names:
                assert attributes["lang"] == ("zh-CN" if "zh" in names else "en")


@pytest.mark.parametrize("kind", ["run", "assess", "validate", "compare"])
def test_an_empty_report_of_each_kind_is_a_page(kind: str) -> None:
    page = Page(render(ReportData("nothing", kind)))  # type: ignore[arg-type]
    assert "No gate was declared: nothing was judged" in page.words


def test_a_refused_release_says_which_finding_refused_it() -> None:
    leak = Evidence("leakage", findings=(Finding("stage_no_gates", "stop"),))
    data = ReportData(
        "x", "run", evidence=(leak,), stage=decide_stage([], asked="assist", risk="high", broken=["stage_no_gates"])
    )
    words = Page(render(data)).words
    assert "refused" in words and "Integrity is broken: No gate was declared" in words


def test_evidence_older_than_a_term_s_text_still_makes_a_report() -> None:
    piece = Evidence("plan", findings=(Finding("stage_gate_failed", "caution", {"gate": "auroc>=0.8"}),))
    words = Page(render(ReportData("x", "run", evidence=(piece,)))).words
    assert "stage_gate_failed (gate = auroc>=0.8)" in words
    assert "stage_gate_failed" in words[words.index("The glossary has no fitting text") :]


class TestJson:
    def test_it_reads_back_as_it_was(self) -> None:
        text = render_json(report())
        again = ReportData.from_json(json.loads(text))
        assert render_json(again) == text
        assert render(again) == render(report())
        assert canonical_json(again.to_json()) == canonical_json(report().to_json())

    def test_another_format_is_refused(self) -> None:
        with pytest.raises(DataError, match="format 2"):
            ReportData.from_json({**report().to_json(), "format": 2})


class TestSchema:
    def test_the_published_file_is_the_one_the_code_makes(self) -> None:
        published = (ROOT / "docs" / "schemas" / "evidence.schema.json").read_text(encoding="utf-8")
        assert published == schema_text(), "write schema_text() to docs/schemas/evidence.schema.json"

    def test_evidence_is_valid(self) -> None:
        schema = evidence_schema()
        Draft202012Validator.check_schema(schema)
        for piece in evidence():
            Draft202012Validator(schema).validate(piece.to_json())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"metric": "auroc", "value": 0.8},  # a number without interval and n
            {"metric": "auroc", "value": None},  # nothing, without the reason
            {"metric": "auroc", "value": 0.8, "exact": True, "mood": "good"},
            {"value": 0.8, "exact": True},
        ],
    )
    def test_what_the_contract_refuses_the_schema_refuses(self, wrong: dict) -> None:
        whole = {"format": 1, "check": "x", "estimates": [wrong], "figures": [], "findings": [], "sources": {}}
        assert not Draft202012Validator(evidence_schema()).is_valid(whole)


def test_headline_numbers_for_a_terminal() -> None:
    assert headline(evidence())[:2] == [
        ("AUROC", "0.84 (0.80–0.88), n\u00a0=\u00a0400"),
        ("Sensitivity", "0.86 (0.78–0.92), n\u00a0=\u00a0100"),
    ]
    assert headline(evidence()[0], "zh")[1] == ("灵敏度", "0.86（0.78–0.92），n\u00a0=\u00a0100")
    at = Evidence("performance", (estimate("sensitivity", 0.86, 0.78, 0.92, at={"threshold": 0.3}),))
    assert headline(at)[0][0] == "Sensitivity (threshold 0.30)"
