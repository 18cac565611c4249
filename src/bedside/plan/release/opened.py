"""An opened release: nothing of it is loaded before its signature and digests have been checked.

A file is checked again whenever it is read, so what is loaded is what was signed even if the folder was changed since.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import sha256_hex
from bedside.cohort.files import Files, MemoryFiles
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError, IntegrityError
from bedside.evidence.estimate import Evidence
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.signing import RELEASE_PREDICATE, STATEMENT_PAYLOAD, Envelope, Statement, Verified, verify
from bedside.intake.pixels import describe
from bedside.models.predictions import Predictions
from bedside.models.task import Task, task_from_json
from bedside.plan.file.plan import Plan, parse_plan
from bedside.plan.release import contents
from bedside.plan.release.layout import APPROVALS, SERVING, SIGNATURE

LARGEST_SIGNATURE = 64 << 20  # bytes; one file takes about 150


@dataclass(frozen=True)
class Opened:
    """A release whose bytes are those its signer signed; `signer.trusted` says whether that key is trusted here.

    `files` maps the relative path of every file to its SHA-256.
    """

    folder: Path
    digest: str
    signer: Verified
    record: Mapping[str, Any]
    files: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises IntegrityError when they are not (or no longer) those that were signed."""
        if name not in self.files:
            raise IntegrityError(f"the release has no {name}", _AGAIN)
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise IntegrityError(f"{name} cannot be read: {error.strerror}", _AGAIN) from None
        if sha256_hex(data) != self.files[name]:
            raise IntegrityError(f"{name} is not what was signed: its bytes were changed", _AGAIN)
        return data

    @cached_property
    def task(self) -> Task:
        """The task."""
        return task_from_json(json.loads(self.read("task.json")))

    @cached_property
    def schema(self) -> Schema:
        """The fields of a raw row, before cleaning."""
        return Schema.from_json(json.loads(self.read("golden/inputs.schema.json")))

    @cached_property
    def reader(self) -> dict[str, Any]:
        """The spec of the reader that reads a later table as the plan's was read."""
        return dict(json.loads(self.read("reader.json"))["spec"])

    @cached_property
    def plan(self) -> Plan:
        """The plan that it was made by."""
        return parse_plan(self.read("plan.yaml").decode(), "plan.yaml")[0]

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence as it was when the release was made."""
        return tuple(Evidence.from_json(each) for each in json.loads(self.read("evidence.json")))

    @cached_property
    def pipeline(self) -> Any:
        """The fitted pipeline."""
        from bedside.models.pipeline import Pipeline

        return Pipeline.load(self._unchanged("model"))

    @cached_property
    def served(self) -> Any:
        """The pipeline that answers new rows: in its serving form where it has one and ONNX Runtime is installed, which
        gives the same answers (to 1e-5) and needs no torch."""
        from bedside.models.catalogue import installed

        return self.serving if self.has_serving and installed("onnx") else self.pipeline

    @cached_property
    def serving(self) -> Any:
        """The serving form; raises MissingExtra without ONNX Runtime."""
        from bedside.models.pipeline import Pipeline

        return Pipeline.load(self._unchanged(SERVING))

    @property
    def model_is_graph(self) -> bool:
        """Whether its model is itself an ONNX graph, as that of a compressed network is."""
        return any(name.startswith("model/") and name.endswith(".onnx") for name in self.files)

    @property
    def has_serving(self) -> bool:
        """Whether it holds a serving form of its network."""
        return any(name.startswith(f"{SERVING}/") for name in self.files)

    def _unchanged(self, place: str) -> Path:
        """A folder of the release, every file of which has just been checked."""
        for name in self.files:
            if name.startswith(f"{place}/"):
                self.read(name)
        return self.folder / place

    def example(self) -> Cohort:
        """One synthetic raw row, with its events and files where it has any."""
        return contents.read_cohort(self.read, "golden/inputs").take([0])

    def clean(self, raw: Cohort) -> Cohort:
        """Item-scope cleaning replayed."""
        from bedside.prepare.clean import replay

        return replay(raw, self.cleaning)

    @cached_property
    def cleaning(self) -> list[Any]:
        """The specs of the item-scope cleaning."""
        return list(json.loads(self.read("clean.json"))["steps"])

    def predict(self, raw: Cohort) -> Predictions:
        """Predictions for raw rows: the very same cleaning, steps, model, calibration and threshold."""
        made: Predictions = self.pipeline.predict(self.clean(raw))
        return made

    def row(self, values: Mapping[str, Any]) -> Cohort:
        """A cohort of one raw row given as JSON, images in base64; raises DataError for a field that is unknown,
        mistyped, or an input and not there (null says that a value is unknown)."""
        unknown = sorted(set(values) - set(self.schema.names))
        if unknown:
            raise DataError(f"unknown fields {unknown}", "the fields are in input.schema.json")
        lacking = [item.name for item in self.schema.inputs if item.name not in values]
        if lacking:
            raise DataError(f"the row lacks the fields {lacking[:10]}", "give null where a value is unknown")
        files = MemoryFiles()
        columns = {}
        for item in self.schema.fields:
            value = _cell(item, values.get(item.name))
            if item.kind == "image" and value is not None:
                value = _image(item.name, value, self.plan.cohort.parameters.get("window"), files)
            columns[item.name] = [value]
        return Cohort.of(columns, self.schema.fields).with_files(files)

    @property
    def stage(self) -> str:
        """The stage reached when it was made; approvals may have changed it since (see `approvals.stage_now`)."""
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


_AGAIN = "get the release again from where it came"
_JSON_TYPES: dict[str, tuple[type[Any], ...]] = {"number": (int, float), "boolean": (bool,)}


def _cell(item: Field, value: Any) -> Any:
    """A JSON value as that of a field; its own text never stands in the error."""
    if value is None:
        return None
    if not isinstance(value, _JSON_TYPES.get(item.kind, (str,))) or (item.kind == "number" and isinstance(value, bool)):
        raise DataError(f"field '{item.name}' is a {item.kind}, not {type(value).__name__}", "see example.json")
    try:
        if item.kind == "time":
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
        if item.kind == "number" and not math.isfinite(float(value)):
            raise ValueError("not finite")
        if isinstance(value, str):
            value.encode()
    except (ValueError, OverflowError):
        way_out = "write ISO 8601" if item.kind == "time" else "see example.json"
        raise DataError(f"field '{item.name}' holds no {item.kind} that can be read", way_out) from None
    return float(value) if item.kind == "number" else value


def open_release(folder: Path, trusted: TrustedKeys) -> Opened:
    """Check signature and every digest, then read; raises IntegrityError naming what is not as it was signed."""
    if not (folder / SIGNATURE).is_file():
        raise DataError(f"{folder} is no release: it has no {SIGNATURE}", "name the folder that `bedside run` printed")
    refuse_links(folder)
    if (folder / SIGNATURE).stat().st_size > LARGEST_SIGNATURE:
        raise IntegrityError(f"{SIGNATURE} is too large to be one", _AGAIN)
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
    opened = Opened(folder, digest, signer, {}, statement.subjects)
    try:
        record = json.loads(opened.read("release.json"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("format") != 1:
        raise IntegrityError("release.json is not of format 1", "read it with a newer bedside")
    return replace(opened, record=record)


def refuse_links(folder: Path) -> None:
    """Raise IntegrityError for anything in a folder that is neither a plain file nor a folder."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{path.relative_to(folder)} is no plain file", "a release holds plain files only")


def refuse_changed(folder: Path, signed: Mapping[str, str]) -> None:
    """Raise IntegrityError when a file is missing, added or other than signed (approvals sign themselves)."""
    found = contents.file_digests(folder)
    own = {name: value for name, value in found.items() if name != SIGNATURE and not name.startswith(f"{APPROVALS}/")}
    for name in sorted(set(signed) | set(own)):
        if name not in own:
            raise IntegrityError(f"{name} is missing from the release", _AGAIN)
        if name not in signed:
            raise IntegrityError(f"{name} was added to the release after it was signed", "remove it")
        if own[name] != signed[name]:
            raise IntegrityError(f"{name} is not what was signed: its bytes were changed", _AGAIN)
