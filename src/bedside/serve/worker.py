"""The worker: carries out the jobs of a workspace, one at a time, in a process of its own that may load anything.

`python -m bedside.serve.worker HOME PARENT` runs until SIGTERM, or until the process PARENT is gone. A lock file lets
only one run; the service starts one and starts it again when it dies. What a worker had not recorded as done is done
again, so every step may be repeated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError
from bedside.serve import jobs
from bedside.serve.batch import Batch
from bedside.serve.plan_job import PlanJob
from bedside.serve.run import alone
from bedside.serve.telemetry import configure_logging

log = logging.getLogger("bedside.serve.worker")
WATCH_SECONDS = 1.0


def work(workspace: Workspace, parent: int) -> None:
    """Carry out jobs until SIGTERM or until `parent`, the process that started this, has gone."""
    from dbos import DBOS, DBOSPortableJSONSerializer

    DBOS(
        config={
            "name": jobs.APPLICATION,
            "system_database_url": workspace.jobs_url,
            "application_version": jobs.VERSION,
            "executor_id": jobs.EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": 0.2,
        }
    )

    def tell(progress: Mapping[str, Any]) -> None:
        DBOS.set_event(jobs.PROGRESS, dict(progress))

    @DBOS.step(name="chunk")
    def chunk(arguments: dict[str, Any], job: str, start: int) -> dict[str, Any]:
        return Batch(workspace, arguments, job).chunk(start)

    @DBOS.step(name="gather")
    def gather(arguments: dict[str, Any], job: str, pieces: list[str]) -> dict[str, Any]:
        return Batch(workspace, arguments, job).gather(pieces)

    @DBOS.workflow(name="batch")
    def batch(arguments: dict[str, Any]) -> dict[str, Any]:
        job = str(DBOS.workflow_id)
        pieces: list[str] = []
        start, rows = 0, 1
        try:
            while start < rows:
                made = chunk(arguments, job, start)
                pieces.append(made["piece"])
                start, rows = made["next"], made["rows"]
                tell({"done": start, "of": rows})
            return gather(arguments, job, pieces)
        except BedsideError as error:
            return {"failed": str(error)}

    @DBOS.step(name="run")
    def run_plan(arguments: dict[str, Any], job: str) -> dict[str, Any]:
        return PlanJob(workspace, arguments, job).run(tell)

    @DBOS.workflow(name="plan")
    def plan(arguments: dict[str, Any]) -> dict[str, Any]:
        job = str(DBOS.workflow_id)
        try:
            return run_plan(arguments, job)
        except BedsideError as error:
            return {"failed": str(error)}

    DBOS.launch()
    DBOS.register_queue(jobs.QUEUE, global_concurrency=1, polling_interval_sec=0.3)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    while not stop.wait(WATCH_SECONDS):
        if os.getppid() != parent:  # the service was killed, maybe before this began: the next one starts its own
            break
    os._exit(0)  # what runs is resumed by the next worker


def main() -> None:
    """Entry point of the process."""
    configure_logging(logging.WARNING)
    workspace = Workspace(Path(sys.argv[1]))
    with alone(workspace.home / ".worker.lock"):
        work(workspace, int(sys.argv[2]))


if __name__ == "__main__":
    main()
