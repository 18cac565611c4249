"""From evidence to the report of a run: the facts in order, the stage, TRIPOD+AI, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.cohort.digest import canonical_json
from bedside.evidence.estimate import Evidence, Scalar
from bedside.evidence.gates import Judgement, StageDecision
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.report.data import ReportData
from bedside.plan.plan_file import Plan

if TYPE_CHECKING:
    from bedside.plan.opened import Opened
    from bedside.plan.run import Conductor

DIGESTS = ("read", "cohort", "split", "evaluated", "predictions", "pipeline")  # in the order of the work


def report_action(
    conductor: Conductor, facts: Mapping[str, Any], digests: Sequence[str], judged: Mapping[str, Any]
) -> dict[str, Any]:
    """The memoised rendering of a run's report: {"html": digest, "data": digest}."""
    from bedside.plan.artifacts import get_evidence

    store = conductor.bench.store

    def work() -> dict[str, Any]:
        from bedside.evidence.report import render

        pieces = [get_evidence(store, digest) for digest in digests]
        data = run_report(conductor.plan, facts, pieces, judged)
        return {"html": store.put(render(data).encode()), "data": store.put(canonical_json(data.to_json()))}

    return conductor.memoised(
        "report",
        "plan",
        (),
        {"plan": conductor.plan.digest},
        {"facts": dict(facts), "evidence": list(digests), "judged": dict(judged)},
        work,
    )


def run_report(
    plan: Plan, facts: Mapping[str, Any], evidence: Sequence[Evidence], judged: Mapping[str, Any]
) -> ReportData:
    """The report of a run."""
    from bedside.checks.tripod import tripod

    return ReportData(
        title=plan.name,
        kind="run",
        facts=tuple(shown(facts)),
        evidence=tuple(evidence),
        judgements=tuple(Judgement.from_json(each) for each in judged["judgements"]),
        stage=StageDecision(judged["stage"], judged["asked"], tuple((a, b) for a, b in judged["reasons"])),
        tripod=tripod({**facts, **plan.to_json()}, evidence),
    )


def overrides_of(release: Opened, trusted: TrustedKeys) -> list[dict[str, str | None]]:
    """Every override of a release, by whom and why, for the report: they show for ever."""
    from bedside.plan.approve import approvals

    return [
        {"gate": gate, "by": each.signer.name, "reason": reason, "key": each.signer.key_id, "stage": each.stage}
        for each in approvals(release, trusted)
        for gate, reason in each.overrides.items()
    ]


def render_again(folder: Path, out: Path | None, trusted: TrustedKeys) -> Path:
    """Render a run's or release's report from its stored evidence, with later overrides; returns where it lies."""
    import json

    from bedside.cohort.atomic import atomic_write
    from bedside.evidence.report import render
    from bedside.plan.compare import side
    from bedside.plan.erase import mark_of
    from bedside.plan.plan_file import parse_plan

    made = side(folder, trusted)
    data = run_report(parse_plan(made.plan, "plan.yaml")[0], made.facts, made.evidence, made.judged)
    if made.release is not None:
        data = replace(data, overrides=overrides_of(made.release, trusted))
    if mark_of(folder).exists():
        data = replace(data, notes=("erased_since",))
    target = out if out is not None else Path(f"{made.name}.html")
    if target.suffix == ".json":
        atomic_write(target, json.dumps(data.to_json(), ensure_ascii=False, indent=1).encode())
    else:
        atomic_write(target, render(data).encode())
    return target


def shown(facts: Mapping[str, Any]) -> list[tuple[str, Scalar | Sequence[Scalar]]]:
    """The facts of a run as (glossary id, value) in reading order."""
    task, split = facts["task"], facts["split"]
    out: list[tuple[str, Scalar | Sequence[Scalar]]] = [
        ("cohort", facts["cohort_name"]),
        ("identity", facts["identity"]),
        ("rows_read", facts["rows_read"]),
        ("rows", facts["rows"]),
        ("subjects", facts["subjects"]),
        ("test_rows", facts["test_rows"]),
        ("test_subjects", facts["test_subjects"]),
        ("task", task["kind"]),
        ("target", task["target"]),
    ]
    if task.get("positive") is not None:
        out.append(("positive_class", task["positive"]))
    out += [("risk", task["risk"]), ("split", split["kind"]), ("split_by", split["by"])]
    if split["kind"] == "k_fold":
        out.append(("folds", split["folds"]))
    out += [("seed", split["seed"]), ("model", facts["model"]), ("baselines", tuple(facts["baselines"]))]
    out.append(("threads", facts["threads"]))
    out.append(("plan_digest", facts["plan"]))
    out += [(f"{name}_digest", facts["digests"][name]) for name in DIGESTS]
    out.append(("versions", tuple(f"{name} {version}" for name, version in facts["versions"].items())))
    return out
