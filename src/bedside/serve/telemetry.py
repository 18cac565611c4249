"""What is told of the running service: Prometheus metrics and one JSON log line a request, neither naming anybody."""

from __future__ import annotations

import json
import logging
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("bedside.serve.requests")
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class Metrics:
    """Counters and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bedside_requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "bedside_request_seconds", "Time to answer, by route.", ["route"], registry=self.registry
        )
        self.answers = Counter(
            "bedside_answers",
            "Rows answered, by release and stage.",
            ["name", "release", "stage"],
            registry=self.registry,
        )
        self.outside = Counter(
            "bedside_outside_inputs",
            "Inputs beyond what training showed, by release and field.",
            ["name", "release", "field"],
            registry=self.registry,
        )
        self.inside = Gauge("bedside_work_inside", "Requests computed or waiting.", registry=self.registry)
        self.served = Gauge("bedside_releases_served", "Releases served.", registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        from prometheus_client import generate_latest

        data: bytes = generate_latest(self.registry)
        return data


class Telemetry:
    """Middleware: gives each request an id, counts and times it, and logs it by its route, never by its path."""

    def __init__(self, app: ASGIApp, routes: Sequence[Any], metrics: Metrics) -> None:
        self.app, self.routes, self.metrics = app, routes, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = secrets.token_hex(8)
        scope.setdefault("state", {})["request"] = request
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request.encode()))
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - began
            route = next((r.path for r in self.routes if r.matches(scope)[0] is Match.FULL), "none")
            self.metrics.requests.labels(scope["method"] if route != "none" else "any", route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            session = scope["state"].get("session")
            log.info(
                "request",
                extra={
                    "request": request,
                    "method": scope["method"][:10],
                    "route": route,
                    "status": status,
                    "milliseconds": round(1000 * seconds, 1),
                    "account": None if session is None else session.account,
                },
            )


class JsonLines(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, and what `extra` said."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        out: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        out |= {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
        if record.exc_info is not None and record.exc_info[0] is not None:
            # The kind and place of an error only: its text may quote what a caller sent.
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            out["error"] = record.exc_info[0].__name__
            if trace is not None:
                out["at"] = f"{trace.tb_frame.f_code.co_filename.rpartition('bedside/')[2]}:{trace.tb_lineno}"
        return json.dumps(out, ensure_ascii=False, default=str)


def configure_logging(level: int = logging.INFO) -> None:
    """Send every record of the service and of uvicorn to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
