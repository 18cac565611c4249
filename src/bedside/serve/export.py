"""Export of the audit trail as CSV that a spreadsheet opens without carrying anything out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from bedside.cohort.digest import canonical_json
from bedside.serve.audit import AuditTrail
from bedside.serve.routes import caller_of, service_of

COLUMNS = ("index", "time", "kind", "account", "request", "release", "name", "subject", "hash", "body")
_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
AT_ONCE = 500


def cell(value: object) -> str:
    """A value as a cell of text: what would begin a formula gets a ' before it (OWASP, CSV injection)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_BEGINS_A_FORMULA) else text


def as_csv(trail: AuditTrail) -> Iterator[str]:
    """The trail from its first row, chain and seals checked on the way; `body` is the whole row in JSON.

    Raises IntegrityError at a row that was changed.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in trail.rows():
        told = {**row.body, "hash": row.hash, "body": canonical_json(row.body).decode()}
        writer.writerow([cell(told.get(name)) for name in COLUMNS])
        if row.index % AT_ONCE == AT_ONCE - 1:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


async def audit_csv(request: Request) -> StreamingResponse:
    """The whole audit trail as CSV; the export is itself a row of it. A damaged trail ends the answer short."""
    service = service_of(request)
    await service.record(caller_of(request), "export")
    name = {"content-disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(as_csv(service.audit), media_type="text/csv; charset=utf-8", headers=name)
