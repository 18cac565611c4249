"""The service's routes: sign-in, health, releases, predictions, audit. Who may use which stands in `access.TABLE`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from bedside.errors import DataError
from bedside.evidence.gates import STAGES
from bedside.plan.release.approve import approve
from bedside.serve.access import set_cookie
from bedside.serve.problems import NotThere, problem
from bedside.serve.reading import Asked, from_file, from_rows
from bedside.serve.served import Served
from bedside.serve.service import Caller, Purpose, Service

FILES = ("report.html", "card.md", "input.schema.json", "example.json", "release.json", "evidence.json")
MEDIA = {"html": "text/html", "md": "text/plain", "json": "application/json"}
# A report is one signed page with its own style and script; it runs apart from our pages, with no cookie and no origin.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
JSON_BODY = "application/json"


class Rows(BaseModel):
    """A question in JSON: one `row` or several `rows` of fields (see the release's input.schema.json)."""

    model_config = ConfigDict(extra="forbid")
    release: str | None = Field(None, max_length=200, description="A name, name@challenger, or a digest.")
    row: dict[str, Any] | None = None
    rows: list[dict[str, Any]] | None = Field(None, min_length=1)
    explain: bool = True


class StageChange(BaseModel):
    """A release signed to a stage; each override names a gate and says why."""

    model_config = ConfigDict(extra="forbid")
    stage: str = Field(max_length=20)
    overrides: dict[str, str] = {}


class Promotion(BaseModel):
    """Which release of a name is to be champion, and why."""

    model_config = ConfigDict(extra="forbid")
    release: str = Field(max_length=64)
    reason: str = Field(max_length=2000)


class Reason(BaseModel):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=2000)


class Token(BaseModel):
    """The start token that `bedside serve` printed."""

    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=200)


def service_of(request: Request) -> Service:
    """The service behind a request."""
    found: Service = request.app.state.service
    return found


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return Caller(request.state.session.account, request.state.request)


def served_of(request: Request, reference: str) -> Served:
    """The release that a caller names; raises NotThere."""
    return service_of(request).registry.state.find(reference)


async def health() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "ok"}


async def ready(request: Request) -> Response:
    """Whether the releases are loaded, so that questions can be sent."""
    done = service_of(request).ready
    return JSONResponse({"status": "ready" if done else "starting"}, 200 if done else 503)


async def start(request: Request, token: Token) -> Response:
    """Exchange the start token, once, for a session."""
    service = service_of(request)
    opened = service.sessions.start(token.token)
    if opened is None:
        await service.record(Caller("nobody", request.state.request), "sign_in_refused")
        return problem(401, "this token opens nothing", "it opens once; start `bedside serve` again for another")
    cookie, session = opened
    await service.record(Caller(session.account, request.state.request), "sign_in")
    response = JSONResponse({"account": session.account, "csrf": session.csrf})
    config = service.config
    set_cookie(response, cookie, secure=config.secure, seconds=3600 * config.session_hours)
    return response


async def leave(request: Request) -> Response:
    """Sign out."""
    service = service_of(request)
    await service.record(caller_of(request), "sign_out")
    service.sessions.end(request.state.session)
    return JSONResponse({"signed_out": True})


async def metrics(request: Request) -> Response:
    """Prometheus metrics; no label names anybody."""
    service = service_of(request)
    service.metrics.inside.set(service.workers.inside)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI document."""
    app: FastAPI = request.app
    return app.openapi()


async def releases(request: Request) -> dict[str, Any]:
    """What is served, under which name and stage, and what is not, with the reason."""
    state = service_of(request).registry.state
    names = {}
    for name in state.names:
        champion, challenger = state.champion(name), state.challenger(name)
        names[name] = {
            "champion": None if champion is None else champion.digest,
            "challenger": None if challenger is None else challenger.digest,
            "releases": [{"digest": each.digest, "stage": each.stage} for each in state.of(name)],
        }
    refused = [{"folder": each.name, "why": each.why, "way_out": each.way_out} for each in state.refused]
    return {"names": names, "refused": refused}


async def release(request: Request, digest: str) -> dict[str, Any]:
    """One release: stage, signer, gates with their verdicts, what it takes, and its history."""
    served = served_of(request, digest)
    history = service_of(request).registry.state.history.get(served.name, ())
    return {
        "name": served.name,
        "digest": served.digest,
        "stage": served.stage,
        "signer": {"name": served.opened.signer.name, "key": served.opened.signer.key_id},
        "task": served.task.to_json(),
        "judgements": served.opened.record["judgements"],
        "input": served.input_schema,
        "example": served.example,
        "history": [
            {"kind": each.kind, "time": each.time, "signer": each.signer, "trusted": each.trusted, **each.body}
            for each in history
            if each.release == served.digest
        ],
    }


async def release_file(request: Request, digest: str, file: str) -> Response:
    """A file of a release that people read: report, card, schema, example, evidence."""
    served = served_of(request, digest)
    if file not in FILES:
        raise NotThere("a release shows no such file", "one of " + ", ".join(FILES))
    headers = {"content-security-policy": REPORT_POLICY} if file.endswith(".html") else {}
    return Response(served.opened.read(file), media_type=MEDIA[file.rpartition(".")[2]], headers=headers)


async def set_stage(request: Request, digest: str, change: StageChange) -> dict[str, Any]:
    """Sign a release to a stage; an override carries its reason and shows for ever."""
    service, caller, served = service_of(request), caller_of(request), served_of(request, digest)
    if change.stage not in STAGES:
        raise DataError(f"no stage is called '{change.stage[:20]}'", "one of " + ", ".join(STAGES))
    overrides = {gate: f"{why} ({caller.account})" for gate, why in change.overrides.items()}

    def work() -> None:
        approve(service.workspace, served.opened, stage=change.stage, overrides=overrides, key=service.key)  # type: ignore[arg-type]
        service.registry.refresh()

    await service.workers.run(work)
    await service.record(caller, "stage", release=served.digest, stage=change.stage, overrides=overrides)
    return {"digest": served.digest, "stage": change.stage}


async def promote(request: Request, name: str, wanted: Promotion) -> dict[str, Any]:
    """Make a release the champion of its name."""
    service, caller = service_of(request), caller_of(request)
    await service.workers.run(
        lambda: service.registry.set_alias(
            name, "champion", wanted.release, account=caller.account, reason=wanted.reason
        )
    )
    await service.record(caller, "champion", release=wanted.release, name=name, reason=wanted.reason)
    return {"name": name, "champion": wanted.release}


async def roll_back(request: Request, name: str, why: Reason) -> dict[str, Any]:
    """Make the champion before this one champion again."""
    service, caller = service_of(request), caller_of(request)
    state = await service.workers.run(
        lambda: service.registry.roll_back(name, account=caller.account, reason=why.reason)
    )
    champion = state.champion(name)
    digest = "" if champion is None else champion.digest
    await service.record(caller, "rollback", release=digest, name=name, reason=why.reason)
    return {"name": name, "champion": digest}


async def predict(
    request: Request,
    release: Annotated[str | None, Query(max_length=200, description="For a file: name, alias or digest.")] = None,
    explain: bool = True,
    subject: Annotated[str | None, Query(max_length=200, description="For one image: who it is of.")] = None,
) -> dict[str, Any]:
    """Answer rows in JSON, a table (text/csv), or an image (its own type): by a name's champion, or a digest."""
    return await answer(request, release, purpose="predict", explain=explain, subject=subject)


async def try_it(request: Request, digest: str, explain: bool = True) -> dict[str, Any]:
    """The same for the page Try it, where releases at the stage research are answered too, watermarked."""
    return await answer(request, digest, purpose="try", explain=explain, subject=None)


async def answer(
    request: Request, reference: str | None, *, purpose: Purpose, explain: bool, subject: str | None
) -> dict[str, Any]:
    """Read the body by its type and answer it."""
    service = service_of(request)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "multipart/form-data":
        media, body, fields = await _form(request)
        reference = reference or fields.get("release")
        subject = subject or fields.get("subject")
    else:
        body = await request.body()
    question = Rows.model_validate(_json(body)) if media == JSON_BODY else None
    reference = reference or (question.release if question is not None else None)
    if reference is None:
        raise DataError("no release is named", 'say which: "release": "NAME" (GET /releases lists them)')
    served = served_of(request, reference)
    limits = service.config.limits

    def read() -> Asked:
        if question is None:
            return from_file(served, body, media, limits, service.scratch, subject)
        rows = question.rows if question.rows is not None else [question.row]
        if (question.row is not None and question.rows is not None) or rows == [None]:
            raise DataError("a question has either `row` or `rows`", "see the release's example.json")
        return from_rows(served, [row for row in rows if row is not None], limits)

    wanted = explain and (question is None or question.explain)
    return await service.answer(caller_of(request), served, read, purpose=purpose, explained=wanted)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise DataError("the body is not JSON", 'send {"release": "NAME", "row": {…}}') from None


async def _form(request: Request) -> tuple[str, bytes, Mapping[str, str]]:
    """The one file of a form and its other fields; held in memory, whose limit is that of the body."""
    from starlette.formparsers import MultiPartException, MultiPartParser

    limits = service_of(request).config.limits
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=20, max_part_size=limits.body)
    parser.spool_max_size = limits.body + 1
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError):
        raise DataError("the form cannot be read", "send one file in the field `file`") from None
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    if len(files) != 1:
        raise DataError("a form holds one file", "send it in the field `file`")
    media = (files[0].content_type or "").partition(";")[0].strip().lower()
    return media, await files[0].read(), {key: value for key, value in form.multi_items() if isinstance(value, str)}


async def audit(
    request: Request,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """The newest rows of the audit trail (below position `before`)."""
    service = service_of(request)
    rows = await service.workers.run(lambda: service.audit.page(before=before, limit=limit))
    return {"rows": [{**row.body, "hash": row.hash} for row in rows]}


def add_routes(app: FastAPI) -> None:
    """Put every route of the service on the application."""
    for method, path, endpoint in (
        ("GET", "/health", health),
        ("GET", "/ready", ready),
        ("POST", "/start", start),
        ("POST", "/leave", leave),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", openapi),
        ("GET", "/releases", releases),
        ("GET", "/releases/{digest}", release),
        ("GET", "/releases/{digest}/{file}", release_file),
        ("POST", "/releases/{digest}/stage", set_stage),
        ("POST", "/models/{name}/champion", promote),
        ("POST", "/models/{name}/rollback", roll_back),
        ("POST", "/try/{digest}", try_it),
        ("GET", "/audit.json", audit),
    ):
        app.add_api_route(path, endpoint, methods=[method])
    row = {"schema": Rows.model_json_schema()}
    binary = {"schema": {"type": "string", "format": "binary"}}
    body = {JSON_BODY: row, "text/csv": binary, "image/png": binary}
    app.add_api_route("/predict", predict, methods=["POST"], openapi_extra={"requestBody": {"content": body}})
