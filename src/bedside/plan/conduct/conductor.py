"""`bedside run`: carry a plan through as remembered actions, lay the evidence before the gates, write the Release."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.quarantine import Quarantine
from bedside.cohort.workspace import Workspace
from bedside.evidence.gates import Judgement, Stage, StageDecision
from bedside.plan import actions
from bedside.plan.actions import Bench, Made, Progress, Work
from bedside.plan.conduct.evaluation import Evaluation
from bedside.plan.conduct.facts import facts_of
from bedside.plan.conduct.outcome import Outcome, write_run
from bedside.plan.conduct.reporting import report_action
from bedside.plan.file.plan import Plan
from bedside.plan.file.refuse import refuse_bad_plan, refuse_unknown_groups
from bedside.plan.file.yaml_lines import Document
from bedside.plan.memo.artifacts import get_evidence
from bedside.plan.memo.memo import Memo
from bedside.plan.memo.scratch import sweep
from bedside.plan.memo.sources import source_digests, unchanged
from bedside.plan.release.publish import publish


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
        self.base = base
        self.threads = threads if threads is not None else max(1, os.cpu_count() or 1)
        self.work = Work(
            plan,
            document if document is not None else Document(plan.to_json(), "the plan"),
            workspace,
            Bench(workspace.store, workspace.cache / "scratch", self.threads, Quarantine(workspace.quarantine)),
            Memo(workspace.memo_url, workspace.lock, self.threads),
            progress if progress is not None else (lambda _label, _state, _seconds: None),
        )

    def carry_out(self) -> Outcome:
        """Run every action that is not remembered; returns the outcome."""
        plan, bench, document = self.plan, self.work.bench, self.work.document
        remembered = self.work.remembered
        task = plan.task.model_dump(mode="json")
        sweep(bench.scratch)
        self._refuse_bad_plan()
        read = self._read()
        cleaned = remembered(
            "clean",
            "prepare",
            ("clean",),
            {"clean": plan.clean, "task": task},
            {"cohort": read["cohort"]},
            lambda: actions.clean(bench, plan, read["cohort"]),
        )
        cohort = cleaned["cohort"]
        refuse_unknown_groups(plan, cleaned["fields"], document)
        described = remembered(
            "describe", "prepare", ("cohort",), {}, {"cohort": cohort}, partial(actions.describe, bench, cohort)
        )
        split = remembered(
            "split",
            "models",
            ("split",),
            {"split": plan.split.model_dump(mode="json"), "task": task},
            {"cohort": cohort},
            lambda: actions.split(bench, plan, cohort),
        )
        found = self._evaluation(cohort, split).carry_out()
        evidence = (cleaned["evidence"], described["evidence"], split["evidence"], *found.evidence)
        judged = self._judged(evidence, keeps_rows=found.pipeline["keeps_rows"])
        made = Made(
            read, cleaned, split, found.pooled, found.reference, found.pipeline, evidence, found.actions, judged
        )
        return self._outcome(made)

    def _refuse_bad_plan(self) -> None:
        """What can be known to be wrong before any data is read."""
        refuse_bad_plan(self.plan, self.work.document, in_memory=self.given is not None)

    def _evaluation(self, cohort: str, split: dict[str, Any]) -> Evaluation:
        """What is fitted, predicted and checked."""
        return Evaluation(self.work, cohort, split, self.base)

    def _read(self) -> dict[str, Any]:
        bench, plan = self.work.bench, self.plan
        if self.given is not None:
            from bedside.intake.tables import Tables

            # Later rows come as a table of the same fields.
            alike = {"name": Tables.name, **Tables().like(self.given.schema)}
            return actions.kept_as_read(bench, self.given, alike)
        location: Path | str = plan.cohort.path
        sources: dict[str, str] = {}
        if "://" not in plan.cohort.path:
            location = (self.base / plan.cohort.path).resolve()
            with self.work.at(("cohort", "path")):
                sources = source_digests(location)
        if not sources:
            # A database answers differently tomorrow, so reading it is never remembered; what follows is, by content.
            return self.work.anew("read", ("cohort",), lambda: actions.read(bench, plan, location, self.base))
        parameters = {**plan.cohort.model_dump(mode="json"), "path": Path(plan.cohort.path).name}
        extra = {}
        named = actions.reader_paths(plan, self.base)
        for key, path in named.items():
            with self.work.at(("cohort", key)):
                extra[key] = source_digests(path)
        return self.work.remembered(
            "read",
            "intake",
            ("cohort",),
            parameters,
            {"sources": sources, "extra": extra},
            lambda: unchanged(
                lambda: actions.read(bench, plan, location, self.base),
                {Path(location): sources, **{path: extra[key] for key, path in named.items()}},
            ),
        )

    def _judged(self, digests: tuple[str, ...], *, keeps_rows: bool) -> dict[str, Any]:
        plan, store = self.plan, self.work.bench.store
        asked: Stage = plan.release.stage if plan.release is not None else "assist"

        def work() -> dict[str, Any]:
            pieces = [get_evidence(store, digest) for digest in digests]
            decision, judgements = actions.decide(plan, pieces, asked, keeps_rows=keeps_rows)
            return {
                "stage": decision.stage,
                "asked": decision.asked,
                "reasons": [list(each) for each in decision.reasons],
                "judgements": [each.to_json() for each in judgements],
            }

        return self.work.remembered(
            "gate",
            "plan",
            ("gates",),
            {"gates": [gate.to_json() for gate in plan.declared_gates()], "asked": asked, "risk": plan.task.risk},
            {"evidence": list(digests), "keeps_rows": keeps_rows},
            work,
        )

    def _outcome(self, made: Made) -> Outcome:
        """The run laid out for people, and released where its stage and the plan say so."""
        plan, store, judged = self.plan, self.work.bench.store, made.judged
        facts = self._facts(made)
        reported = report_action(self.work, made, facts)
        run = json_digest({"plan": plan.digest, "data": facts["digests"]["read"], "threads": self.threads})
        folder = self.work.workspace.runs / f"{plan.name}-{run[:12]}"
        report = write_run(store, plan, folder, facts, made, reported)
        release = None
        if judged["stage"] is not None and plan.release is not None and self._releases(made):
            release = publish(self.work, made, facts, reported["html"])
        return Outcome(
            plan,
            evidence=tuple(get_evidence(store, digest) for digest in made.evidence),
            judgements=tuple(Judgement.from_json(each) for each in judged["judgements"]),
            decision=StageDecision(judged["stage"], judged["asked"], tuple((a, b) for a, b in judged["reasons"])),
            facts=facts,
            report=report,
            release=release,
            actions=tuple(self.work.done),
        )

    def _facts(self, made: Made) -> dict[str, Any]:
        """What the report and the release say of how it was made."""
        return facts_of(self.plan, made, self.threads)

    def _releases(self, made: Made) -> bool:
        """Whether a run that reached a stage is released."""
        return True
