"""Jobs: long work that outlives the process that was asked for it, kept by DBOS in the workspace's jobs database.

The service only enters jobs, looks at them and cancels them; a worker (`worker`), one to a workspace, carries them out.
A job that was accepted is durable: killed at any moment, the worker resumes it at the step that was not recorded.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bedside.cohort.workspace import Workspace
from bedside.errors import DataError, MissingExtra
from bedside.serve.problems import Busy, NotThere

if TYPE_CHECKING:
    from dbos import DBOSClient

APPLICATION, VERSION, EXECUTOR, QUEUE = "bedside", "1", "worker", "jobs"
KINDS = ("batch", "plan")
PROGRESS = "progress"
MOST_WAITING = 100
STATES = {
    "ENQUEUED": "waiting",
    "DELAYED": "waiting",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}


@dataclass(frozen=True)
class Job:
    """One job: what it is, whose, how far it is, and what came of it."""

    id: str
    kind: str
    state: str
    account: str
    created: str
    arguments: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    result: Mapping[str, Any] | None
    error: str | None


class Jobs:
    """The jobs of a workspace as the service sees them; raises Busy until a worker has made their database."""

    def __init__(self, workspace: Workspace) -> None:
        self._url = workspace.jobs_url
        self._client: DBOSClient | None = None

    def enqueue(self, kind: str, account: str, arguments: Mapping[str, Any]) -> str:
        """Enter a job; it is durable when this returns its id. Raises Busy while too many wait."""
        if kind not in KINDS:
            raise DataError(f"no job is called '{kind}'", "one of " + ", ".join(KINDS))
        client = self._connected()
        if len(client.list_queued_workflows(load_input=False, limit=MOST_WAITING)) >= MOST_WAITING:
            raise Busy(30)
        job = secrets.token_hex(12)
        client.enqueue(
            {
                "workflow_name": kind,
                "queue_name": QUEUE,
                "workflow_id": job,
                "app_version": VERSION,
                "application_name": APPLICATION,
                "authenticated_user": account,
            },
            dict(arguments),
        )
        return job

    def get(self, job: str) -> Job:
        """A job by id; raises NotThere."""
        found = self._connected().list_workflows(workflow_ids=[job])
        if not found:
            raise NotThere("there is no job of that id", "GET /jobs lists them")
        return self._job(found[0])

    def all(self, limit: int = 100) -> list[Job]:
        """The newest jobs first."""
        return [self._job(each) for each in self._connected().list_workflows(limit=limit, sort_desc=True)]

    def cancel(self, job: str) -> Job:
        """Cancel a job that waits or runs (it stops at its next step); raises NotThere."""
        if self.get(job).state in ("waiting", "running"):
            self._connected().cancel_workflow(job)
        return self.get(job)

    def close(self) -> None:
        """Let go of the database."""
        if self._client is not None:
            self._client.destroy()

    def _connected(self) -> DBOSClient:
        if self._client is None:
            try:
                from dbos import DBOSClient, DBOSPortableJSONSerializer
            except ImportError:
                raise MissingExtra("serve", "jobs") from None
            try:
                client = DBOSClient(
                    system_database_url=self._url,
                    serializer=DBOSPortableJSONSerializer(),
                    application_name=APPLICATION,
                    retry_connection_errors=False,
                )
                client.list_workflows(limit=1)
            except Exception:  # no worker has made the database yet
                raise Busy(3) from None
            self._client = client
        return self._client

    def _job(self, status: Any) -> Job:
        state = STATES.get(status.status, "running")
        arguments = status.input["args"][0] if status.input and status.input["args"] else {}
        progress = self._connected().get_event(status.workflow_id, PROGRESS, timeout_seconds=0)
        result = status.output if isinstance(status.output, Mapping) else None
        if state == "done" and result is not None and "failed" in result:
            state = "failed"
        error = None if result is None else result.get("failed")
        if error is None and state == "failed":
            error = "it broke off: the worker's log names the place"
        created = datetime.fromtimestamp((status.created_at or 0) / 1000, UTC).isoformat(timespec="seconds")
        user = status.authenticated_user or ""
        return Job(status.workflow_id, status.name, state, user, created, arguments, progress, result, error)
