"""The pages of the first room: start, Try it, Models and releases, Audit."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bedside.serve import routes
from bedside.serve.access import ROLES
from bedside.serve.problems import Busy, NotThere
from bedside.serve.routes import service_of
from bedside.web import form, overview
from bedside.web.render import MEDIA, environment, page, shown_pages, static_files
from bedside.web.words import language_of

START_FILES = ("style.css", "start.js", "page.js")
AUDIT_PAGE = 50
SHOWN_FIRST = ("autonomous", "assist", "research", "shadow")


async def home(request: Request) -> Response:
    """The first page: what came in, what needs a person, what drifts."""
    return RedirectResponse("/today", 303)


async def today(request: Request) -> Response:
    """The last 24 hours at a glance."""
    service, session = service_of(request), request.state.session
    everybody = bool(session.roles & {"scientist", "approver", "admin"})
    found = await service.workers.run(lambda: overview.today(service, session.account, everybody=everybody))
    may_try = bool(request.app.state.permissions["GET", "/try/{digest}"].roles & session.roles)
    return page(request, "today.html.j2", day=found, may_try=may_try)


async def map_(request: Request) -> Response:
    """The layers of the system as boxes: what runs in each, and where its evidence stands."""
    service = service_of(request)
    found = await service.workers.run(lambda: overview.layers(service))
    return page(request, "map.html.j2", layers=found, pages_open={path for _, path, _ in shown_pages(request)})


async def start(request: Request) -> Response:
    """Where the start token is exchanged; the token stands behind # in the address, which no log sees."""
    service = service_of(request)
    return page(request, "start.html.j2", accounts=await service.workers.run(service.accounts.all))


async def start_file(file: str) -> Response:
    """What the start page loads, which is all that is given out before signing in."""
    if file not in START_FILES:
        raise NotThere("there is no such file")
    return _file(file)


async def static(file: str) -> Response:
    """A file that the pages load."""
    return _file(file)


def _file(name: str) -> Response:
    data = static_files().get(name)
    if data is None:
        raise NotThere("there is no such file")
    media = MEDIA[name.rpartition(".")[2]]
    return Response(data, media_type=media, headers={"cache-control": "private, max-age=31536000, immutable"})


async def try_first(request: Request) -> Response:
    """Try it with the first release there is."""
    state = service_of(request).registry.state
    champions = [found for name in state.names if (found := state.champion(name)) is not None]
    if not champions:
        return page(request, "try_none.html.j2", refused=state.refused)
    first = min(champions, key=lambda each: SHOWN_FIRST.index(each.stage))
    return RedirectResponse(f"/try/{first.digest}", 303)


async def try_page(request: Request, digest: str) -> Response:
    """Try it: fill the fields or drop an image, and see what a release answers."""
    service = service_of(request)
    served = service.registry.state.find(digest)
    state = service.registry.state
    everything = [(name, each) for name in state.names for each in state.of(name)]
    asked, others = form.fields_of(served)
    champions = {each.digest for name in state.names if (each := state.champion(name)) is not None}
    return page(
        request,
        "try.html.j2",
        served=served,
        releases=everything,
        champions=champions,
        asked=asked,
        others=others,
        image=served.image_field,
        example=form.example_of(served),
    )


async def try_answer(request: Request, digest: str) -> Response:
    """The answer as a piece of the page."""
    began = time.perf_counter()
    found = await routes.answer(request, digest, purpose="try", explain=True, subject=None)
    served = service_of(request).registry.state.find(digest)
    template = environment(language_of(request)).get_template("answer.html.j2")
    seconds = time.perf_counter() - began
    view = {"answer": found["answers"][0], "release": found["release"], "served": served, "seconds": seconds}
    return HTMLResponse(template.render(view))


async def models(request: Request) -> Response:
    """Everything that is served, and what is not, with the reason."""
    state = service_of(request).registry.state
    return page(request, "models.html.j2", state=state)


async def model(request: Request, name: str) -> Response:
    """One name: its releases with stage and gates, who is champion, and what was decided when and by whom."""
    state = service_of(request).registry.state
    if name not in state.names:
        raise NotThere("nothing is served under that name", "/models lists what is")
    may_try = bool(request.app.state.permissions["GET", "/try/{digest}"].roles & request.state.session.roles)
    releases = state.of(name)[::-1]
    return page(request, "model.html.j2", name=name, state=state, releases=releases, may_try=may_try)


async def audit(request: Request, before: Annotated[int | None, Query(ge=0, le=2**53)] = None) -> Response:
    """The audit trail, newest first."""
    service = service_of(request)
    rows = await service.workers.run(lambda: service.audit.page(before=before, limit=AUDIT_PAGE))
    older = rows[-1].index if len(rows) == AUDIT_PAGE and rows[-1].index > 0 else None
    return page(request, "audit.html.j2", rows=rows, older=older, before=before)


async def jobs(request: Request) -> Response:
    """Batches and plans: what waits, runs and is done."""
    service, session = service_of(request), request.state.session
    try:
        found = await service.workers.run(service.jobs.all)
    except Busy:  # the worker has not made the database yet
        found = []
    seen = [each for each in found if each.account == session.account or "admin" in session.roles]
    names = [name for name in service.registry.state.names if service.registry.state.find(name).stage != "research"]
    return page(request, "jobs.html.j2", jobs=seen, names=names, working=service.config.worker)


async def accounts(request: Request) -> Response:
    """Who may sign in, as what."""
    service = service_of(request)
    return page(request, "accounts.html.j2", accounts=await service.workers.run(service.accounts.all), roles=ROLES)


def add_pages(app: FastAPI) -> None:
    """Put the pages on the application."""
    for method, path, endpoint in (
        ("GET", "/", home),
        ("GET", "/start", start),
        ("GET", "/start/{file}", start_file),
        ("GET", "/static/{file}", static),
        ("GET", "/try", try_first),
        ("GET", "/try/{digest}", try_page),
        ("POST", "/try/{digest}/answer", try_answer),
        ("GET", "/models", models),
        ("GET", "/models/{name}", model),
        ("GET", "/today", today),
        ("GET", "/map", map_),
        ("GET", "/jobs", jobs),
        ("GET", "/audit", audit),
        ("GET", "/accounts", accounts),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)
