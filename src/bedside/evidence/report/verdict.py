"""The verdict: what stage was reached, each gate with its interval, and what would decide the undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bedside.evidence.estimate import Estimate, Finding
from bedside.evidence.gates import STAGES, Gate, Judgement, Verdict
from bedside.evidence.glossary import Lang
from bedside.evidence.report.data import ReportData
from bedside.evidence.report.figures import gate as gate_bar
from bedside.evidence.report.numbers import bound_text, plain
from bedside.evidence.report.tables import at_both, estimate_both, group_both, joined, qualified, said
from bedside.evidence.report.words import Both, Words, clean


@dataclass(frozen=True)
class GateRow:
    """One gate: `verdict` is pass, fail or not_enough; `overridden` names who went on against it."""

    verdict: Verdict
    name: Both
    estimate: Both
    bar: Markup | None
    deciding: str
    reason: Both | None
    overridden: Both | None


@dataclass(frozen=True)
class Override:
    """A signed decision against a gate: what, up to which stage, by which key."""

    told: Both
    stage: Both | None
    key: str | None


@dataclass(frozen=True)
class Rung:
    """One stage of the ladder."""

    id: str
    name: Both
    reached: bool
    asked: bool


@dataclass(frozen=True)
class Banner:
    """The verdict in one look: `verdict` gives shape and colour, `title` the word."""

    verdict: Verdict
    title: Both
    asked: Both | None
    ladder: list[Rung]
    reasons: list[Both]
    gates: list[GateRow]


def banner(report: ReportData, words: Words) -> Banner:
    """The verdict of a report, with or without a stage to decide."""
    overridden = {str(item.get("gate")): str(item.get("by")) for item in report.overrides}
    gates = [gate_row(item, words, overridden.get(item.gate.id)) for item in report.judgements]
    if report.stage is None:
        verdict, title = _without_stage(report.judgements, words)
        return Banner(verdict, title, None, [], [], gates)
    reached, asked = report.stage.stage, report.stage.asked
    height = -1 if reached is None else STAGES.index(reached)
    ladder = [Rung(name, words.name(name), i <= height, name == asked) for i, name in enumerate(STAGES)]
    names = {item.gate.id: gate_name(item.gate, words) for item in report.judgements}
    findings = [finding for piece in report.evidence for finding in piece.findings]
    reasons = [_reason(key, subject, names, findings, words) for key, subject in report.stage.reasons]
    failed = reached is None or any(key == "stage_gate_failed" for key, _ in report.stage.reasons)
    verdict = "pass" if reached == asked else ("fail" if failed else "not_enough")
    title = words.name("refused" if reached is None else reached)
    if reached is not None and reached != asked:
        title = words.told("report_reached_lower", reached=title, asked=words.name(asked))
    return Banner(verdict, title, words.name(asked), ladder, reasons, gates)


def overrides(report: ReportData, words: Words) -> list[Override]:
    """Who went on against which gate, and why."""
    names = {item.gate.id: gate_name(item.gate, words) for item in report.judgements}
    out = []
    for item in report.overrides:
        gate = str(item.get("gate"))
        told = words.told(
            "report_override",
            gate=names.get(gate, Both.same(gate)),
            by=Both.same(item.get("by")),
            reason=Both.same(item.get("reason")),
        )
        stage, key = item.get("stage"), item.get("key")
        out.append(Override(told, None if stage is None else words.name(stage), None if key is None else clean(key)))
    return out


def gate_name(gate: Gate, words: Words) -> Both:
    """A gate in words: `AUROC ≥ 0.80`, `worst group: Sensitivity ≥ 0.85`, `Brier score − logistic ≤ 0`."""
    term = words.get(gate.metric)
    name = words.name(gate.metric)
    if gate.versus is not None:
        name = name + " − " + words.label(gate.versus)
    at = at_both(gate.at, words)
    if at.en:
        name = qualified(name, at)
    if gate.each_group:
        name = words.name("report_worst_group") + name

    def bounds(lang: Lang) -> str:
        low = None if gate.low is None else bound_text(gate.low, term, lang)
        high = None if gate.high is None else bound_text(gate.high, term, lang)
        if low is not None and high is not None:
            return f" {low}–{high}" if not low.startswith("−") else f" [{low}, {high}]"
        return f" ≥ {low}" if low is not None else f" ≤ {high}"

    return name + Both(bounds("en"), bounds("zh"))


def gate_row(item: Judgement, words: Words, overridden: str | None = None) -> GateRow:
    """A judgement as a row of the gates table."""
    reason = None if item.reason is None else words.sentence(item.reason, {})
    return GateRow(
        verdict=item.verdict,
        name=gate_name(item.gate, words),
        estimate=Both("", "") if item.estimate is None else _estimate(item.estimate, item.gate, words),
        bar=_bar(item),
        deciding="" if item.n_deciding is None else plain(item.n_deciding),
        reason=reason if item.estimate is None else None,
        overridden=None if overridden is None else words.told("report_overridden_by", by=Both.same(overridden)),
    )


def _estimate(item: Estimate, gate: Gate, words: Words) -> Both:
    """The estimate that decided, with its group, and the label where the gate is on all of them."""
    shown = estimate_both(item, words)
    label = (item.at or {}).get("label") if "label" not in (gate.at or {}) else None
    whose = [] if label is None else [Both.same(clean(label))]
    named = joined([each for each in (*whose, group_both(item.group, words)) if each.en])
    return Both(f"{named.en}: {shown.en}", f"{named.zh}：{shown.zh}") if named.en else shown


def _bar(item: Judgement) -> Markup | None:
    found = item.estimate
    if found is None or found.value is None:
        return None
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    return gate_bar.draw(item.gate, item.verdict, found.value, low, high)


def _reason(key: str, subject: str, gates: Mapping[str, Both], findings: Sequence[Finding], words: Words) -> Both:
    """A stage's reason; its subject is a gate, a finding (then its own words), a risk, or text."""
    told = [said(item, words) for item in findings if item.id == subject]
    if subject in gates:
        named = gates[subject]
    elif told:
        named = Both("; ".join(each.en for each in told), "；".join(each.zh for each in told))
    elif key == "stage_not_autonomous":
        named = words.name(f"risk_{subject}")
    else:
        named = words.maybe(subject)
    return words.told(key, subject=named) if words.get(key) is not None else words.sentence(key, {"subject": subject})


def _without_stage(judgements: Sequence[Judgement], words: Words) -> tuple[Verdict, Both]:
    """Without a stage the worst gate gives the colour, and the counts the words."""
    if not judgements:
        return "not_enough", words.name("report_nothing_judged")
    counts = {
        verdict: sum(item.verdict == verdict for item in judgements) for verdict in ("pass", "fail", "not_enough")
    }
    worst: Verdict = "fail" if counts["fail"] else "not_enough" if counts["not_enough"] else "pass"
    parts = [Both.same(n) + " " + words.name(verdict) for verdict, n in counts.items() if n]
    return worst, joined(parts)
