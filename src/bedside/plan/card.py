"""The model card that travels with a release (Mitchell 2019), English and Chinese, filled from its own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import Judgement
from bedside.evidence.glossary import term, text
from bedside.evidence.report.numbers import estimate_text

_WORDS = {
    "en": {
        "title": "Model card",
        "what": "What it is",
        "for": "Predicts `{target}` with `{model}`; risk of the task: {risk}. Stage the evidence supports: **{stage}** (asked: {asked}).",
        "data": "Data",
        "counts": "{rows} rows of {subjects} subjects; judged on {test_rows} rows of {test_subjects} subjects the fitted models had not seen.",
        "results": "Results",
        "gates": "Gates",
        "none": "No gate was declared.",
        "cautions": "Cautions",
        "notice": "For research use. This is not a cleared medical device. Judge it again on local data before use (`bedside validate`).",
        "refit": "The evidence is of the procedure (out of fold); the model here was refit on all rows but a fresh tune part.",
        "privacy": "Rows in this release: {rows}; fields {fields}; smallest group sharing them: {k} subjects.",
    },
    "zh": {
        "title": "模型卡",
        "what": "模型说明",
        "for": "用 `{model}` 预测 `{target}`；任务风险：{risk}。证据所支持的阶段：**{stage}**（申请：{asked}）。",
        "data": "数据",
        "counts": "共 {rows} 行、{subjects} 名受试者；在拟合时未见过的 {test_rows} 行、{test_subjects} 名受试者上评价。",
        "results": "结果",
        "gates": "门槛",
        "none": "未声明任何门槛。",
        "cautions": "注意事项",
        "notice": "仅供研究使用，不是经批准的医疗器械。使用前请在本地数据上重新评价（`bedside validate`）。",
        "refit": "证据针对整个流程（折外预测）；此处的模型用除新调优部分外的全部数据重新拟合。",
        "privacy": "本发布包含的行：{rows}；字段 {fields}；取值相同的最小组：{k} 名受试者。",
    },
}


def model_card(record: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]]) -> str:
    """Markdown in both languages, from the release's record and evidence."""
    evidence = [Evidence.from_json(piece) for piece in pieces]
    return "\n".join(_in(lang, record, evidence) for lang in ("en", "zh"))


def _in(lang: str, record: Mapping[str, Any], evidence: Sequence[Evidence]) -> str:
    say, facts, privacy = _WORDS[lang], record["facts"], record["privacy"]
    lines = [f"# {say['title']}: {record['name']}", "", f"> {say['notice']}", "", f"## {say['what']}", ""]
    lines.append(
        say["for"].format(
            target=facts["task"]["target"],
            model=facts["model"],
            risk=text(f"risk_{facts['task']['risk']}", lang),
            stage=text(f"stage_{record['stage']}", lang),
            asked=text(f"stage_{record['asked']}", lang),
        )
    )
    lines += ["", f"## {say['data']}", "", say["counts"].format(**facts)]
    if facts["split"]["kind"] == "k_fold":
        lines.append(say["refit"])
    fields = ", ".join(f"`{name}`" for name in privacy["fields"]) or "–"
    lines.append(
        say["privacy"].format(
            rows=facts["test_rows"] if privacy["rows"] else 0, fields=fields, k=privacy["k_anonymity"]
        )
    )
    lines += ["", f"## {say['results']}", ""]
    for piece in evidence:
        for item in piece.estimates:
            if piece.check in ("performance", "calibration") and item.group is None and item.at is None:
                lines.append(f"- {getattr(term(item.metric), lang)}: {estimate_text(item, term(item.metric), lang)}")
    lines += ["", f"## {say['gates']}", ""]
    judgements = [Judgement.from_json(each) for each in record["judgements"]]
    lines += [f"- `{each.gate.id}`: {text(f'verdict_{each.verdict}', lang)}" for each in judgements] or [say["none"]]
    cautions = [item for piece in evidence for item in piece.findings if item.severity != "info"]
    if cautions:
        lines += ["", f"## {say['cautions']}", ""]
        lines += [f"- {text(item.id, lang, **item.values)}" for item in cautions]
    return "\n".join([*lines, ""])
