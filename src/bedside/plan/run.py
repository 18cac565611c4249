"""`bedside run`: carry a plan through as memoised actions, lay the evidence before the gates, write the Release."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError, LeakError, PlanError
from bedside.evidence.estimate import Evidence, Figure, Finding
from bedside.evidence.gates import Judgement, Stage, StageDecision
from bedside.plan import actions
from bedside.plan.actions import FINAL, Bench
from bedside.plan.artifacts import get_evidence, put_evidence
from bedside.plan.decide import decide
from bedside.plan.memo import Done, Memo
from bedside.plan.outcome import Outcome, write_run
from bedside.plan.plan_file import Candidate, Plan
from bedside.plan.release import Parts, publish
from bedside.plan.reporting import report_action
from bedside.plan.scratch import sweep
from bedside.plan.sources import source_digests
from bedside.plan.validate import baselines, checks_of, refuse_bad_plan, refuse_unknown_groups
from bedside.plan.yaml_lines import Document

UNNAMED = "cohort"  # what a reader calls a cohort that has no name of its own

Progress = Callable[[str, str, float], None]
"""Called with (label, "start" | "done" | "cached", seconds) for each action."""


class Conductor:
    """One run of one plan in one workspace."""

    def __init__(
        self,
        plan: Plan,
        workspace: Workspace,
        *,
        base: Path,
        document: Document | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        given: Cohort | None = None,
    ) -> None:
        self.plan = plan
        self.given = given
        self.workspace = workspace
        self.base = base
        self.document = document if document is not None else Document(plan.to_json(), "the plan")
        self.threads = threads if threads is not None else max(1, os.cpu_count() or 1)
        self.progress: Progress = progress if progress is not None else (lambda _label, _state, _seconds: None)
        self.memo = Memo(workspace.memo_url, workspace.lock, self.threads)
        self.bench = Bench(workspace.store, workspace.cache / "scratch", self.threads)
        self.done: list[tuple[str, Done]] = []

    def carry_out(self) -> Outcome:
        """Run every action that is not remembered; returns the outcome."""
        plan = self.plan
        sweep(self.bench.scratch)
        refuse_bad_plan(plan, self.document, in_memory=self.given is not None)
        read = self._read()
        cleaned = self.memoised(
            "clean",
            "prepare",
            ("clean",),
            {"clean": plan.clean, "task": plan.task.model_dump(mode="json")},
            {"cohort": read["cohort"]},
            lambda: actions.clean(self.bench, plan, read["cohort"]),
        )
        cohort = cleaned["cohort"]
        refuse_unknown_groups(plan, cleaned["fields"], self.document)
        described = self.memoised(
            "describe", "prepare", ("cohort",), {}, {"cohort": cohort}, partial(actions.describe, self.bench, cohort)
        )
        spec = plan.split.model_dump(mode="json")
        kept = self.memoised(
            "split",
            "models",
            ("split",),
            {"split": spec, "task": plan.task.model_dump(mode="json")},
            {"cohort": cohort},
            lambda: actions.split(self.bench, plan, cohort),
        )
        pooled = self._predictions(plan.model, "model", cohort, kept)
        reference = {name: self._predictions(each, name, cohort, kept) for name, each in baselines(plan).items()}
        if kept["folds"] == 1:
            pipeline = pooled["pipelines"][0]
        else:
            pipeline = self._fit(plan.model, "model", cohort, kept, FINAL)
        checked = self._checks(cohort, kept, pooled, reference, pipeline)
        digests = [cleaned["evidence"], described["evidence"], kept["evidence"]]
        digests += [*self._doubts(pooled, pipeline), *checked]
        judged = self._gates(digests, plan, pipeline)
        facts = self._facts(read, cleaned, kept, pooled, pipeline, reference)
        return self._finish(facts, digests, judged, read, cleaned, kept, pooled, reference, pipeline)

    def _read(self) -> dict[str, Any]:
        if self.given is not None:
            from bedside.intake.tables import Tables

            # Later rows come as a table of the same fields.
            alike = {"name": Tables.name, **Tables().like(self.given.schema)}
            return actions.kept_as_read(self.bench, self.given, alike)
        spec = self.plan.cohort
        location: Path | str = spec.path
        sources: dict[str, str] = {}
        if "://" not in spec.path:
            location = (self.base / spec.path).resolve()
            with self._at(("cohort", "path")):
                sources = source_digests(location)
        if not sources:
            # A database answers differently tomorrow, so reading it is never remembered; what follows is, by content.
            return self._anew("read", ("cohort",), lambda: actions.read(self.bench, self.plan, location, self.base))
        parameters = {**spec.model_dump(mode="json"), "path": Path(spec.path).name}
        extra = {}
        for key, path in actions.reader_paths(self.plan, self.base).items():
            with self._at(("cohort", key)):
                extra[key] = source_digests(path)
        return self.memoised(
            "read",
            "intake",
            ("cohort",),
            parameters,
            {"sources": sources, "extra": extra},
            lambda: actions.read(self.bench, self.plan, location, self.base),
        )

    def _predictions(self, candidate: Candidate, name: str, cohort: str, kept: dict[str, Any]) -> dict[str, Any]:
        """Fit and predict in every fold, and pool."""
        pieces, pipelines = [], []
        for fold in range(kept["folds"]):
            fitted = self._fit(candidate, name, cohort, kept, fold)
            pipelines.append(fitted)
            pieces.append(
                self.memoised(
                    "predict",
                    "models",
                    self._path_of(name),
                    {"fold": fold},
                    {"cohort": cohort, "split": kept["split"], "pipeline": fitted["pipeline"]},
                    partial(actions.predict, self.bench, cohort, kept, fitted["pipeline"], fold),
                    label=f"predict {name}, fold {fold + 1}/{kept['folds']}",
                )
            )
        pooled = self.memoised(
            "pool",
            "models",
            self._path_of(name),
            {"task": kept["task"]},
            {"cohort": cohort, "split": kept["split"], "pieces": [piece["predictions"]["bytes"] for piece in pieces]},
            lambda: actions.pool(self.bench, cohort, kept, pieces),
            label=f"pool predictions of {name}",
        )
        return {**pooled, "pipelines": pipelines}

    def _fit(self, candidate: Candidate, name: str, cohort: str, kept: dict[str, Any], fold: int) -> dict[str, Any]:
        plan = self.plan
        parameters = {
            "candidate": candidate.model_dump(mode="json"),
            "is_model": candidate is plan.model,
            "steps": plan.steps if candidate is plan.model else None,
            "calibrate": plan.calibrate,
            "threshold": plan.threshold_rule,
            "search": plan.search.model_dump(mode="json") if plan.search and candidate is plan.model else None,
            "seed": actions.fit_seed(plan, fold),
            "fold": fold,
            "final": plan.split.model_dump(mode="json") if fold == FINAL else None,
        }
        place = "all rows" if fold == FINAL else f"fold {fold + 1}/{kept['folds']}"
        return self.memoised(
            "fit",
            "models",
            self._path_of(name),
            parameters,
            {"cohort": cohort, "split": kept["split"], "task": kept["task"]},
            lambda: actions.fit(self.bench, plan, candidate, cohort, kept, fold),
            label=f"fit {name} ({candidate.name}), {place}",
        )

    def _doubts(self, pooled: dict[str, Any], pipeline: dict[str, Any]) -> list[str]:
        """The evidence of what was doubtful while fitting the released model and the folds' models, if anything was."""
        found: dict[tuple[Any, ...], Finding] = {}
        for fitted in (pipeline, *pooled["pipelines"]):
            for item in fitted["findings"]:
                found.setdefault((item["id"], item["values"].get("field")), Finding.from_json(item))
        figures = tuple(Figure.from_json(each) for each in pipeline["figures"])
        if not found and not figures:
            return []
        doubts = Evidence("fit", figures=figures, findings=tuple(found.values()))
        doubts = doubts.with_sources(pipeline=pipeline["pipeline"])
        return [put_evidence(self.bench.store, doubts)]

    def _checks(
        self,
        cohort: str,
        kept: dict[str, Any],
        pooled: dict[str, Any],
        reference: dict[str, dict[str, Any]],
        pipeline: dict[str, Any],
    ) -> list[str]:
        plan = self.plan
        others = {name: each["predictions"] for name, each in reference.items()}
        procedure = plan.model_dump(
            mode="json", include={"model", "steps", "calibrate", "threshold", "search", "split"}
        )
        out = []
        for spec in checks_of(plan):
            name = plugins.parse_spec(spec)[0]
            done = self.memoised(
                "check",
                "checks",
                self._check_path(spec),
                {"check": spec, "level": plan.level, "procedure": procedure},
                {
                    "cohort": pooled["cohort"],
                    "all": cohort,
                    "split": kept["split"],
                    "predictions": pooled["predictions"],
                    "reference": others,
                    "pipeline": pipeline["pipeline"],
                    "task": kept["task"],
                },
                partial(
                    actions.check,
                    self.bench,
                    plan,
                    spec,
                    evaluated=pooled["cohort"],
                    predictions=pooled["predictions"],
                    reference=others,
                    task=kept["task"],
                    pipeline=pipeline["pipeline"],
                    cohort_digest=cohort,
                    kept=kept,
                ),
                label=f"check {name}",
            )
            out.append(done["evidence"])
        return out

    def _gates(self, digests: list[str], plan: Plan, pipeline: dict[str, Any]) -> dict[str, Any]:
        asked: Stage = plan.release.stage if plan.release is not None else "assist"

        def work() -> dict[str, Any]:
            pieces = [get_evidence(self.bench.store, digest) for digest in digests]
            decision, judgements = decide(plan, pieces, asked, keeps_rows=pipeline["keeps_rows"])
            return {
                "stage": decision.stage,
                "asked": decision.asked,
                "reasons": [list(each) for each in decision.reasons],
                "judgements": [each.to_json() for each in judgements],
            }

        return self.memoised(
            "gate",
            "plan",
            ("gates",),
            {"gates": [gate.to_json() for gate in plan.declared_gates()], "asked": asked, "risk": plan.task.risk},
            {"evidence": digests, "keeps_rows": pipeline["keeps_rows"]},
            work,
        )

    def _facts(
        self,
        read: dict[str, Any],
        cleaned: dict[str, Any],
        kept: dict[str, Any],
        pooled: dict[str, Any],
        pipeline: dict[str, Any],
        reference: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """What the report and the release say of how it was made: counts and digests, no path, host or time."""
        from bedside.plan.provenance import versions

        return {
            "plan": self.plan.digest,
            "name": self.plan.name,
            "cohort_name": cleaned["name"] if cleaned["name"] != UNNAMED else self.plan.name,
            "identity": cleaned["identity"],
            "rows_read": read["rows"],
            "rows": cleaned["rows"],
            "subjects": cleaned["subjects"],
            "test_rows": pooled["rows"],
            "test_subjects": pooled["subjects"],
            "task": kept["task"],
            "split": {"kind": kept["kind"], "folds": kept["folds"], **self.plan.split.model_dump(mode="json")},
            "model": self.plan.model.name,
            "baselines": list(reference),
            "digests": {
                "read": read["cohort"],
                "cohort": cleaned["cohort"],
                "split": kept["split"],
                "evaluated": pooled["cohort"],
                "predictions": pooled["predictions"]["content"],
                "pipeline": pipeline["pipeline"],
            },
            "threads": self.threads,
            "versions": versions(),
        }

    def _finish(
        self,
        facts: dict[str, Any],
        digests: list[str],
        judged: dict[str, Any],
        read: dict[str, Any],
        cleaned: dict[str, Any],
        kept: dict[str, Any],
        pooled: dict[str, Any],
        reference: dict[str, dict[str, Any]],
        pipeline: dict[str, Any],
    ) -> Outcome:
        judgements = tuple(Judgement.from_json(each) for each in judged["judgements"])
        decision = StageDecision(judged["stage"], judged["asked"], tuple((a, b) for a, b in judged["reasons"]))
        reported = report_action(self, facts, digests, judged)
        run = json_digest({"plan": self.plan.digest, "data": facts["digests"]["read"], "threads": self.threads})
        folder = self.workspace.runs / f"{self.plan.name}-{run[:12]}"
        report = write_run(self.bench.store, self.plan, folder, facts, digests, judged, reported)
        release = None
        if decision.stage is not None and self.plan.release is not None:
            parts = Parts(
                facts=facts,
                evidence=digests,
                judged=judged,
                alike=read["alike"],
                replay=cleaned["replay"],
                raw=facts["digests"]["read"],
                kept=kept,
                pooled=pooled,
                reference=reference,
                pipeline=pipeline["pipeline"],
                report=reported["html"],
            )
            release = publish(self, parts)
        evidence = tuple(get_evidence(self.bench.store, digest) for digest in digests)
        return Outcome(self.plan, evidence, judgements, decision, facts, report, release, tuple(self.done))

    def memoised(
        self,
        action: str,
        layer: str,
        path: tuple[str | int, ...],
        parameters: Mapping[str, Any],
        inputs: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        label: str = "",
    ) -> dict[str, Any]:
        """The output of one action, remembered or worked out; an error names the plan's line of `path`."""
        name = label or action

        def loudly() -> dict[str, Any]:
            self.progress(name, "start", 0.0)
            return work()

        with self._at(path):
            done = self.memo.do(action, layer, parameters, inputs, loudly, name)
        self.done.append((name, done))
        self.progress(name, "cached" if done.cached else "done", done.seconds)
        return done.output

    def _anew(self, name: str, path: tuple[str | int, ...], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The output of an action that is never remembered."""
        self.progress(name, "start", 0.0)
        started = time.monotonic()
        with self._at(path):
            done = Done(work(), False, time.monotonic() - started)
        self.done.append((name, done))
        self.progress(name, "done", done.seconds)
        return done.output

    @contextmanager
    def _at(self, path: tuple[str | int, ...]) -> Iterator[None]:
        """Say the plan's line when what a part of it asks for cannot be done."""
        try:
            yield
        except (DataError, PlanError, LeakError) as error:
            if self.document.line(path) is None or ", line " in error.what:
                raise
            path = self.document_path(path, error)
            placed = self.document.error(path, error.what, error.way_out)
            raise type(error)(placed.what, placed.way_out) from error

    def document_path(self, path: tuple[str | int, ...], error: BedsideError) -> tuple[str | int, ...]:
        """Where the plan says what the error quotes: under `path`, else under task or cohort; else `path` itself."""
        for root in (path, ("task",), ("cohort",)):
            for place in sorted(self.document.lines, key=len, reverse=True):
                value = self.document.at(place)
                if place[: len(root)] == root and isinstance(value, str) and f"'{value}'" in error.what:
                    return place
        return path

    def _path_of(self, name: str) -> tuple[str | int, ...]:
        if name == "model":
            return ("model",)
        return ("baseline", list(baselines(self.plan)).index(name)) if self.plan.baseline else ("model",)

    def _check_path(self, spec: Any) -> tuple[str | int, ...]:
        return ("checks", self.plan.checks.index(spec)) if spec in self.plan.checks else ("checks",)
