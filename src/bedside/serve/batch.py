"""A batch: a table of any length answered in the background, chunk by chunk, each chunk recorded as it is answered."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bedside.cohort.workspace import Workspace
from bedside.errors import DataError
from bedside.evidence.keys import load_or_create_key
from bedside.plan.release.layout import LOCAL_KEY
from bedside.serve import inference
from bedside.serve.audit import AuditTrail
from bedside.serve.config import Limits
from bedside.serve.database import Database
from bedside.serve.reading import Asked, from_file
from bedside.serve.registry import Registry
from bedside.serve.served import Served
from bedside.serve.service import AUDIT_KEY, Caller, records, secret

CHUNK = 500
MOST_ROWS = 5_000_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Batch:
    """One batch job: `arguments` are release (digest), input (digest in the store), media and account.

    Every method may be called again after a kill and does nothing twice that can be seen.
    """

    def __init__(self, workspace: Workspace, arguments: Mapping[str, Any], job: str) -> None:
        self.workspace, self.arguments, self.job = workspace, arguments, job

    @cached_property
    def served(self) -> Served:
        """The release, as the registry gives it."""
        database = Database(self.workspace.service_url)
        key = load_or_create_key(self.workspace.keys, LOCAL_KEY)
        return Registry(self.workspace, database, key).refresh().find(str(self.arguments["release"]))

    @cached_property
    def asked(self) -> Asked:
        """The table's rows."""
        data = self.workspace.store.get(str(self.arguments["input"]))
        limits = replace(Limits(), rows=MOST_ROWS)
        scratch = self.workspace.cache / "incoming"
        return from_file(self.served, data, str(self.arguments["media"]), limits, scratch)

    def chunk(self, start: int) -> dict[str, Any]:
        """Answer the rows from `start` on, record them, and keep the answers; where the next chunk starts."""
        raw = self.asked.raw
        end = min(start + CHUNK, len(raw))
        part = raw.take(np.arange(start, end))
        found = inference.answers(self.served, part, explained=False)
        for each in found:
            each["row"] += start
        self._record(Asked(part, self.asked.subjects[start:end]), found, start)
        shown = "withheld" if self.served.stage == "shadow" else "shown"
        rows = [
            {"row": each["row"], "id": row_id, "prediction": each["prediction"], "outside": each["outside"]}
            if shown == "shown"
            else {"row": each["row"], "id": row_id}
            for each, row_id in zip(found, part["row_id"].to_list(), strict=True)
        ]
        return {"piece": self.workspace.store.put_json(rows), "next": end, "rows": len(raw)}

    def _record(self, part: Asked, found: Sequence[dict[str, Any]], start: int) -> None:
        """The chunk's audit rows, unless they are there from before a kill."""
        request = f"{self.job}-{start}"[:32]
        database = Database(self.workspace.service_url)
        key = load_or_create_key(self.workspace.keys, LOCAL_KEY)
        audit = AuditTrail(database, key, secret(self.workspace, AUDIT_KEY))
        try:
            if not audit.page(request=request, limit=1):
                caller = Caller(str(self.arguments["account"]), request)
                audit.append(records(audit, caller, self.served, part, found, "batch")).result()
        finally:
            audit.close()
            database.close()

    def gather(self, pieces: Sequence[str]) -> dict[str, Any]:
        """All answers as one CSV in the store."""
        rows = [row for piece in pieces for row in self.workspace.store.get_json(piece)]
        return {"result": self.workspace.store.put(as_csv(rows)), "rows": len(rows), "stage": self.served.stage}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Answers as CSV in which no cell is a formula to a spreadsheet."""
    flat = [_flat(row) for row in rows]
    if not flat:
        raise DataError("there are no rows", "send at least one")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in flat for name in row)), restval="")
    writer.writer.writerow([harmless(name) for name in writer.fieldnames])
    for row in flat:
        writer.writerow({name: harmless(value) for name, value in row.items()})
    return text.getvalue().encode()


def harmless(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, with the apostrophe that keeps it text; else the value."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"row": row["row"], "row_id": row["id"]}
    prediction = row.get("prediction")
    if prediction is None:
        return out
    for each in prediction.get("labels", [prediction]):
        before = f"{each['target']}:" if "labels" in prediction else ""
        for label, p in each.get("probabilities", {}).items():
            out[f"{before}p:{label}"] = p
        for name in ("call", "threshold", "verdict", "value"):
            if name in each:
                out[before + name] = each[name]
    out["outside"] = "; ".join(f"{each['field']} {each['why']}" for each in row["outside"])
    return out
