"""Service: what one running node holds — workspace, database, registry, audit trail, sessions, workers, metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bedside.cohort.atomic import atomic_write
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError
from bedside.evidence.keys import load_or_create_key
from bedside.plan.release.layout import LOCAL_KEY
from bedside.serve import inference
from bedside.serve.accounts import Accounts
from bedside.serve.audit import AuditTrail
from bedside.serve.config import ServeConfig
from bedside.serve.database import Database
from bedside.serve.feedback import Feedback
from bedside.serve.jobs import Jobs
from bedside.serve.reading import Asked
from bedside.serve.registry import Registry
from bedside.serve.served import Served
from bedside.serve.sessions import Sessions
from bedside.serve.telemetry import Metrics
from bedside.serve.workers import Workers

Purpose = Literal["predict", "try"]
LOOK_AGAIN_SECONDS = 2.0
AUDIT_KEY = "audit.key"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who asks: the account, and the id of the request."""

    account: str
    request: str


class Service:
    """The parts of one node. `start` loads the releases and looks for new ones every two seconds until `close`."""

    def __init__(self, workspace: Workspace, config: ServeConfig) -> None:
        self.workspace, self.config = workspace, config
        self.database = Database(workspace.service_url)
        self.key = load_or_create_key(workspace.keys, LOCAL_KEY)
        self.audit = AuditTrail(self.database, self.key, secret(workspace, AUDIT_KEY))
        self.accounts = Accounts(self.database)
        self.sessions = Sessions(self.database, config.session_hours)
        self.feedback = Feedback(self.database, workspace.store)
        self.registry = Registry(workspace, self.database, self.key)
        self.workers = Workers(config.limits)
        self.metrics = Metrics()
        self.jobs = Jobs(workspace)
        self.ready = False
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def scratch(self) -> Path:
        """Where a table that was sent lies while it is read."""
        return self.workspace.cache / "incoming"

    def start(self) -> None:
        """Begin to watch the workspace; `ready` once everything in it was looked at."""
        self._watcher = threading.Thread(target=self._watch, name="registry", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                state = self.registry.refresh()
                self.metrics.served.set(len(state.served))
                self.ready = True
            except BedsideError as error:
                log.error("the workspace cannot be looked at", extra={"why": error.what})
            except Exception:  # the next look may be better; what is served stays
                log.exception("the workspace cannot be looked at")
            self._keep_worker()
            self._stopping.wait(LOOK_AGAIN_SECONDS)

    def _keep_worker(self) -> None:
        """Start the worker of jobs, and again when it has died."""
        if self.config.worker and (self._worker is None or self._worker.poll() is not None):
            command = [sys.executable, "-m", "bedside.serve.worker", str(self.workspace.home), str(os.getpid())]
            self._worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603

    def close(self) -> None:
        """Finish what is being answered, write what is to be recorded, let go of the database."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._worker is not None:
            self._worker.terminate()  # what it was at is resumed by the next
            self._worker.wait()
        self.workers.close()
        self.jobs.close()
        self.audit.close()
        self.database.close()

    async def answer(
        self, caller: Caller, served: Served, read: Callable[[], Asked], *, purpose: Purpose, explained: bool
    ) -> dict[str, Any]:
        """Answer rows, record each, and only then give them out, as the release's stage allows.

        `read` makes raw rows of what was sent (on a worker's thread). Raises DataError for what does not fit, Busy and
        Late as `Workers.run`, BedsideError where nothing could be recorded: then nothing is answered.
        """
        if purpose == "predict" and served.stage == "research":
            raise DataError(
                f"'{served.name}' is at the stage research, which is answered on the page Try it only",
                "approve it for a higher stage, or try it there",
            )

        def work() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            asked = read()
            found = inference.answers(served, asked.raw, explained=explained)
            return found, records(self.audit, caller, served, asked, found, purpose)

        found, entries = await self.workers.run(work)
        positions = await asyncio.wrap_future(self.audit.append(entries))
        self.metrics.answers.labels(served.name, served.digest[:12], served.stage).inc(len(found))
        for answer in found:
            for each in answer["outside"]:
                self.metrics.outside.labels(served.name, served.digest[:12], each["field"]).inc()
        shown = [shown_at(served.stage, answer) | {"audit": i} for answer, i in zip(found, positions, strict=True)]
        head = {"name": served.name, "digest": served.digest, "stage": served.stage}
        return {"release": head, "request": caller.request, "answers": shown}

    async def record(self, caller: Caller, kind: str, **said: Any) -> int:
        """One audit row of something done; its position, once it is durable."""
        entry = {"kind": kind, "account": caller.account, "request": caller.request, **said}
        return (await asyncio.wrap_future(self.audit.append([entry])))[0]


def records(
    audit: AuditTrail, caller: Caller, served: Served, asked: Asked, found: Sequence[Mapping[str, Any]], kind: str
) -> list[dict[str, Any]]:
    """The audit rows of answers; nothing in them names the patient or repeats an input."""
    return [
        {
            "kind": kind,
            "account": caller.account,
            "request": caller.request,
            "release": served.digest,
            "name": served.name,
            "stage": served.stage,
            "subject": None if subject is None else audit.pseudonym(subject),
            "input": audit.row_digest(asked.raw, i),
            "row": answer["row"],
            "prediction": _without_words(answer["prediction"]),
            "outside": [{"field": each["field"], "why": each["why"]} for each in answer["outside"]],
        }
        for i, (answer, subject) in enumerate(zip(found, asked.subjects, strict=True))
    ]


def _without_words(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction as it is recorded: words can be made again."""
    kept = {key: value for key, value in prediction.items() if key not in ("words", "labels")}
    if "labels" in prediction:
        kept["labels"] = [_without_words(label) for label in prediction["labels"]]
    return kept


def shown_at(stage: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a person may see of an answer at a stage: nothing at shadow, marked at research, to confirm at assist."""
    if stage == "shadow":
        return {"row": answer["row"], "withheld": inference.both("serve_shadow")}
    out = dict(answer)
    if stage == "research":
        out["watermark"] = inference.both("serve_watermark")
    if stage == "assist":
        out["confirm"] = inference.both("serve_confirm")
    return out


def secret(workspace: Workspace, name: str) -> bytes:
    """A workspace's own secret of 32 bytes in `keys`, made on first use."""
    with workspace.lock("secrets"):
        file = workspace.keys / name
        if not file.exists():
            atomic_write(file, secrets.token_bytes(32))
        return file.read_bytes()
