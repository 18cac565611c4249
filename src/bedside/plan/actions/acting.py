"""The action that a plan names under `actions`, carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.run import Run
from bedside.cohort.store import Store
from bedside.models.task import task_from_json
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.protocol import Action
from bedside.plan.file.places import files_named
from bedside.plan.file.plan import Plan
from bedside.plan.memo.artifacts import get_predictions, lay_folder, put_evidence, put_folder


def act(
    bench: Bench,
    plan: Plan,
    spec: Any,
    base: Path,
    *,
    evaluated: str,
    predictions: Mapping[str, str],
    task: Mapping[str, Any],
    pipeline: str,
) -> dict[str, Any]:
    """The evidence of one named action and, where it left files, the digest of their folder."""
    named = {key: str((base / each).resolve()) for key, each in files_named("actions", spec).items()}
    name, parameters = plugins.parameters_of("actions", spec)
    action: Action = plugins.build("actions", {"name": name, **parameters, **named})
    with bench.folder() as scratch, bench.folder() as out:
        evidence = action(
            get_predictions(bench.store, predictions, task),
            bench.cohort(evaluated),
            task=task_from_json(task),
            model=bench.pipeline(pipeline),
            run=Run(folder=scratch, seed=plan.split.seed, threads=bench.threads),
            out=out,
            level=plan.level,
        )
        left = put_folder(bench.store, out) if any(path.is_file() for path in out.rglob("*")) else None
    sources = {"cohort": evaluated, "predictions": predictions["content"], "pipeline": pipeline}
    evidence = replace(evidence, check=name).with_sources(**sources)
    if left is None:
        return {"name": name, "evidence": put_evidence(bench.store, evidence)}
    return {"name": name, "evidence": put_evidence(bench.store, evidence.with_sources(files=left)), "folder": left}


def lay_actions(store: Store, outputs: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write out what the actions left, each in a folder of its own."""
    for number, each in enumerate(outputs, start=1):
        if "folder" in each:
            lay_folder(store, each["folder"], folder / place_of(number, each["name"]))


def place_of(number: int, name: str) -> str:
    """Where, in a run or a release, the files lie that the plan's action of this number (from 1) left."""
    return f"actions/{number}-{name}"
