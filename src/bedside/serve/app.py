"""The application: routes behind the guard, limits and telemetry, and errors that name the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bedside import __version__
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError
from bedside.serve import access
from bedside.serve.access import Guard, check_complete, parse
from bedside.serve.account_routes import add_account_routes
from bedside.serve.config import ServeConfig
from bedside.serve.export import audit_csv
from bedside.serve.feedback_routes import add_feedback_routes
from bedside.serve.job_routes import add_job_routes
from bedside.serve.limits import BodyLimit
from bedside.serve.monitor.route import drift
from bedside.serve.oip import add_inference_routes
from bedside.serve.problems import Busy, Late, TooMany, misfit, problem, status_of
from bedside.serve.routes import add_routes
from bedside.serve.service import Service
from bedside.serve.telemetry import Telemetry

Add = Callable[[FastAPI], None]


def create_app(
    workspace: Workspace, config: ServeConfig, *, add: Add | None = None, table: str | None = None
) -> FastAPI:
    """The application on a workspace. `add` puts further routes on it, whose roles `table` declares.

    Raises BedsideError for a route without declared roles, or a declared route that is not there.
    """
    service = Service(workspace, config)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="Bedside", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.service = service
    add_account_routes(app)
    add_job_routes(app)
    add_inference_routes(app)
    add_feedback_routes(app)  # before the files of a release, whose route would take its name
    app.add_api_route("/releases/{digest}/drift.json", drift, methods=["GET"])
    add_routes(app)
    app.add_api_route("/audit.csv", audit_csv, methods=["GET"])
    if add is not None:
        add(app)
    permissions = parse(access.TABLE) | (parse(table) if table is not None else {})
    check_complete(app.router.routes, permissions)
    _add_errors(app)
    app.add_middleware(BodyLimit, limits=config.limits)
    app.add_middleware(
        Guard,
        routes=app.router.routes,
        permissions=permissions,
        sessions=service.sessions,
        accounts=service.accounts,
        names=config.names,
        secure=config.secure,
    )
    app.add_middleware(Telemetry, routes=app.router.routes, metrics=service.metrics)
    app.state.permissions = permissions
    return app


def _add_errors(app: FastAPI) -> None:
    """Every error as JSON with its way out."""

    @app.exception_handler(BedsideError)
    async def known(_request: Request, error: BedsideError) -> Response:
        return problem(status_of(error), error.what, error.way_out)

    @app.exception_handler(Busy)
    async def busy(_request: Request, error: Busy) -> Response:
        return problem(429, "too many questions wait already", "ask again later", retry_after=str(error.retry_after))

    @app.exception_handler(TooMany)
    async def guessing(_request: Request, error: TooMany) -> Response:
        return problem(429, "too many wrong passwords", "wait, then try again", retry_after=str(error.retry_after))

    @app.exception_handler(Late)
    async def late(_request: Request, _error: Late) -> Response:
        return problem(503, "the answer took too long and was given up", "send fewer rows", retry_after="5")

    @app.exception_handler(RequestValidationError)
    async def unfit(_request: Request, error: RequestValidationError) -> Response:
        return problem(422, misfit(error.errors()), "see /openapi.json")

    @app.exception_handler(ValidationError)
    async def unfit_body(_request: Request, error: ValidationError) -> Response:
        return problem(422, misfit(error.errors()), "see /openapi.json")

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, error.detail)

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> Response:
        return problem(500, "something went wrong here", "the log names the place under this request's id")
