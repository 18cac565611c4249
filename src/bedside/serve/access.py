"""Access, in one place: the table of roles by route, and the middleware that holds every request to it.

A request passes, in this order: the Host it asks for is ours; its route is open or its session is valid; one of the
account's roles is marked in the table; and if it changes something, it comes from our own pages (Origin) with the
session's token (a program's bearer token needs none). Anything that is not in the table is refused, and an application
with such a route does not start.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bedside.errors import BedsideError
from bedside.serve.problems import problem

if TYPE_CHECKING:
    from bedside.serve.accounts import Accounts
    from bedside.serve.sessions import Session, Sessions

ROLES = ("viewer", "clinician", "scientist", "approver", "admin")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE, SECURE_COOKIE = "bedside", "__Host-bedside"
CSRF_HEADER = "x-csrf-token"
START = "/start"

# Everything a browser may do with our answers; a route that needs more says so in its own response.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "cache-control": "no-store",
}

# The routes of the service itself; pages add theirs in the same form (`web.pages`).
TABLE = """
route                                     viewer  clinician  scientist  approver  admin
GET    /health                            open
GET    /ready                             open
POST   /start                             open
POST   /login                             open
POST   /leave                             x       x          x          x         x
POST   /password                          x       x          x          x         x
GET    /accounts.json                     .       .          .          .         x
POST   /accounts                          .       .          .          .         x
POST   /accounts/{name}                   .       .          .          .         x
POST   /accounts/{name}/token             .       .          .          .         x
GET    /metrics                           .       .          .          .         x
GET    /openapi.json                      x       x          x          x         x
GET    /releases                          x       x          x          x         x
GET    /releases/{digest}                 x       x          x          x         x
GET    /releases/{digest}/{file}          x       x          x          x         x
GET    /releases/{digest}/drift.json      .       .          x          x         x
POST   /releases/{digest}/stage           .       .          .          x         .
POST   /answers/{position}/feedback       .       x          x          .         .
GET    /releases/{digest}/feedback.json   .       .          x          x         .
POST   /releases/{digest}/corrections     .       .          x          .         .
POST   /models/{name}/champion            .       .          .          x         .
POST   /models/{name}/rollback            .       .          .          x         .
POST   /predict                           .       x          x          .         .
POST   /try/{digest}                      .       x          x          .         .
GET    /v2                                x       x          x          x         x
GET    /v2/health/live                    open
GET    /v2/health/ready                   open
GET    /v2/models/{model}                 x       x          x          x         x
GET    /v2/models/{model}/ready           x       x          x          x         x
POST   /v2/models/{model}/infer           .       x          x          .         .
GET    /v2/models/{model}/versions/{version}           x  x  x          x         x
GET    /v2/models/{model}/versions/{version}/ready     x  x  x          x         x
POST   /v2/models/{model}/versions/{version}/infer     .  x  x          .         .
POST   /jobs/batch                        .       x          x          .         .
POST   /jobs/plan                         .       .          x          .         .
GET    /jobs.json                         .       x          x          .         x
GET    /jobs/{job}.json                   .       x          x          .         x
POST   /jobs/{job}/cancel                 .       x          x          .         x
GET    /jobs/{job}/result.csv             .       x          x          .         x
GET    /audit.json                        .       .          .          x         x
GET    /audit.csv                         .       .          .          x         x
"""


@dataclass(frozen=True)
class Permission:
    """Who may use a route: `roles`, or anybody where it is open."""

    roles: frozenset[str]
    open: bool = False


def parse(table: str) -> dict[tuple[str, str], Permission]:
    """The permissions of a table by (method, route); raises ValueError for a line that is not like the others."""
    head, *lines = [line.split() for line in table.strip().splitlines() if line.strip()]
    if head != ["route", *ROLES]:
        raise ValueError(f"the first line is 'route {' '.join(ROLES)}'")
    out: dict[tuple[str, str], Permission] = {}
    for method, route, *marks in lines:
        if (method, route) in out:
            raise ValueError(f"{method} {route} stands twice in the table")
        if marks == ["open"]:
            out[method, route] = Permission(frozenset(), open=True)
            continue
        if len(marks) != len(ROLES) or not set(marks) <= {"x", "."}:
            raise ValueError(f"{method} {route}: one x or . for each role")
        out[method, route] = Permission(frozenset(r for r, mark in zip(ROLES, marks, strict=True) if mark == "x"))
    return out


def check_complete(routes: Iterable[Any], permissions: Mapping[tuple[str, str], Permission]) -> None:
    """Raise BedsideError for a route without declared roles, or a declared one that does not exist."""
    there = {(method, route.path) for route in routes for method in _methods(route)}
    undeclared, unused = there - set(permissions), set(permissions) - there
    if undeclared:
        told = ", ".join(" ".join(each) for each in sorted(undeclared))
        raise BedsideError(f"routes without declared roles: {told}", "add them to the table of roles")
    if unused:
        told = ", ".join(" ".join(each) for each in sorted(unused))
        raise BedsideError(f"the table of roles names routes that do not exist: {told}", "remove them")


def _methods(route: Any) -> set[str]:
    if not isinstance(route, Route):
        raise BedsideError(f"{route!r} is no plain route, so nobody can say who may use it", "add each route by itself")
    return set(route.methods or ()) - {"HEAD"}


class Guard:
    """The middleware. `names` are the hosts it is called by; `secure` marks cookies for TLS only.

    What passes finds its session in `scope["state"]["session"]` (None on open routes without one).
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: list[Any],
        permissions: Mapping[tuple[str, str], Permission],
        sessions: Sessions,
        accounts: Accounts,
        names: frozenset[str],
        secure: bool,
    ) -> None:
        self.app, self.routes, self.permissions = app, routes, permissions
        self.sessions, self.accounts, self.names, self.secure = sessions, accounts, names, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise BedsideError("only HTTP is spoken here")
        refused = self._refusal(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self.secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        await (self.app if refused is None else refused)(scope, receive, answer)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        session = self._session(headers)
        scope.setdefault("state", {})["session"] = session
        if _name_of(headers.get("host", "")) not in self.names:
            return problem(421, "this service is not called by that name", "use the address it printed, or --name")
        permission = self._permission(scope)
        if permission is not None and permission.open:
            return self._foreign(scope, headers)
        if session is None:
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                return RedirectResponse(START, 303)
            return problem(401, "nobody is signed in", f"open {START} with the token that `bedside serve` printed")
        if permission is None:
            return problem(404, "there is nothing here")
        if not permission.roles & session.roles:
            return problem(403, "your roles do not include this", "ask who administers this service")
        if scope["method"] in SAFE:
            return None
        if "authorization" in headers:
            return None  # no browser sends a bearer token by itself, so no other site's page can
        given = headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode(), session.csrf.encode()):
            return problem(403, f"the request does not carry the session's token ({CSRF_HEADER})", "reload the page")
        return self._foreign(scope, headers)

    def _foreign(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of a request that changes something and was sent by another site's page."""
        if scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        ours = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        if not ours or site not in ("same-origin", "none"):
            return problem(403, "the request comes from another site")
        return None

    def _session(self, headers: Headers) -> Session | None:
        if "authorization" in headers:
            kind, _, token = headers["authorization"].partition(" ")
            return self.accounts.of_token(token.strip()) if kind.lower() == "bearer" else None
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return None
        found = jar.get(self.cookie)
        return None if found is None else self.sessions.find(found.value)

    @property
    def cookie(self) -> str:
        """The cookie's name; over TLS one that no other host can set."""
        return SECURE_COOKIE if self.secure else COOKIE

    def _permission(self, scope: Scope) -> Permission | None:
        for route in self.routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                return self.permissions.get((method, route.path))
        return None


def _name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def set_cookie(response: Response, value: str, *, secure: bool, seconds: float) -> None:
    """Put a session's secret into the answer: not for scripts, not for other sites, over TLS where there is any."""
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        value,
        max_age=int(seconds),
        path="/",
        httponly=True,
        secure=secure,
        samesite="strict",
    )
