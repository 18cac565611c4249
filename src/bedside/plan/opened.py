"""An opened release: nothing of it is loaded before its signature and digests have been checked."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.files import Files, MemoryFiles
from bedside.cohort.schema import Schema
from bedside.errors import DataError, IntegrityError
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.signing import RELEASE_PREDICATE, STATEMENT_PAYLOAD, Envelope, Statement, Verified, verify
from bedside.intake.pixels import describe
from bedside.models.predictions import Predictions
from bedside.models.task import Task, task_from_json
from bedside.plan import contents
from bedside.plan.plan_file import Plan, parse_plan
from bedside.plan.release import APPROVALS, SIGNATURE


@dataclass(frozen=True)
class Opened:
    """A release whose bytes are those its signer signed; `signer.trusted` says whether that key is trusted here."""

    folder: Path
    digest: str
    signer: Verified
    record: Mapping[str, Any]

    @cached_property
    def task(self) -> Task:
        """The task."""
        return task_from_json(json.loads((self.folder / "task.json").read_bytes()))

    @cached_property
    def schema(self) -> Schema:
        """The fields of a raw row, before cleaning."""
        return Schema.from_json(json.loads((self.folder / "golden" / "inputs.schema.json").read_bytes()))

    @cached_property
    def pipeline(self) -> Any:
        """The fitted pipeline."""
        from bedside.models.pipeline import Pipeline

        return Pipeline.load(self.folder / "model")

    @cached_property
    def plan(self) -> Plan:
        """The plan that it was made by."""
        return parse_plan((self.folder / "plan.yaml").read_text(encoding="utf-8"), "plan.yaml")[0]

    def clean(self, raw: Cohort) -> Cohort:
        """Item-scope cleaning replayed."""
        from bedside.prepare.clean import replay

        specs = json.loads((self.folder / "clean.json").read_bytes())["steps"]
        return replay(raw, specs)

    def predict(self, raw: Cohort) -> Predictions:
        """Predictions for raw rows: the very same cleaning, steps, model, calibration and threshold."""
        made: Predictions = self.pipeline.predict(self.clean(raw))
        return made

    def row(self, values: Mapping[str, Any]) -> Cohort:
        """A cohort of one raw row given as JSON, images in base64; raises DataError for unknown or mistyped fields."""
        unknown = sorted(set(values) - set(self.schema.names))
        if unknown:
            raise DataError(f"unknown fields {unknown}", "the fields are in input.schema.json")
        columns: dict[str, list[Any]] = {}
        files = MemoryFiles()
        for item in self.schema.fields:
            value = values.get(item.name)
            if item.kind == "time" and isinstance(value, str):
                columns[item.name] = [_moment(item.name, value)]
                continue
            right = {"number": (int, float), "boolean": (bool,)}.get(item.kind, (str,))
            if value is not None and (not isinstance(value, right) or (item.kind == "number" and value is True)):
                raise DataError(f"field '{item.name}' is a {item.kind}, not {type(value).__name__}", "see example.json")
            if item.kind == "image" and value is not None:
                value = _image(item.name, str(value), self.plan.cohort.parameters.get("window"), files)
            columns[item.name] = [float(value) if item.kind == "number" and value is not None else value]
        return Cohort.of(columns, self.schema.fields).with_files(files)

    @property
    def stage(self) -> str:
        """The stage reached when it was made; approvals may have changed it since (see `approve.stage_now`)."""
        return str(self.record["stage"])


def _image(name: str, text: str, window: Any, files: Files) -> str:
    """The manifest's digest of an image given in base64, described as the plan's reader describes a file."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise DataError(f"field '{name}' holds no base64", "send the image file's bytes in base64") from None
    try:
        made, _ = describe(data, window)
    except DataError as error:
        raise DataError(f"field '{name}': {error.what}", error.way_out) from None
    files.put(data)
    return files.put(made.to_bytes())


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"field '{name}' holds no time that can be read", "write ISO 8601") from None
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def open_release(folder: Path, trusted: TrustedKeys) -> Opened:
    """Check signature and every digest, then read; raises IntegrityError naming what is not as it was signed."""
    if not (folder / SIGNATURE).is_file():
        raise DataError(f"{folder} is no release: it has no {SIGNATURE}", "name the folder that `bedside run` printed")
    envelope = Envelope.from_bytes((folder / SIGNATURE).read_bytes())
    signer = verify(envelope, trusted)
    if signer.payload_type != STATEMENT_PAYLOAD:
        raise IntegrityError(f"{SIGNATURE} signs a {signer.payload_type}, not a statement")
    statement = Statement.from_bytes(signer.payload)
    if statement.predicate_type != RELEASE_PREDICATE or statement.predicate.get("format") != 1:
        raise IntegrityError(
            f"{SIGNATURE} states {statement.predicate_type}, format {statement.predicate.get('format')}"
        )
    refuse_changed(folder, statement.subjects)
    digest = contents.release_digest(statement.subjects)
    if statement.predicate.get("release") != digest:
        raise IntegrityError("the statement's release digest is not that of its files")
    record = json.loads((folder / "release.json").read_bytes())
    if record.get("format") != 1:
        raise IntegrityError(f"release format {record.get('format')!r} is not known", "read it with a newer bedside")
    return Opened(folder, digest, signer, record)


def refuse_changed(folder: Path, signed: Mapping[str, str]) -> None:
    """Raise IntegrityError when a file is missing, added, a link, or other than signed (approvals sign themselves)."""
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise IntegrityError(f"{links[0].relative_to(folder)} is a link", "a release holds plain files only")
    found = contents.file_digests(folder)
    own = {name: value for name, value in found.items() if name != SIGNATURE and not name.startswith(f"{APPROVALS}/")}
    for name in sorted(set(signed) | set(own)):
        if name not in own:
            raise IntegrityError(f"{name} is missing from the release", "get the release again from where it came")
        if name not in signed:
            raise IntegrityError(f"{name} was added to the release after it was signed", "remove it")
        if own[name] != signed[name]:
            raise IntegrityError(f"{name} is not what was signed: its bytes were changed", "get the release again")
