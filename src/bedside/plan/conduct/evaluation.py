"""Evaluation: the model and its baselines fitted in every fold, their pooled predictions, and what the checks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path as Folder
from typing import Any

from bedside.cohort import plugins
from bedside.evidence.estimate import Evidence, Figure, Finding
from bedside.plan import actions
from bedside.plan.actions import FINAL, Work
from bedside.plan.actions.grouping import smallest
from bedside.plan.file.defaults import baselines, checks_of
from bedside.plan.file.places import files_named, without_folders
from bedside.plan.file.plan import Candidate
from bedside.plan.file.yaml_lines import Path
from bedside.plan.memo.artifacts import put_evidence
from bedside.plan.memo.provenance import room_digest
from bedside.plan.memo.sources import source_digests, unchanged


@dataclass(frozen=True)
class Evaluated:
    """Pooled predictions of the model and of each baseline, the fit that a release holds, digests of the evidence, and
    the outputs of the actions that the plan names."""

    pooled: Mapping[str, Any]
    reference: Mapping[str, Mapping[str, Any]]
    pipeline: Mapping[str, Any]
    evidence: tuple[str, ...]
    actions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a plan, which lies in `base`, on a cleaned cohort (by digest) under its split."""

    work: Work
    cohort: str
    split: Mapping[str, Any]
    base: Folder

    def carry_out(self) -> Evaluated:
        """Fit, predict and check whatever is not remembered."""
        plan = self.work.plan
        pooled = self._predictions(plan.model, "model")
        reference = {name: self._predictions(each, name) for name, each in baselines(plan).items()}
        if self.split["folds"] == 1:
            pipeline = pooled["pipelines"][0]
        else:
            pipeline = self._fit(plan.model, "model", FINAL, pooled["pipelines"][0]["asked"])
        evidence = [*self._doubts(pooled, pipeline), *self._checks(pooled, reference, pipeline)]
        acted = tuple(self._act(i, spec, pooled, pipeline) for i, spec in enumerate(plan.actions))
        evidence += [each["evidence"] for each in acted]
        return Evaluated(pooled, reference, pipeline, tuple(evidence), acted)

    def _predictions(self, candidate: Candidate, name: str) -> dict[str, Any]:
        """Fit and predict in every fold, and pool.

        What the first fit made of a budget in minutes holds for all, so that the evidence is of one procedure.
        """
        bench, cohort, split = self.work.bench, self.cohort, self.split
        pieces: list[dict[str, Any]] = []
        pipelines: list[dict[str, Any]] = []
        for fold in range(split["folds"]):
            fitted = self._fit(candidate, name, fold, pipelines[0]["asked"] if pipelines else None)
            pipelines.append(fitted)
            pieces.append(
                self.work.remembered(
                    "predict",
                    "models",
                    self._path_of(name),
                    {"fold": fold},
                    {"cohort": cohort, "split": split["split"], "pipeline": fitted["pipeline"]},
                    partial(actions.predict, bench, cohort, split, fitted["pipeline"], fold),
                    label=f"predict {name}, fold {fold + 1}/{split['folds']}",
                )
            )
        pooled = self.work.remembered(
            "pool",
            "models",
            self._path_of(name),
            {"task": split["task"]},
            {"cohort": cohort, "split": split["split"], "pieces": [piece["predictions"]["bytes"] for piece in pieces]},
            lambda: actions.pool(bench, cohort, split, pieces),
            label=f"pool predictions of {name}",
        )
        return {**pooled, "pipelines": pipelines}

    def _fit(
        self, candidate: Candidate, name: str, fold: int, asked: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        plan = self.work.plan
        parameters = {
            "candidate": candidate.model_dump(mode="json"),
            "is_model": candidate is plan.model,
            "steps": plan.steps if candidate is plan.model else None,
            "calibrate": plan.calibrate,
            "threshold": plan.threshold_rule,
            "search": plan.search.model_dump(mode="json") if plan.search and candidate is plan.model else None,
            "seed": actions.fit_seed(plan, fold),
            "fold": fold,
            "asked": asked,
            "final": plan.split.model_dump(mode="json") if fold == FINAL else None,
        }
        place = "all rows" if fold == FINAL else f"fold {fold + 1}/{self.split['folds']}"
        return self.work.remembered(
            "fit",
            "models",
            self._path_of(name),
            parameters,
            {"cohort": self.cohort, "split": self.split["split"], "task": self.split["task"]},
            lambda: actions.fit(self.work.bench, plan, candidate, self.cohort, self.split, fold, asked),
            label=f"fit {name} ({candidate.name}), {place}",
        )

    def _doubts(self, pooled: Mapping[str, Any], pipeline: Mapping[str, Any]) -> list[str]:
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
        return [put_evidence(self.work.bench.store, doubts)]

    def _checks(
        self, pooled: Mapping[str, Any], reference: Mapping[str, Mapping[str, Any]], pipeline: Mapping[str, Any]
    ) -> list[str]:
        plan, split = self.work.plan, self.split
        others = {name: each["predictions"] for name, each in reference.items()}
        procedure = plan.model_dump(
            mode="json", include={"model", "steps", "calibrate", "threshold", "search", "split"}
        )
        # Bands and merged groups follow from all checks that make groups.
        groups = {"checks": plan.checks, "smallest": smallest(plan)}
        out = []
        for spec in checks_of(plan):
            name = plugins.parse_spec(spec)[0]
            done = self.work.remembered(
                "check",
                "checks",
                ("checks", plan.checks.index(spec)) if spec in plan.checks else ("checks",),
                {"check": spec, "level": plan.level, "procedure": procedure, "groups": groups},
                {
                    "cohort": pooled["cohort"],
                    "all": self.cohort,
                    "split": split["split"],
                    "predictions": pooled["predictions"],
                    "reference": others,
                    "pipeline": pipeline["pipeline"],
                    "task": split["task"],
                },
                partial(
                    actions.check,
                    self.work.bench,
                    plan,
                    spec,
                    evaluated=pooled["cohort"],
                    predictions=pooled["predictions"],
                    reference=others,
                    task=split["task"],
                    pipeline=pipeline["pipeline"],
                    cohort_digest=self.cohort,
                    kept=split,
                ),
                label=f"check {name}",
            )
            out.append(done["evidence"])
        return out

    def _act(self, i: int, spec: Any, pooled: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[str, Any]:
        """One action that the plan names."""
        name, parameters = plugins.parameters_of("actions", without_folders("actions", spec))
        path: Path = ("actions", i)
        with self.work.at(path):
            named = files_named("actions", spec)
            places = {key: (self.base / each).resolve() for key, each in named.items()}
            sources = {key: source_digests(place) for key, place in places.items()}
        done = partial(
            actions.act,
            self.work.bench,
            self.work.plan,
            spec,
            self.base,
            evaluated=pooled["cohort"],
            predictions=pooled["predictions"],
            task=self.split["task"],
            pipeline=pipeline["pipeline"],
        )
        return self.work.remembered(
            "act",
            "plan",
            path,
            {
                "spec": {"name": name, **parameters},
                "source": room_digest(plugins.catalogue("actions")[name].module),
                "seed": self.work.plan.split.seed,
                "level": self.work.plan.level,
            },
            {
                "cohort": pooled["cohort"],
                "predictions": pooled["predictions"],
                "pipeline": pipeline["pipeline"],
                "task": self.split["task"],
                "sources": sources,
            },
            lambda: unchanged(done, {places[key]: sources[key] for key in places}),
            label=f"action {name}",
        )

    def _path_of(self, name: str) -> Path:
        """Where the plan names a model: a baseline by its name, else the model."""
        plan = self.work.plan
        names = list(baselines(plan)) if plan.baseline else []
        return ("baseline", names.index(name)) if name in names else ("model",)
