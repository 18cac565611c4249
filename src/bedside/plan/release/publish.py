"""Release: what passes its stage, by digest and signed. Only releases are served."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bedside.cohort.atomic import atomic_write, make_folder, sync_folder
from bedside.cohort.digest import canonical_json
from bedside.evidence.keys import SigningKey, load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.evidence.signing import RELEASE_PREDICATE, STATEMENT_PAYLOAD, Statement, sign
from bedside.models.task import task_from_json
from bedside.plan.actions.acting import lay_actions
from bedside.plan.actions.grouping import group_fields, nameable, smallest
from bedside.plan.actions.made import Made
from bedside.plan.actions.work import Work
from bedside.plan.file.defaults import checks_of
from bedside.plan.memo.artifacts import folder_files, get_predictions, lay_folder, put_folder
from bedside.plan.release import contents
from bedside.plan.release.card import model_card
from bedside.plan.release.golden import golden_rows
from bedside.plan.release.layout import LOCAL_KEY, SERVING, SIGNATURE
from bedside.plan.release.one_row import input_schema, one_row
from bedside.plan.release.rows import k_anonymity, keyed_rows, row_key, row_secret
from bedside.plan.release.seen import sketch, sketched
from bedside.plan.release.serving import write_serving


def publish(work: Work, made: Made, facts: Mapping[str, Any], report: str) -> Path:
    """Write, sign and enter a release in the ledger; the same run and key give the same release, written once."""
    plan, workspace, store = work.plan, work.workspace, work.bench.store
    with workspace.lock("releases"):
        secret = row_secret(workspace.keys)

    def filled_folder() -> dict[str, Any]:
        with work.bench.folder() as folder:
            fill(work, made, facts, report, folder, secret)
            return {"folder": put_folder(store, folder)}

    inputs = {**asdict(made), "facts": facts, "report": report, "rows": hashlib.sha256(secret).hexdigest()}
    filled = work.remembered(
        "release", "plan", ("release",), {"plan": plan.without_places().to_json()}, inputs, filled_folder
    )
    digest = contents.release_digest(folder_files(store, filled["folder"]))
    name = plan.release.name if plan.release is not None else plan.name
    target = workspace.releases / f"{name}-{digest[:12]}"
    key = load_or_create_key(workspace.keys, LOCAL_KEY)
    with workspace.lock("releases"):
        if not target.exists():
            make_folder(workspace.releases)
            with work.bench.folder() as scratch:
                seal(lay_folder(store, filled["folder"], scratch), name, key)
                scratch.replace(target)
                sync_folder(workspace.releases)
        enter(Ledger(workspace.ledger_url), digest, name, made.judged, key)
    return target


def enter(ledger: Ledger, digest: str, name: str, judged: Mapping[str, Any], key: SigningKey) -> None:
    """Enter a release in the ledger, once."""
    body = {"release": digest, "name": name, "stage": judged["stage"], "asked": judged["asked"]}
    if not any(entry.kind == "release" and dict(entry.body) == body for entry in ledger.entries()):
        ledger.append("release", body, key)


def seal(folder: Path, name: str, key: SigningKey) -> str:
    """Sign every file of a folder; returns the release's digest."""
    files = contents.file_digests(folder)
    digest = contents.release_digest(files)
    statement = Statement(files, RELEASE_PREDICATE, {"format": 1, "name": name, "release": digest})
    atomic_write(folder / SIGNATURE, sign(STATEMENT_PAYLOAD, statement.to_bytes(), key).to_bytes())
    return digest


def fill(work: Work, made: Made, facts: Mapping[str, Any], report: str, folder: Path, secret: bytes) -> None:
    """Write every file of a release but its signature."""
    from bedside.prepare.clean import replay

    plan, bench, judged = work.plan, work.bench, made.judged
    task = task_from_json(made.split["task"])
    pipeline = bench.pipeline(made.pipeline["pipeline"])
    lay_folder(bench.store, made.pipeline["pipeline"], folder / "model")
    pieces = [json.loads(bench.store.get(digest)) for digest in made.evidence]
    evaluated = bench.cohort(made.pooled["cohort"])
    with_rows = plan.release is None or plan.release.rows

    golden = golden_rows(bench.cohort(made.read["cohort"]), plan.split.seed, without=task.targets)
    cleaned = replay(golden, list(made.cleaned["replay"]))
    predicted = pipeline.predict(cleaned)
    write_serving(folder / SERVING, pipeline, cleaned, predicted)
    make_folder(folder / "golden")
    contents.write_cohort(folder / "golden", "inputs", golden)
    contents.write_predictions(folder / "golden", "predictions", predicted, golden["row_id"])

    weight = evaluated.schema.one("weight")
    quasi = list(dict.fromkeys([*group_fields(plan, evaluated), *([weight.name] if weight is not None else [])]))
    shown = nameable(plan, evaluated)
    if with_rows:
        make_folder(folder / "rows")
        key = row_key(secret, made.pooled["predictions"]["content"])
        rows = keyed_rows(shown, [*task.targets, *quasi], key)
        contents.write_cohort(folder / "rows", "cohort", rows)
        predicted_by = {
            "predictions": made.pooled,
            **{f"reference-{name}": each for name, each in made.reference.items()},
        }
        for name, each in predicted_by.items():
            predictions = get_predictions(bench.store, each["predictions"], made.split["task"])
            contents.write_predictions(folder / "rows", name, predictions, rows["row_id"])

        known = sketch(bench.cohort(made.read["cohort"]), sketched(golden.schema), facts["digests"]["predictions"])
        if known is not None:
            atomic_write(folder / "seen.json", contents.pretty(known))

    record = {
        "format": 1,
        "name": plan.release.name if plan.release is not None else plan.name,
        "stage": judged["stage"],
        "asked": judged["asked"],
        "reasons": judged["reasons"],
        "judgements": judged["judgements"],
        "facts": dict(facts),
        "checks": checks_of(plan),
        "reference": sorted(made.reference),
        "level": plan.level,
        "seed": plan.split.seed,
        "privacy": {
            "rows": with_rows,
            "fields": [*task.targets, *quasi] if with_rows else [],
            "k_anonymity": k_anonymity(shown, quasi) if with_rows else None,
            "smallest_group": smallest(plan),
            "model_keeps_rows": pipeline.keeps_rows,
        },
    }
    lay_actions(bench.store, made.actions, folder)
    atomic_write(folder / "release.json", contents.pretty(record))
    atomic_write(folder / "plan.yaml", plan.without_places().to_yaml().encode())
    atomic_write(folder / "reader.json", contents.pretty({"format": 1, "spec": made.read["alike"]}))
    atomic_write(folder / "task.json", contents.pretty(task.to_json()))
    atomic_write(folder / "clean.json", contents.pretty({"format": 1, "steps": list(made.cleaned["replay"])}))
    schema = input_schema(golden.schema, pipeline.fitted.observed, record["name"])
    atomic_write(folder / "input.schema.json", contents.pretty(schema))
    atomic_write(folder / "example.json", contents.pretty(one_row(golden)))
    atomic_write(folder / "evidence.json", canonical_json(pieces))
    atomic_write(folder / "card.md", model_card(record, pieces).encode())
    atomic_write(folder / "report.html", bench.store.get(report))
