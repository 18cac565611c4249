"""Problems: how an error is told to a caller. Nothing that a caller sent is repeated but names of fields."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from bedside.errors import BedsideError, DataError, IntegrityError, PlanError


class NotThere(DataError):
    """What is asked for by name is not there."""


class NotRecorded(BedsideError):
    """The audit row could not be written, so nothing is answered."""


class Busy(Exception):
    """Too many requests wait already; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("busy")


class TooMany(Exception):
    """Too many wrong guesses; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("too many")


class Late(Exception):
    """The answer took longer than is waited for."""


def problem(status: int, what: str, way_out: str = "", **headers: str) -> JSONResponse:
    """An error as JSON: what is wrong, and the way out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"what": what, "way_out": way_out}}, status, headers=named)


def status_of(error: BedsideError) -> int:
    """404 what is not there, 422 what does not fit, 503 what could not be recorded, 500 what is damaged here, 409 what
    the rules do not let happen."""
    if isinstance(error, NotThere):
        return 404
    if isinstance(error, DataError | PlanError):
        return 422
    if isinstance(error, NotRecorded):
        return 503
    return 500 if isinstance(error, IntegrityError) else 409


def misfit(errors: Any) -> str:
    """Where a body does not fit, and how, without what stood there."""
    told = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in list(errors)[:5])
    return "the request does not fit: " + "; ".join(told)
