"""Routes of accounts: signing in with a password, and what an administrator may change."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from bedside.errors import DataError
from bedside.serve.access import set_cookie
from bedside.serve.accounts import LONGEST
from bedside.serve.problems import problem
from bedside.serve.routes import caller_of, service_of
from bedside.serve.service import Caller
from bedside.serve.sessions import LOCAL_ACCOUNT


class Credentials(BaseModel):
    """A name and its password."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64)
    password: str = Field(max_length=LONGEST)


class NewAccount(Credentials):
    """An account to be added."""

    roles: list[str] = Field(max_length=10)


class AccountChange(BaseModel):
    """What is to change of an account."""

    model_config = ConfigDict(extra="forbid")
    password: str | None = Field(None, max_length=LONGEST)
    roles: list[str] | None = Field(None, max_length=10)
    enabled: bool | None = None


class PasswordChange(BaseModel):
    """One's own password, old and new."""

    model_config = ConfigDict(extra="forbid")
    old: str = Field(max_length=LONGEST)
    new: str = Field(max_length=LONGEST)


class Label(BaseModel):
    """What a token is for."""

    model_config = ConfigDict(extra="forbid")
    label: str = Field(max_length=100)


def address_of(request: Request) -> str:
    """The caller's network address, for slowing guesses only."""
    return request.client.host if request.client is not None else ""


async def login(request: Request, given: Credentials) -> Response:
    """Sign in with name and password."""
    service = service_of(request)
    address = address_of(request)
    account = await service.workers.run(lambda: service.accounts.check(given.name, given.password, address))
    if account is None:
        await service.record(Caller("nobody", request.state.request), "sign_in_refused")
        return problem(401, "name or password is wrong", "ask an administrator for a new password")
    cookie, session = service.sessions.open(account.name, account.roles)
    await service.record(Caller(account.name, request.state.request), "sign_in")
    response = JSONResponse({"account": account.name, "csrf": session.csrf})
    config = service.config
    set_cookie(response, cookie, secure=config.secure, seconds=3600 * config.session_hours)
    return response


async def password(request: Request, given: PasswordChange) -> dict[str, Any]:
    """Change one's own password; every other session of the account ends."""
    service, caller = service_of(request), caller_of(request)
    if caller.account == LOCAL_ACCOUNT:
        raise DataError("the start token's session has no password", "add an account")
    address = address_of(request)

    def work() -> bool:
        if service.accounts.check(caller.account, given.old, address) is None:
            return False
        service.accounts.change(caller.account, password=given.new)
        service.sessions.end_all(caller.account)
        return True

    if not await service.workers.run(work):
        raise DataError("the old password is wrong", "type it again")
    await service.record(caller, "password")
    return {"changed": True}


async def accounts(request: Request) -> dict[str, Any]:
    """Every account with its roles."""
    service = service_of(request)
    found = await service.workers.run(service.accounts.all)
    return {"accounts": [{"name": a.name, "roles": sorted(a.roles), "enabled": a.enabled} for a in found]}


async def add_account(request: Request, wanted: NewAccount) -> dict[str, Any]:
    """Add an account."""
    service = service_of(request)
    made = await service.workers.run(lambda: service.accounts.add(wanted.name, wanted.password, wanted.roles))
    await service.record(caller_of(request), "account_added", of=made.name, roles=sorted(made.roles))
    return {"name": made.name, "roles": sorted(made.roles)}


async def change_account(request: Request, name: str, change: AccountChange) -> dict[str, Any]:
    """Change an account; its sessions end."""
    service = service_of(request)

    def work() -> Any:
        made = service.accounts.change(name, password=change.password, roles=change.roles, enabled=change.enabled)
        service.sessions.end_all(name)
        return made

    made = await service.workers.run(work)
    said = {"roles": sorted(made.roles), "enabled": made.enabled, "new_password": change.password is not None}
    await service.record(caller_of(request), "account_changed", of=name, **said)
    return {"name": made.name, "roles": sorted(made.roles), "enabled": made.enabled}


async def issue_token(request: Request, name: str, wanted: Label) -> dict[str, Any]:
    """A bearer token for a program, shown this once."""
    service = service_of(request)
    token = await service.workers.run(lambda: service.accounts.issue_token(name, wanted.label))
    await service.record(caller_of(request), "token_issued", of=name, label=wanted.label)
    return {"token": token}


def add_account_routes(app: FastAPI) -> None:
    """Put the routes of accounts on the application."""
    for method, path, endpoint in (
        ("POST", "/login", login),
        ("POST", "/password", password),
        ("GET", "/accounts.json", accounts),
        ("POST", "/accounts", add_account),
        ("POST", "/accounts/{name}", change_account),
        ("POST", "/accounts/{name}/token", issue_token),
    ):
        app.add_api_route(path, endpoint, methods=[method])
