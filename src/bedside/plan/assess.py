"""Assess: the whole evidence report on predictions made elsewhere. No training, no plan; one table in, one page out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort import plugins
from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.gates import Judgement, StageDecision, decide_stage, judge
from bedside.evidence.policy import expand
from bedside.evidence.report.data import ReportData
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, Multilabel, Regress, Task
from bedside.plan.actions import doubts_about_identity

Truth = Mapping[str, str]
PERIODS = ("1y", "1q", "1mo")


@dataclass(frozen=True)
class Assessment:
    """Evidence on somebody else's predictions, the gates judged on it (none unless given), and the page."""

    evidence: tuple[Evidence, ...]
    judgements: tuple[Judgement, ...]
    decision: StageDecision | None
    data: ReportData

    @property
    def exit_code(self) -> int:
        """0, or 3 when a gate was given and did not pass."""
        return 0 if all(each.verdict == "pass" for each in self.judgements) else 3

    def write(self, folder: Path) -> Path:
        """Write report.html and report.json; returns the page's path."""
        import json

        from bedside.evidence.report import render

        make_folder(folder)
        text = json.dumps(self.data.to_json(), ensure_ascii=False, indent=1)
        atomic_write(folder / "report.json", text.encode())
        atomic_write(folder / "report.html", render(self.data).encode())
        return folder / "report.html"


def assess(
    table: Cohort,
    *,
    truth: str | Sequence[str],
    score: str | Mapping[str, str],
    positive: str | None = None,
    groups: Sequence[str] = (),
    time: str | None = None,
    threshold: float = 0.5,
    regress: bool = False,
    gates: Mapping[str, Any] | None = None,
    checks: Sequence[Any] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Assessment:
    """Assess predictions that stand in a table beside the truth.

    `score` names the column with the probability of `positive` (or the predicted value with `regress`), or maps every
    class to its column. `truth` may be the columns of several labels, some unknown; `score` then maps each to its
    column. `groups` are fields to look into; `time` adds a group for each period. Raises DataError when
    a column is missing, a probability leaves [0, 1], or a value is missing.
    """
    from bedside.checks import default_checks, run_checks

    if not 0 < threshold < 1:
        raise PlanError(f"threshold {threshold:g} is not between 0 and 1", "it is a probability of the event")
    by = list(groups)
    targets = [truth] if isinstance(truth, str) else list(truth)
    for name in [*targets, *by, *([time] if time is not None else [])]:
        table.schema[name]  # raises with the fields there are
    scores = {score} if isinstance(score, str) else set(score.values())
    table, dropped = _with_truth(table, targets, scores)
    if time is not None:
        period = "period" if "period" not in table.schema else f"period of {time}"
        table = _with_period(table, time, period)
        by.append(period)
    task, predictions = _predictions(table, truth, score, positive, regress, threshold)
    cohort = _described(table, targets, by)
    if checks is None:
        checks = [spec for spec in default_checks(task) if not _reads_inputs(spec)]
        if by:
            checks = [each for each in checks if plugins.parse_spec(each)[0] != "subgroups"] + [
                {"subgroups": {"by": by}}
            ]
    pieces = run_checks(checks, predictions, cohort, task=task, seed=seed, level=level)
    findings = doubts_about_identity(cohort)
    if dropped:
        findings.append(Finding("rows_without_target", "caution", {"rows": dropped, "target": ", ".join(targets)}))
    if findings:
        pieces = [Evidence("assess", findings=tuple(findings)), *pieces]
    evidence = tuple(each.with_sources(cohort=cohort.digest, predictions=predictions.digest) for each in pieces)
    judgements, decision = _judged(gates, evidence)
    data = ReportData(
        title=table.schema.name,
        kind="assess",
        facts=tuple(_facts(cohort, task, score, by, threshold, predictions)),
        evidence=evidence,
        judgements=judgements,
        stage=decision,
    )
    return Assessment(evidence, judgements, decision, data)


def _judged(
    gates: Mapping[str, Any] | None, evidence: Sequence[Evidence]
) -> tuple[tuple[Judgement, ...], StageDecision | None]:
    from bedside.evidence.estimate import join

    if not gates:
        return (), None
    everything = join("all", evidence)
    judgements = tuple(judge(gate, everything) for gate in expand(gates))
    return judgements, decide_stage(judgements, asked="assist", risk="high")


def _reads_inputs(spec: Any) -> bool:
    check = plugins.load("checks", plugins.parse_spec(spec)[0])
    return bool(check.needs != "predictions" or check.looks_at == "inputs")


def _with_truth(table: Cohort, targets: Sequence[str], scores: set[str]) -> tuple[Cohort, int]:
    there = np.column_stack([table[name].is_not_null().to_numpy() for name in targets])
    for name, column in zip(targets, there.T, strict=True):
        if not column.any():
            raise DataError(f"column '{name}' is empty", "name the column that holds the outcome with --truth")
    known = np.flatnonzero(there.any(axis=1))
    dropped = len(table) - int(known.size)
    table = table.take(known) if dropped else table
    for name in sorted(scores):
        empty = table[name].null_count()
        if empty:
            raise DataError(
                f"column '{name}' has {empty} empty values",
                "a model that gives no answer must be judged on that: fill or drop them",
            )
        if table.schema[name].kind != "number":
            raise DataError(
                f"column '{name}' is a {table.schema[name].kind}, not a number", "name the score with --score"
            )
    return table, dropped


def _with_period(table: Cohort, time: str, name: str) -> Cohort:
    """A further category: years, or quarters or months where the years are fewer than three."""
    column = table[time]
    if table.schema[time].kind != "time":
        raise DataError(f"column '{time}' is a {table.schema[time].kind}, not a time", "write ISO 8601 dates")
    for every in PERIODS:
        start = column.dt.truncate(every)
        if start.n_unique() >= 3:
            break
    text = start.dt.strftime("%Y" if every == "1y" else "%Y-%m")
    return table.with_columns({name: text}, [Field(name, "category", ("sensitive",))])


def _predictions(
    table: Cohort,
    truth: str | Sequence[str],
    score: str | Mapping[str, str],
    positive: str | None,
    regress: bool,
    threshold: float,
) -> tuple[Task, Predictions]:
    if not isinstance(truth, str):
        return _of_labels(table, truth, score, positive, regress, threshold)
    if regress:
        if not isinstance(score, str):
            raise DataError("a regression has one predicted value", "give one column with --score")
        task: Task = Regress.of(table, truth)
        return task, Predictions(task, pl.DataFrame({"row_id": table["row_id"], "value": table[score]}))
    made = Classify.of(table, truth, positive)
    if isinstance(score, str):
        if not made.binary:
            raise DataError(
                f"'{truth}' holds {len(made.classes)} classes",
                "give a column for each: --score class=column,class=column",
            )
        return made, _of_event(table, score, made, threshold)
    return made, _called(table, _of_classes(table, truth, score, made), made, threshold)


def _of_event(table: Cohort, score: str, task: Classify, threshold: float) -> Predictions:
    """Predictions of two classes from the column with the event's probability."""
    event = table[score].to_numpy()
    if event.min() < 0 or event.max() > 1:
        raise DataError(
            f"column '{score}' runs from {event.min():.3g} to {event.max():.3g}",
            "a probability lies in [0, 1]; transform it first",
        )
    return _called(table, np.column_stack([1 - event, event]), task, threshold)


def _called(table: Cohort, p: NDArray[np.float64], task: Classify, threshold: float) -> Predictions:
    predictions = Predictions.of_probabilities(task, table["row_id"], p)
    if not task.binary:
        return predictions
    call = np.where(p[:, 1] >= threshold, task.classes[1], task.classes[0])
    return predictions.with_columns(
        call=pl.Series(call, dtype=pl.String), threshold=pl.Series(np.full(len(p), threshold))
    )


def _of_labels(
    table: Cohort,
    targets: Sequence[str],
    score: str | Mapping[str, str],
    positive: str | None,
    regress: bool,
    threshold: float,
) -> tuple[Task, Predictions]:
    if regress or isinstance(score, str) or set(score) != set(targets):
        told = ",".join(f"{name}=column" for name in targets)
        raise DataError(f"the labels {', '.join(targets)} need a probability each", f"give --score {told}")
    task = Multilabel.of(table, targets, positive)
    pieces = [_of_event(table, score[label.target], label, threshold) for label in task.labels]
    return task, Predictions.of_labels(task, pieces)


def _of_classes(table: Cohort, truth: str, score: Mapping[str, str], task: Classify) -> NDArray[np.float64]:
    """Probabilities of each class from its column, shape (rows, classes)."""
    if set(score) != set(task.classes):
        unseen, lacking = sorted(set(score) - set(task.classes)), sorted(set(task.classes) - set(score))
        what = f"no row of '{truth}' is of the class {unseen}" if unseen else f"no score for the classes {lacking}"
        raise DataError(what, "give a column for each class that occurs: --score class=column,class=column")
    p = np.column_stack([table[score[label]].to_numpy() for label in task.classes])
    if p.min() < 0 or p.max() > 1 or np.abs(p.sum(axis=1) - 1).max() > 1e-6:
        raise DataError(
            f"the columns {', '.join(score.values())} are no probabilities: each row lies in [0, 1] and sums to 1",
            "transform them first",
        )
    return p


def _described(table: Cohort, targets: Sequence[str], by: Sequence[str]) -> Cohort:
    keep = [name for name in table.schema.names if name in {*targets, *by}]
    small = table.keeping(keep)
    fields = [
        replace(item, roles=("target",) if item.name in targets else ("sensitive",)) for item in small.schema.fields
    ]
    return small.with_fields(fields)


def _facts(
    cohort: Cohort,
    task: Task,
    score: str | Mapping[str, str],
    by: Sequence[str],
    threshold: float,
    predictions: Predictions,
) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = [
        ("cohort", cohort.schema.name),
        ("identity", cohort.schema.identity),
        ("rows", len(cohort)),
        ("subjects", cohort.n_subjects),
        ("task", task.kind),
        ("target", task.targets[0] if len(task.targets) == 1 else task.targets),
    ]
    if isinstance(task, Classify) and task.binary:
        out.append(("positive_class", task.classes[-1]))
    if isinstance(task, Multilabel) or (isinstance(task, Classify) and task.binary):
        out.append(("threshold", threshold))
    out.append(("score", score if isinstance(score, str) else tuple(f"{k}={v}" for k, v in score.items())))
    if by:
        out.append(("groups", tuple(by)))
    return [*out, ("cohort_digest", cohort.digest), ("predictions_digest", predictions.digest)]


def read_table(path: Path, *, subject: str | None, missing: Sequence[str] | None = None) -> Cohort:
    """The table of predictions, its types inferred."""
    from bedside.intake.tables import Tables

    parameters: dict[str, Any] = {"subject": subject}
    if missing is not None:
        parameters["missing"] = list(missing)
    cohort = Tables(**parameters).read(path)
    return replace(cohort, schema=replace(cohort.schema, name=path.stem))


def parse_gates(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Gates as one writes them on a command line: `auroc>=0.8`, `brier<=0.1`; two of one metric are its two sides."""
    gates: dict[str, dict[str, float]] = {}
    for text in texts:
        found = re.fullmatch(r"\s*([a-z0-9_]+)\s*(>=|<=)\s*(-?\d*\.?\d+)\s*", text)
        if found is None:
            raise PlanError(f"cannot read the gate '{text}'", "write metric>=number or metric<=number")
        metric, side = found[1], "at_least" if found[2] == ">=" else "at_most"
        if side in gates.setdefault(metric, {}):
            raise PlanError(f"'{metric}' is given {side.replace('_', ' ')} twice", "keep one")
        gates[metric][side] = float(found[3])
    return gates


def parse_scores(text: str) -> str | dict[str, str]:
    """A column, or `class=column,class=column` as a mapping of classes."""
    if "=" not in text:
        return text
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs) or len({pair[0] for pair in pairs}) < len(pairs):
        raise PlanError(f"cannot read the scores '{text}'", "write class=column,class=column, each class once")
    return {label.strip(): column.strip() for label, column in pairs}
