"""The model card that travels with a release (Mitchell 2019), English and Chinese, filled from its own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.gates import Judgement
from bedside.evidence.glossary import Lang, term, text
from bedside.evidence.report.numbers import estimate_text
from bedside.evidence.report.words import clean
from bedside.models.task import task_from_json

SHOWN = ("performance", "calibration")
LONGEST = 200


def model_card(record: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]]) -> str:
    """Markdown in both languages, from the release's record and evidence."""
    evidence = [Evidence.from_json(piece) for piece in pieces]
    return "\n".join(line for lang in ("en", "zh") for line in _lines(lang, record, evidence))


def _lines(lang: Lang, record: Mapping[str, Any], evidence: Sequence[Evidence]) -> list[str]:
    facts, privacy = record["facts"], record["privacy"]
    lines = [f"# {text('card_title', lang)}: {record['name']}", "", f"> {text('card_notice', lang)}", ""]
    about = text(
        "card_for",
        lang,
        target=", ".join(_name(name) for name in task_from_json(facts["task"]).targets),
        model=facts["model"],
        risk=text(f"risk_{facts['task']['risk']}", lang),
        stage=text(record["stage"], lang),
        asked=text(record["asked"], lang),
    )
    lines += [f"## {text('card_what', lang)}", "", about, "", f"## {text('card_data', lang)}", ""]
    counts = {name: facts[name] for name in ("rows", "subjects", "test_rows", "test_subjects")}
    lines.append(text("card_counts", lang, **counts))
    if facts["split"]["kind"] == "k_fold":
        lines.append(text("card_refit", lang))
    if privacy["rows"]:
        fields = ", ".join(f"`{_name(name)}`" for name in privacy["fields"])
        lines.append(text("card_privacy", lang, rows=facts["test_rows"], fields=fields, k=privacy["k_anonymity"]))
    if privacy["model_keeps_rows"]:
        lines.append(text("keeps_rows", lang))
    lines += ["", f"## {text('card_results', lang)}", ""]
    for piece in evidence:
        for item in piece.estimates:
            label = (item.at or {}).get("label")
            if piece.check in SHOWN and item.group is None and not set(item.at or {}) - {"label"}:
                known = term(item.metric)
                name = known.name(lang) if label is None else f"{known.name(lang)} (`{_name(str(label))}`)"
                lines.append(f"- {name}: {estimate_text(item, known, lang)}")
    lines += ["", f"## {text('card_gates', lang)}", ""]
    judgements = [Judgement.from_json(each) for each in record["judgements"]]
    lines += [f"- `{each.gate.id}`: {text(each.verdict, lang)}" for each in judgements]
    if not judgements:
        lines.append(text("card_no_gates", lang))
    cautions = [item for piece in evidence for item in piece.findings if item.severity != "info"]
    if cautions:
        lines += ["", f"## {text('card_cautions', lang)}", ""]
        lines += [f"- {_said(item, lang)}" for item in cautions]
    return [*lines, ""]


def _name(value: str) -> str:
    """A name from the data, between backticks: in one line, without the backtick that would end it."""
    return " ".join(clean(value).split()).replace("`", "'")[:LONGEST]


def _said(item: Finding, lang: Lang) -> str:
    """A finding in words; of one label among several, after that label."""
    told = _line(text(item.id, lang, **item.values))
    return told if "label" not in item.values else f"`{_name(str(item.values['label']))}`: {told}"


def _line(value: str) -> str:
    """A sentence that may hold names from the data: in one line, without what Markdown would take for HTML."""
    return " ".join(clean(value).split()).replace("<", "&lt;")
