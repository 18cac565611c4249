"""The facts of a run: what the report and the release say of how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedside.evidence.estimate import Scalar
from bedside.models.task import task_from_json
from bedside.plan.actions.made import Made
from bedside.plan.file.plan import Plan
from bedside.plan.memo.provenance import versions

UNNAMED = "cohort"  # what a reader calls a cohort that has no name of its own
DIGESTS = ("read", "cohort", "split", "evaluated", "predictions", "pipeline")  # in the order of the work


def facts_of(plan: Plan, made: Made, threads: int) -> dict[str, Any]:
    """Counts and digests, no path, host or time."""
    cleaned, split, pooled = made.cleaned, made.split, made.pooled
    return {
        "plan": plan.digest,
        "name": plan.name,
        "cohort_name": cleaned["name"] if cleaned["name"] != UNNAMED else plan.name,
        "identity": cleaned["identity"],
        "rows_read": made.read["rows"],
        "rows": cleaned["rows"],
        "subjects": cleaned["subjects"],
        "test_rows": pooled["rows"],
        "test_subjects": pooled["subjects"],
        "task": split["task"],
        "split": {"kind": split["kind"], "folds": split["folds"], **plan.split.model_dump(mode="json")},
        "model": plan.model.name,
        "baselines": list(made.reference),
        "digests": {
            "read": made.read["cohort"],
            "cohort": cleaned["cohort"],
            "split": split["split"],
            "evaluated": pooled["cohort"],
            "predictions": pooled["predictions"]["content"],
            "pipeline": made.pipeline["pipeline"],
        },
        "threads": threads,
        "versions": versions(),
    }


def shown(facts: Mapping[str, Any]) -> list[tuple[str, Scalar | Sequence[Scalar]]]:
    """The facts of a run as (glossary id, value) in reading order."""
    task, split = facts["task"], facts["split"]
    targets = task_from_json(task).targets
    out: list[tuple[str, Scalar | Sequence[Scalar]]] = [
        ("cohort", facts["cohort_name"]),
        ("identity", facts["identity"]),
        ("rows_read", facts["rows_read"]),
        ("rows", facts["rows"]),
        ("subjects", facts["subjects"]),
        ("test_rows", facts["test_rows"]),
        ("test_subjects", facts["test_subjects"]),
        ("task", task["kind"]),
        ("target", targets[0] if len(targets) == 1 else targets),
    ]
    if task.get("positive") is not None:
        out.append(("positive_class", task["positive"]))
    out += [("risk", task["risk"]), ("split", split["kind"]), ("split_by", split["by"])]
    if split["kind"] == "k_fold":
        out.append(("folds", split["folds"]))
    out += [("seed", split["seed"]), ("model", facts["model"]), ("baselines", tuple(facts["baselines"]))]
    if "compressed" in facts:
        out += [("compressed_from", facts["compressed"]["release"]), ("compressed_by", facts["compressed"]["methods"])]
    out.append(("threads", facts["threads"]))
    out.append(("plan_digest", facts["plan"]))
    out += [(f"{name}_digest", facts["digests"][name]) for name in DIGESTS]
    out.append(("versions", tuple(f"{name} {version}" for name, version in facts["versions"].items())))
    return out
