"""The evaluation of a compressed network: the plan's own, with one action more between each fit and its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bedside.checks.rows import ORIGINAL
from bedside.cohort.digest import json_digest
from bedside.cohort.run import Run
from bedside.models.imaging.compress import Methods, compressed
from bedside.models.task import task_from_json
from bedside.plan.actions import FINAL, Bench, fit_seed
from bedside.plan.actions.splitting import final_fold, get_split
from bedside.plan.compress.latency import latency, timed
from bedside.plan.conduct.evaluation import Evaluated, Evaluation
from bedside.plan.file.defaults import baselines
from bedside.plan.file.plan import Candidate, Plan
from bedside.plan.memo.artifacts import put_evidence, put_folder
from bedside.plan.memo.scratch import resumable_folder


@dataclass(frozen=True)
class CompressedEvaluation(Evaluation):
    """As the plan's evaluation, but every fit of its model is compressed before it predicts. `released` is the fit that
    the release holds; the folds' other fits are the plan's, remembered or made again."""

    methods: Methods
    released: Mapping[str, Any]

    def carry_out(self) -> Evaluated:
        """Compress, predict and check whatever is not remembered, and measure; the original stands beside."""
        plan = self.work.plan
        original = self._predictions(plan.model, ORIGINAL)
        pooled = self._predictions(plan.model, "model")
        reference = {name: self._predictions(each, name) for name, each in baselines(plan).items()}
        reference[ORIGINAL] = original
        pipeline = self._fit(plan.model, "model", self._released_fold, pooled["pipelines"][0]["asked"])
        measured = self.work.anew("measure", (), lambda: self._measured(pipeline["pipeline"]))
        evidence = [measured["evidence"], *self._doubts(pooled, pipeline), *self._checks(pooled, reference, pipeline)]
        return Evaluated(pooled, reference, pipeline, tuple(evidence), ())

    @property
    def _released_fold(self) -> int:
        return FINAL if self.split["folds"] > 1 else 0

    def _fit(
        self, candidate: Candidate, name: str, fold: int, asked: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if candidate is not self.work.plan.model:
            return super()._fit(candidate, name, fold, asked)
        own = fold == self._released_fold
        original = dict(self.released) if own else super()._fit(candidate, "model", fold, asked)
        if name == ORIGINAL:
            return original
        bench, plan = self.work.bench, self.work.plan
        return self.work.remembered(
            "compress",
            "models",
            ("model",),
            {"methods": self.methods.to_json(), "seed": fit_seed(plan, fold), "fold": fold},
            {"pipeline": original["pipeline"], "cohort": self.cohort, "split": self.split["split"]},
            partial(compress, bench, plan, self.methods, self.cohort, self.split, original, fold),
            label="compress" if own else f"compress, fold {fold + 1}/{self.split['folds']}",
        )

    def _measured(self, pipeline: str) -> dict[str, Any]:
        """Times of one prediction of one image by the network of each form, in this process on one thread."""
        forms = [self.work.bench.pipeline(each).served().model for each in (self.released["pipeline"], pipeline)]
        shapes = [form.served.pixels for form in forms]
        images = [
            np.random.default_rng(0).normal(size=(1, len(each.mean), each.size, each.size)).astype(np.float32)
            for each in shapes
        ]
        first, second = timed(lambda: forms[0].logits(images[0]), lambda: forms[1].logits(images[1]))
        evidence = latency(first, second, self.work.plan.level).with_sources(pipeline=pipeline)
        return {"evidence": put_evidence(self.work.bench.store, evidence)}


def compress(
    bench: Bench,
    plan: Plan,
    methods: Methods,
    cohort_digest: str,
    split: Mapping[str, Any],
    original: Mapping[str, Any],
    fold: int,
) -> dict[str, Any]:
    """The action: one fit's network made smaller on the parts that it was fitted on."""
    cohort = bench.cohort(cohort_digest)
    task = task_from_json(split["task"])
    parts = final_fold(cohort, plan, task) if fold == FINAL else get_split(bench, split).folds[fold]
    work = json_digest({"methods": methods.to_json(), "pipeline": original["pipeline"], "split": split["split"]})
    with resumable_folder(bench.fitting, work) as checkpoints, bench.folder() as folder:
        run = Run(folder=checkpoints, seed=fit_seed(plan, fold), threads=bench.threads)
        rows = (cohort.take(each) for each in (parts.train, parts.search, parts.calibrate))
        made = compressed(bench.pipeline(original["pipeline"]), methods, *rows, run=run)
        made.save(folder)
        digest = put_folder(bench.store, folder)
    findings = [item.to_json() for item in made.findings()]
    kept = {"pipeline": digest, "findings": findings, "figures": [], "keeps_rows": made.keeps_rows}
    return {**kept, "asked": original["asked"]}
