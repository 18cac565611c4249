"""Release: what passes its stage, by digest and signed. Only releases are served."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from bedside.cohort import plugins
from bedside.cohort.atomic import atomic_write, make_folder, sync_folder
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json
from bedside.cohort.schema import Field
from bedside.evidence.keys import SigningKey, load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.evidence.signing import RELEASE_PREDICATE, STATEMENT_PAYLOAD, Statement, sign
from bedside.models.task import task_from_json
from bedside.plan import contents
from bedside.plan.artifacts import folder_files, get_predictions, lay_folder, put_folder
from bedside.plan.card import model_card
from bedside.plan.validate import checks_of

if TYPE_CHECKING:
    from bedside.plan.run import Conductor

SIGNATURE = "signature.dsse.json"
APPROVALS = "approvals"
LOCAL_KEY = "local"


@dataclass(frozen=True)
class Parts:
    """The digests and facts that a release is put together from."""

    facts: Mapping[str, Any]
    evidence: Sequence[str]
    judged: Mapping[str, Any]
    alike: Mapping[str, Any]
    replay: Sequence[Any]
    raw: str
    kept: Mapping[str, Any]
    pooled: Mapping[str, Any]
    reference: Mapping[str, Mapping[str, Any]]
    pipeline: str
    report: str


def publish(conductor: Conductor, parts: Parts) -> Path:
    """Write, sign and enter a release in the ledger; the same parts and key give the same release, written once."""
    workspace, store = conductor.workspace, conductor.bench.store
    with workspace.lock("releases"):
        secret = contents.row_secret(workspace.keys)

    def work() -> dict[str, Any]:
        with conductor.bench.folder() as folder:
            fill(conductor, parts, folder, secret)
            return {"folder": put_folder(store, folder)}

    inputs = {**asdict(parts), "rows": hashlib.sha256(secret).hexdigest()}
    filled = conductor.memoised(
        "release", "plan", ("release",), {"plan": conductor.plan.without_places().to_json()}, inputs, work
    )
    digest = contents.release_digest(folder_files(store, filled["folder"]))
    name = conductor.plan.release.name if conductor.plan.release is not None else conductor.plan.name
    target = workspace.releases / f"{name}-{digest[:12]}"
    key = load_or_create_key(workspace.keys, LOCAL_KEY)
    with workspace.lock("releases"):
        if not target.exists():
            make_folder(workspace.releases)
            with conductor.bench.folder() as scratch:
                seal(lay_folder(store, filled["folder"], scratch), name, key)
                scratch.replace(target)
                sync_folder(workspace.releases)
        enter(Ledger(workspace.ledger_url), digest, name, parts, key)
    return target


def enter(ledger: Ledger, digest: str, name: str, parts: Parts, key: SigningKey) -> None:
    """Enter a release in the ledger, once."""
    body = {"release": digest, "name": name, "stage": parts.judged["stage"], "asked": parts.judged["asked"]}
    if not any(entry.kind == "release" and dict(entry.body) == body for entry in ledger.entries()):
        ledger.append("release", body, key)


def seal(folder: Path, name: str, key: SigningKey) -> str:
    """Sign every file of a folder; returns the release's digest."""
    files = contents.file_digests(folder)
    digest = contents.release_digest(files)
    statement = Statement(files, RELEASE_PREDICATE, {"format": 1, "name": name, "release": digest})
    atomic_write(folder / SIGNATURE, sign(STATEMENT_PAYLOAD, statement.to_bytes(), key).to_bytes())
    return digest


def fill(conductor: Conductor, parts: Parts, folder: Path, secret: bytes) -> None:
    """Write every file of a release but its signature."""
    from bedside.prepare.clean import replay

    plan, bench = conductor.plan, conductor.bench
    task = task_from_json(parts.kept["task"])
    pipeline = bench.pipeline(parts.pipeline)
    lay_folder(bench.store, parts.pipeline, folder / "model")
    pieces = [json.loads(bench.store.get(digest)) for digest in parts.evidence]
    evaluated = bench.cohort(parts.pooled["cohort"])
    with_rows = plan.release is None or plan.release.rows

    golden = contents.golden_rows(bench.cohort(parts.raw), plan.split.seed, without=task.target)
    predicted = pipeline.predict(replay(golden, list(parts.replay)))
    make_folder(folder / "golden")
    contents.write_cohort(folder / "golden", "inputs", golden)
    contents.write_predictions(folder / "golden", "predictions", predicted, golden["row_id"])

    weight = evaluated.schema.one("weight")
    quasi = list(dict.fromkeys([*group_fields(plan, evaluated), *([weight.name] if weight is not None else [])]))
    shown = banded(plan, evaluated)
    if with_rows:
        make_folder(folder / "rows")
        key = contents.row_key(secret, parts.pooled["predictions"]["content"])
        rows = contents.keyed_rows(shown, [task.target, *quasi], key)
        contents.write_cohort(folder / "rows", "cohort", rows)
        made = {"predictions": parts.pooled, **{f"reference-{name}": each for name, each in parts.reference.items()}}
        for name, each in made.items():
            predictions = get_predictions(bench.store, each["predictions"], parts.kept["task"])
            contents.write_predictions(folder / "rows", name, predictions, rows["row_id"])

    record = {
        "format": 1,
        "name": plan.release.name if plan.release is not None else plan.name,
        "stage": parts.judged["stage"],
        "asked": parts.judged["asked"],
        "reasons": parts.judged["reasons"],
        "judgements": parts.judged["judgements"],
        "facts": dict(parts.facts),
        "checks": checks_of(plan),
        "reference": sorted(parts.reference),
        "level": plan.level,
        "seed": plan.split.seed,
        "privacy": {
            "rows": with_rows,
            "fields": [task.target, *quasi] if with_rows else [],
            "k_anonymity": contents.k_anonymity(shown, quasi) if with_rows else None,
            "model_keeps_rows": pipeline.keeps_rows,
        },
    }
    atomic_write(folder / "release.json", contents.pretty(record))
    atomic_write(folder / "plan.yaml", plan.without_places().to_yaml().encode())
    atomic_write(folder / "reader.json", contents.pretty({"format": 1, "spec": parts.alike}))
    atomic_write(folder / "task.json", contents.pretty(task.to_json()))
    atomic_write(folder / "clean.json", contents.pretty({"format": 1, "steps": list(parts.replay)}))
    schema = contents.input_schema(golden.schema, pipeline.fitted.observed, record["name"])
    atomic_write(folder / "input.schema.json", contents.pretty(schema))
    atomic_write(folder / "example.json", contents.pretty(contents.one_row(golden)))
    atomic_write(folder / "evidence.json", canonical_json(pieces))
    atomic_write(folder / "card.md", model_card(record, pieces).encode())
    atomic_write(folder / "report.html", bench.store.get(parts.report))


def banded(plan: Any, cohort: Cohort) -> Cohort:
    """The cohort whose numbers that make groups are those groups (an age is its band), so that no row of a release
    carries the exact value. A field that two checks cut otherwise stays a number."""
    from bedside.checks.groups import MISSING, grouping

    cuts: dict[str, set[tuple[float, ...] | None]] = {}
    for spec in plan.checks:
        check = plugins.build("checks", spec)
        if check.looks_at == "groups":
            for name in check.fields(cohort.schema):
                given = (getattr(check, "cuts", None) or {}).get(name)
                cuts.setdefault(name, set()).add(None if given is None else tuple(given))
    columns, fields = {}, []
    for name, ways in cuts.items():
        item = cohort.schema[name]
        if item.kind != "number" or len(ways) > 1:
            continue
        made = grouping(cohort, name, ways.pop())
        labels = [None if label == MISSING else label for (label,) in made.labels]
        columns[name] = pl.Series(labels, dtype=pl.String).gather(made.codes)
        levels = tuple(label for label in labels if label is not None)
        fields.append(Field(name, "ordinal", item.roles, levels=levels))
    return cohort.with_columns(columns, fields)


def group_fields(plan: Any, cohort: Cohort) -> list[str]:
    """The fields by which the plan's checks make groups."""
    names: list[str] = []
    for spec in plan.checks:
        check = plugins.build("checks", spec)
        if check.looks_at == "groups":
            names += check.fields(cohort.schema)
    return list(dict.fromkeys(names))
