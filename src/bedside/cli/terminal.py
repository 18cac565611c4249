"""The terminal is a page too: one line an action while a plan runs, then tables, and a last line: what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from bedside.cli.harmless import harmless
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.gates import Judgement, StageDecision
from bedside.evidence.glossary import Term, term, text
from bedside.evidence.report.numbers import estimate_text
from bedside.models.catalogue import Entry
from bedside.plan.assess import Assessment
from bedside.plan.compare import Comparison
from bedside.plan.compress.compress import Compression
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.demo import Shown
from bedside.plan.release.external import Validation
from bedside.plan.release.opened import Opened
from bedside.plan.release.verify import Verification
from bedside.prepare.deidentify.outcome import Deidentification
from bedside.prepare.taken_in import TakenIn

MARKS = {"pass": ("✓", "green"), "fail": ("✕", "red"), "not_enough": ("?", "yellow")}
RESULTS = {"ok": ("✓", "green"), "fail": ("✕", "red"), "unknown": ("?", "yellow")}
HEADLINE = ("performance", "calibration")


class Screen:
    """Shows the actions of a run as they go: a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console if console is not None else Console(stderr=True, highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def action(self, label: str, state: str, seconds: float) -> None:
        """One event of a run."""
        if state == "start":
            if self.console.is_terminal:
                self._live = Live(Spinner("dots", label), console=self.console, transient=True)
                self._live.start()
            return
        self._stop()
        if state == "done":
            self.console.print(f"  {label} [dim]{seconds:.1f} s[/dim]")

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _out() -> Console:
    console = Console(highlight=False)
    # A file or a pipe has no width of its own; tables are not to be cut there.
    return console if console.is_terminal else Console(highlight=False, width=160)


def show_outcome(outcome: Outcome) -> None:
    """What a run came to, and what to do next."""
    console = _out()
    cached = sum(done.cached for _, done in outcome.actions)
    facts = outcome.facts
    console.print(
        f"\n[bold]{outcome.plan.name}[/bold]: {facts['rows']} rows, {facts['subjects']} subjects; "
        f"{len(outcome.actions)} actions, {cached} remembered"
    )
    console.print(estimates_table(outcome.evidence))
    if outcome.judgements:
        console.print(gates_table(outcome.judgements))
    _findings(console, outcome.evidence)
    _stage(console, outcome.decision)
    console.print(_text(f"report   {outcome.report}"), soft_wrap=True)
    if outcome.release is not None:
        console.print(_text(f"release  {outcome.release}"), soft_wrap=True)
        console.print(_text(f"next     bedside verify {outcome.release}"), soft_wrap=True)
    else:
        console.print("next     open the report: it says what stands in the way")


def show_demo(shown: Sequence[Shown]) -> None:
    """The demo's three answers side by side."""
    console = _out()
    table = Table("", *(each.title for each in shown), box=None, pad_edge=False)
    rows: list[tuple[str, Sequence[Text | str]]] = [
        ("rows, subjects", [f"{each.outcome.facts['rows']:,}, {each.outcome.facts['subjects']:,}" for each in shown]),
        ("AUROC", [_shown(each.outcome.evidence, "auroc") for each in shown]),
        ("calibration slope", [_shown(each.outcome.evidence, "calibration_slope") for each in shown]),
        ("gates", [_verdicts(each.outcome.judgements) for each in shown]),
        ("answer", [_answer(each.outcome.decision) for each in shown]),
        ("because", [_because(each.outcome) for each in shown]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    console.print()
    console.print(table)
    console.print()
    for each in shown:
        console.print(_text(f"report   {each.outcome.report}"), soft_wrap=True)
    console.print("next     open a report in a browser, or: bedside init YOUR.csv")


def _shown(evidence: Sequence[Evidence], metric: str) -> Text:
    found = _find(evidence, metric)
    return Text() if found is None else _number(found)


def _verdicts(judgements: Sequence[Judgement]) -> Text:
    lines = [Text.assemble((f"{MARKS[each.verdict][0]} ", MARKS[each.verdict][1]), each.gate.id) for each in judgements]
    return Text("\n").join(lines)


def _answer(decision: StageDecision) -> Text:
    if decision.stage is None:
        return Text("✕ refused", "bold red")
    reached = decision.stage == decision.asked
    return Text(f"{'✓' if reached else '?'} {decision.stage}", "bold green" if reached else "bold yellow")


def _because(outcome: Outcome) -> str:
    """The first reason, and the n that would decide where there is one."""
    decision = outcome.decision
    if not decision.reasons:
        return "every gate passes"
    said = [text(reason, "en", subject=subject) for reason, subject in decision.reasons]
    needed = [f"n ≈ {each.n_deciding:,} would decide" for each in outcome.judgements if each.n_deciding is not None]
    return "\n".join([*dict.fromkeys(said), *needed])


def show_assessment(made: Assessment, page: Path) -> None:
    """What an assessment found."""
    console = _out()
    console.print(estimates_table(made.evidence))
    if made.judgements:
        console.print(gates_table(made.judgements))
    _findings(console, made.evidence)
    console.print(_text(f"report   {page}"), soft_wrap=True)
    console.print("next     open it in a browser; it needs no network")


def show_taken_in(made: TakenIn, page: Path) -> None:
    """What came in, what was refused and why, and where it lies."""
    console = _out()
    console.print(_text(f"{made.cohort!r}"))
    for reason, count in made.reasons.items():
        console.print(Text.assemble(("refused: ", "yellow"), _text(f"{count:,} × {reason}")), soft_wrap=True)
    console.print(_text(f"cohort   {made.cohort.digest} in {page.parent / 'store'}"), soft_wrap=True)
    console.print(_text(f"report   {page}"), soft_wrap=True)
    console.print("next     open the report: what came in, field by field")


def show_deidentified(made: Deidentification, page: Path) -> None:
    """What was de-identified, what may be left, and where it lies."""
    console = _out()
    done = made.done
    console.print(
        f"{done.files:,} files of {len(done.patients):,} patients, {done.size / 2**20:,.1f} MiB; "
        f"{len(done.refused):,} refused, {done.passed_over:,} are no DICOM"
    )
    console.print(gates_table(made.judgements))
    _findings(console, (made.evidence,))
    console.print(_text(f"files    {page.parent / 'dicom'}"), soft_wrap=True)
    console.print(_text(f"report   {page}"), soft_wrap=True)
    if done.refused:
        console.print(
            "next     look at what was refused: the report says why, the workspace's quarantine has the files"
        )
    else:
        console.print("next     open the report, then look at the images themselves: pixels were not read")


def show_verification(verification: Verification) -> None:
    """The answers of a verification."""
    console = _out()
    for answer in verification.answers:
        mark, colour = RESULTS[answer.result]
        said = _text(f"{text(answer.id, 'en')}: {answer.detail}")
        console.print(Text.assemble((f"{mark} ", colour), said), soft_wrap=True)
    if not verification.ok:
        console.print("[red]not verified[/red]: do not use this release")
    elif any(answer.result == "unknown" for answer in verification.answers):
        console.print("[green]verified[/green], but for what is marked ?")
    else:
        console.print("[green]verified[/green]")


def estimates_table(evidence: Sequence[Evidence]) -> Table:
    """The headline estimates."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for piece in evidence:
        for item in piece.estimates:
            at = item.at or {}
            if piece.check in HEADLINE and item.group is None and item.versus is None and not set(at) - {"label"}:
                known = term(item.metric)
                table.add_row(_text(" ".join([known.name("en"), *map(str, at.values())])), _number(item))
    return table


def gates_table(judgements: Sequence[Judgement]) -> Table:
    """Every gate with its verdict, estimate and the n that would decide."""
    table = Table("", "gate", "verdict", "estimate", "would decide", box=None, pad_edge=False)
    for each in judgements:
        mark, colour = MARKS[each.verdict]
        known = Text() if each.estimate is None else _number(each.estimate)
        if each.estimate is not None and each.estimate.group:
            known += _text(" " + ", ".join(f"{k}={v}" for k, v in each.estimate.group.items()))
        if each.estimate is not None and "label" in (each.estimate.at or {}):
            known += _text(f" {(each.estimate.at or {})['label']}")
        needed = "" if each.n_deciding is None else f"n ≈ {each.n_deciding:,}"
        verdict = Text(text(each.verdict, "en"), colour)
        table.add_row(Text(mark, colour), _text(each.gate.id), verdict, known, needed)
    return table


def _number(item: Estimate) -> Text:
    return _text(estimate_text(item, term(item.metric), "en"))


def _text(value: object, style: str = "") -> Text:
    """What came from data, names and paths: never read as markup."""
    return Text(harmless(str(value)), style)


def _findings(console: Console, evidence: Sequence[Evidence]) -> None:
    for piece in evidence:
        for item in piece.findings:
            if item.severity != "info":
                colour = "red" if item.severity == "stop" else "yellow"
                said = text(item.id, "en", **item.values)
                if "label" in item.values:
                    said = f"{item.values['label']}: {said}"
                console.print(Text.assemble((f"{item.severity}: ", colour), _text(said)), soft_wrap=True)


def _stage(console: Console, decision: StageDecision) -> None:
    if decision.stage is None:
        console.print(Text("✕ refused: no release is written", "bold red"))
    elif decision.stage == decision.asked:
        console.print(Text(f"✓ stage reached: {decision.stage}", "bold green"))
    else:
        console.print(Text(f"? stage reached: {decision.stage} (asked: {decision.asked})", "bold yellow"))
    for reason, subject in decision.reasons:
        console.print(_text(f"    {text(reason, 'en', subject=subject)}"), soft_wrap=True)


def show_validation(made: Validation, page: Path) -> None:
    """A release judged on local data, and what each update would change."""
    console = _out()
    console.print(estimates_table(made.evidence))
    if made.judgements:
        console.print(gates_table(made.judgements))
    _findings(console, made.evidence)
    if made.updated:
        table = Table("metric", "as released", *made.updated, box=None, pad_edge=False)
        for metric in ("auroc", "brier", "calibration_in_the_large", "calibration_slope"):
            cells = [_find(made.evidence, metric), *(_find(each, metric, name) for name, each in made.updated.items())]
            table.add_row(term(metric).name("en"), *("" if item is None else _number(item) for item in cells))
        console.print(table)
    console.print(_text(f"report   {page}"), soft_wrap=True)


def _find(evidence: Sequence[Evidence], metric: str, update: str | None = None) -> Estimate | None:
    wanted = None if update is None else {"update": update}
    for piece in evidence:
        found = piece.find(metric, at=wanted)
        if found is not None:
            return found
    return None


def show_comparison(made: Comparison) -> None:
    """Two runs or releases side by side."""
    console = _out()
    a, b = _text(made.a.name), _text(made.b.name)
    table = Table("metric", Column(a), Column(b), box=None, pad_edge=False)
    for one, other in made.shared:
        at = one.at or {}
        if not set(at) - {"label"}:
            table.add_row(
                _text(" ".join([term(one.metric).name("en"), *map(str, at.values())])), _number(one), _number(other)
            )
    console.print(table)
    if made.paired:
        console.print(Text.assemble("paired differences, ", a, " − ", b, ", on the same rows:"))
        for item in made.paired:
            name = " ".join([term(item.metric).name("en"), *map(str, (item.at or {}).values())])
            console.print(Text.assemble("  ", _text(name), ": ", _number(item)), soft_wrap=True)
    else:
        console.print("[yellow]not judged on the same rows[/yellow]: the numbers stand beside each other, unpaired")
    verdicts = {each.gate.id: [text(each.verdict, "en"), "–"] for each in made.a.judgements}
    for each in made.b.judgements:
        verdicts.setdefault(each.gate.id, ["–", "–"])[1] = text(each.verdict, "en")
    gates = Table("gate", Column(a), Column(b), box=None, pad_edge=False)
    for gate, pair in verdicts.items():
        gates.add_row(_text(gate), *pair)
    gates.add_row("stage", str(made.a.stage), str(made.b.stage))
    console.print(gates)
    for line in made.plan_changes:
        console.print(Text(line, "red" if line.startswith("-") else "green" if line.startswith("+") else "dim"))


def show_compression(made: Compression) -> None:
    """What compressing a release came to, and what to do next."""
    console = _out()
    console.print(gates_table(made.judgements))
    outcome = made.outcome
    console.print(_text(f"report   {outcome.report}"), soft_wrap=True)
    if outcome.release is not None:
        console.print(_text(f"✓ kept at stage {outcome.decision.stage}", "bold green"))
        console.print(_text(f"release  {outcome.release}"), soft_wrap=True)
        console.print(_text(f"next     bedside verify {outcome.release}"), soft_wrap=True)
        return
    console.print(_text("✕ refused: no release is written", "bold red"))
    for each in made.judgements:
        if each.verdict != "pass":
            console.print(_text(f"    {each.gate.id}: {text(each.verdict, 'en')}"), soft_wrap=True)
    console.print("next     keep serving the original, or compress it another way")


def show_answers(release: Opened, answers: pl.DataFrame) -> None:
    """The answers of a release, and what they are not."""
    console = _out()
    table = Table(*(Column(_text(name)) for name in answers.columns), box=None, pad_edge=False)
    for row in answers.head(50).iter_rows():
        table.add_row(*(_text(f"{value:.4f}" if isinstance(value, float) else value) for value in row))
    console.print(table)
    if answers.height > 50:
        console.print(f"… {answers.height - 50} more rows; --out FILE.csv writes them all")
    console.print(
        f"[dim]release {release.digest[:12]}, stage {release.stage}, signer {release.signer.name}; "
        "research use, not a cleared medical device[/dim]",
        soft_wrap=True,
    )


def show_models(entries: Sequence[Entry]) -> None:
    """The catalogue."""
    console = _out()
    table = Table("model", "tasks", "modality", "extra", "explains itself", "what it is", box=None, pad_edge=False)
    for each in entries:
        extra = "" if each.extra is None else each.extra + ("" if each.installed else " (not installed)")
        table.add_row(
            each.name, ", ".join(each.tasks), each.modality, extra, "yes" if each.interpretable else "", each.summary_en
        )
    console.print(table)


def show_terms(found: Sequence[Term]) -> None:
    """Terms of the glossary."""
    console = _out()
    if not found:
        console.print("no such term; `bedside glossary` lists them all")
    for each in found:
        console.print(f"[bold]{each.id}[/bold]  {each.en} · {each.zh}  [dim]{each.kind}[/dim]", soft_wrap=True)
        if len(found) <= 5 and each.definition_en:
            console.print(f"    {each.definition_en}\n    {each.definition_zh}", soft_wrap=True)
            if each.source:
                console.print(f"    [dim]{each.source}[/dim]", soft_wrap=True)


def show_cohort(cohort: Cohort) -> None:
    """The fields of a cohort."""
    console = _out()
    console.print(_text(repr(cohort)))
    console.print(f"[dim]digest {cohort.digest}[/dim]", soft_wrap=True)
    table = Table("field", "kind", "roles", "unit", "missing", "values", box=None, pad_edge=False)
    for item in cohort.schema.fields:
        column = cohort[item.name]
        known = column.drop_nulls()
        if item.kind == "number" and len(known):
            low, middle, high = (known.quantile(q) for q in (0.0, 0.5, 1.0))
            looks = f"{low:g} … {middle:g} … {high:g}"
        elif item.kind == "time" and len(known):
            looks = f"{known.min()} … {known.max()}"
        else:
            counts = known.value_counts(sort=True).head(4)
            looks = ", ".join(f"{value} ({n})" for value, n in counts.iter_rows() if n >= 10)
        missing = f"{column.null_count() / max(1, len(column)):.1%}"
        unit = _text("" if item.unit is None else item.unit)
        table.add_row(_text(item.name), item.kind, ", ".join(item.roles), unit, missing, _text(looks))
    console.print(table)
