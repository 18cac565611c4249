"""The route of monitoring: drift of a release's answers."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from bedside.serve.monitor.watch import answers_drift
from bedside.serve.routes import served_of, service_of


async def drift(request: Request, digest: str) -> dict[str, Any]:
    """Evidence and alarms: the newest answers of a release against the predictions of its test part."""
    service, served = service_of(request), served_of(request, digest)
    found = await service.workers.run(lambda: answers_drift(served, service.audit))
    return found.to_json()
