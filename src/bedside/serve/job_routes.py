"""Routes of jobs: enter a batch or a plan, see how far it is, cancel it, fetch what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from bedside.errors import DataError
from bedside.serve import plan_job
from bedside.serve.jobs import Job
from bedside.serve.problems import NotThere
from bedside.serve.reading import PACKED, SUFFIXES
from bedside.serve.routes import caller_of, served_of, service_of


class PlanToRun(BaseModel):
    """A plan and the table it reads (`{read: tables, path: data.csv}`), both as text."""

    model_config = ConfigDict(extra="forbid")
    plan: str = Field(max_length=200_000)
    data: str


async def enter_batch(
    request: Request, release: Annotated[str, Query(max_length=200, description="A name, alias or digest.")]
) -> Response:
    """Answer a table (the body, by its type) in the background."""
    service, caller, served = service_of(request), caller_of(request), served_of(request, release)
    if served.stage == "research":
        raise DataError("a release at the stage research is answered on the page Try it only", "approve it first")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media not in SUFFIXES or body.startswith(PACKED) or not body:
        raise DataError("a batch is one table", "send text/csv")

    def work() -> str:
        digest = service.workspace.store.put(body)
        asked = {"release": served.digest, "name": served.name, "input": digest, "media": media}
        return service.jobs.enqueue("batch", caller.account, {**asked, "account": caller.account})

    job = await service.workers.run(work)
    await service.record(caller, "job", job=job, release=served.digest, name=served.name)
    return JSONResponse({"job": job}, 202, headers={"location": f"/jobs/{job}.json"})


async def enter_plan(request: Request, wanted: PlanToRun) -> Response:
    """Run a plan over a table in the background."""
    service, caller = service_of(request), caller_of(request)

    def work() -> str:
        plan_job.checked(wanted.plan)
        digest = service.workspace.store.put(wanted.data.encode())
        return service.jobs.enqueue("plan", caller.account, {"plan": wanted.plan, "input": digest})

    job = await service.workers.run(work)
    await service.record(caller, "job", job=job)
    return JSONResponse({"job": job}, 202, headers={"location": f"/jobs/{job}.json"})


def mine(request: Request, job: Job) -> Job:
    """The job, where the caller may see it; raises NotThere for somebody else's."""
    session = request.state.session
    if job.account != session.account and "admin" not in session.roles:
        raise NotThere("there is no job of that id", "GET /jobs.json lists yours")
    return job


async def all_jobs(request: Request) -> dict[str, Any]:
    """The caller's jobs, newest first (an administrator sees everybody's)."""
    service, session = service_of(request), request.state.session
    found = await service.workers.run(service.jobs.all)
    seen = [each for each in found if each.account == session.account or "admin" in session.roles]
    return {"jobs": [_shown(each) for each in seen]}


async def one_job(request: Request, job: str) -> dict[str, Any]:
    """One job: state, progress, result or error."""
    service = service_of(request)
    return _shown(mine(request, await service.workers.run(lambda: service.jobs.get(job))))


async def cancel_job(request: Request, job: str) -> dict[str, Any]:
    """Cancel a job; what it had done stays recorded."""
    service = service_of(request)
    mine(request, await service.workers.run(lambda: service.jobs.get(job)))
    made = await service.workers.run(lambda: service.jobs.cancel(job))
    await service.record(caller_of(request), "job_cancelled", job=job)
    return _shown(made)


async def job_result(request: Request, job: str) -> Response:
    """The answers of a batch as CSV."""
    service = service_of(request)
    found = mine(request, await service.workers.run(lambda: service.jobs.get(job)))
    if found.state != "done" or found.result is None or "result" not in found.result:
        raise NotThere("there is no result to fetch", "GET /jobs/ID.json says how far it is")
    digest = str(found.result["result"])
    data = await service.workers.run(lambda: service.workspace.store.get(digest))
    headers = {"content-disposition": f'attachment; filename="answers-{found.id[:12]}.csv"'}
    return Response(data, media_type="text/csv", headers=headers)


def _shown(job: Job) -> dict[str, Any]:
    """A job as JSON, without the text of a plan or digests of what was sent."""
    out = asdict(job)
    arguments = out.pop("arguments")
    return {**out, "release": arguments.get("release"), "name": arguments.get("name")}


def add_job_routes(app: FastAPI) -> None:
    """Put the routes of jobs on the application."""
    table = {"schema": {"type": "string", "format": "binary"}}
    body = {"requestBody": {"content": {"text/csv": table}}}
    app.add_api_route("/jobs/batch", enter_batch, methods=["POST"], status_code=202, openapi_extra=body)
    app.add_api_route("/jobs/plan", enter_plan, methods=["POST"], status_code=202)
    app.add_api_route("/jobs.json", all_jobs, methods=["GET"])
    app.add_api_route("/jobs/{job}.json", one_job, methods=["GET"])
    app.add_api_route("/jobs/{job}/cancel", cancel_job, methods=["POST"])
    app.add_api_route("/jobs/{job}/result.csv", job_result, methods=["GET"])
