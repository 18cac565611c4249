"""Who may do what: the table of roles is held for every route, and nothing is reached without signing in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tests.serving import Node, running

from bedside import serve, web
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError
from bedside.serve.access import ROLES, parse
from bedside.serve.config import ServeConfig


@pytest.fixture(scope="module")
def pages(releases: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The service with its pages, over an empty workspace: who may use a route does not depend on what it finds."""
    config = ServeConfig(port=0, hosts=("bedside.example",))
    with running(web.create_app(Workspace(tmp_path_factory.mktemp("pages") / "home"), config), config) as found:
        yield found


def path_of(route: str) -> str:
    """An address of a route."""
    values = {"file": "page.js", "name": "nothing", "position": "0"}
    return re.sub(r"\{(\w+)\}", lambda part: values.get(part[1], "0" * 64), route)


def every(node: Node) -> list[tuple[str, str]]:
    return sorted(node.app.state.permissions)


def test_every_route_answers_every_role_as_the_table_says(pages: Node) -> None:
    permissions = pages.app.state.permissions
    assert len(permissions) > 20
    for role in ROLES:
        with pages.caller(role) as caller:
            for method, route in every(pages):
                if route in ("/leave", "/start", "/login"):
                    continue
                status = caller.request(method, path_of(route), json={}).status_code
                permission = permissions[method, route]
                allowed = permission.open or role in permission.roles
                assert (status != 403) == allowed, f"{role} {method} {route}: {status}"
                assert status not in (401, 500)


def test_without_a_session_only_open_routes_answer(pages: Node) -> None:
    opened = set()
    with httpx.Client(base_url=pages.address) as stranger:
        for method, route in every(pages):
            status = stranger.request(method, path_of(route), json={"token": "wrong"}).status_code
            if pages.app.state.permissions[method, route].open:
                opened.add((method, route))
            else:
                assert status == 401, f"{method} {route}: {status}"
        assert stranger.get("/no/such/thing").status_code == 401, "what there is is not told either"
        asked = stranger.get("/models", headers={"accept": "text/html"})
        assert asked.status_code == 303 and asked.headers["location"] == "/start"
    assert opened == {
        ("GET", "/health"), ("GET", "/ready"), ("POST", "/start"), ("POST", "/login"), ("GET", "/start"),
        ("GET", "/start/{file}"), ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"),
    }  # fmt: skip


def test_the_start_token_opens_one_session_once(pages: Node) -> None:
    token = {"token": pages.service.sessions.start_token}
    with httpx.Client(base_url=pages.address) as first:
        assert first.post("/start", json={"token": "guess"}).status_code == 401
        opened = first.post("/start", json=token)
        assert opened.status_code == 200
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
        assert first.get("/models").status_code == 200
        assert httpx.post(f"{pages.address}/start", json=token).status_code == 401, "a replayed token"
        csrf = opened.json()["csrf"]
        assert first.post("/leave", headers={"x-csrf-token": csrf}).status_code == 200
        assert first.get("/models").status_code == 401


def test_a_session_lives_through_a_restart_and_its_secret_is_not_stored(releases: Path, tmp_path: Path) -> None:
    config = ServeConfig(port=0)
    home = tmp_path / "home"
    with running(serve.create_app(Workspace(home), config), config) as node:
        cookie, _ = node.service.sessions.open("somebody", ["viewer"])
    assert cookie.encode() not in (home / "service.sqlite").read_bytes()
    with running(serve.create_app(Workspace(home), config), config) as node:
        assert httpx.get(f"{node.address}/releases", headers={"cookie": f"bedside={cookie}"}).status_code == 200


def test_what_changes_something_carries_the_token_and_comes_from_our_pages(pages: Node) -> None:
    with pages.caller("approver", "clinician") as caller:
        path = "/models/nothing/rollback"
        body = {"reason": "long enough to be one"}
        assert caller.post(path, json=body).status_code == 422
        assert caller.post(path, json=body, headers={"x-csrf-token": "guess"}).status_code == 403
        assert caller.post(path, json=body, headers={"origin": "https://evil.example"}).status_code == 403
        assert caller.post(path, json=body, headers={"origin": "null"}).status_code == 403
        assert caller.post(path, json=body, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert caller.post(path, json=body, headers={"origin": pages.address}).status_code == 422
    sign_in = httpx.post(f"{pages.address}/start", json={"token": "x"}, headers={"origin": "https://evil.example"})
    assert sign_in.status_code == 403


@pytest.mark.parametrize(("host", "status"), [("evil.example", 421), ("127.0.0.1:80", 200), ("bedside.example", 200)])
def test_only_names_that_are_ours_are_answered(pages: Node, host: str, status: int) -> None:
    assert httpx.get(f"{pages.address}/health", headers={"host": host}).status_code == status


def test_every_answer_carries_the_policies(pages: Node) -> None:
    with pages.caller("viewer") as caller:
        for path in ("/models", "/static/page.js", "/health", "/nothing"):
            headers = caller.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert caller.get("/models").headers["cache-control"] == "no-store"


def test_the_openapi_document_is_whole(pages: Node) -> None:
    with pages.caller("viewer") as caller:
        document = caller.get("/openapi.json").json()
    assert {"/predict", "/jobs/batch", "/answers/{position}/feedback"} <= set(document["paths"])
    assert "/today" not in document["paths"], "pages are for people"
    for name in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in document["components"]["schemas"], name
    question = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"release", "row", "rows", "explain"} == set(question["properties"])


def test_static_names_are_names_and_not_paths(pages: Node) -> None:
    with pages.caller("viewer") as caller:
        for name in ("..%2f..%2fapp.py", "%2e%2e%2fapp.py", "..%5capp.py", "app.py", "zh.json", "page.js%00.css"):
            assert caller.get(f"/static/{name}").status_code == 404
    assert httpx.get(f"{pages.address}/start/try.js").status_code == 404, "only what the start page needs"


def test_a_route_without_declared_roles_stops_the_start(tmp_path: Path) -> None:
    async def forgotten() -> str:
        return "open to all"

    def add(app: FastAPI) -> None:
        app.add_api_route("/forgotten", forgotten)

    with pytest.raises(BedsideError, match="without declared roles: GET /forgotten"):
        serve.create_app(Workspace(tmp_path / "a"), ServeConfig(), add=add)
    table = "route viewer clinician scientist approver admin\nGET /missing x x x x x"
    with pytest.raises(BedsideError, match="do not exist: GET /missing"):
        serve.create_app(Workspace(tmp_path / "b"), ServeConfig(), table=table)


@pytest.mark.parametrize("line", ["GET /a x x x x", "GET /a x x x x yes", "GET /a open x"])
def test_a_line_of_the_table_that_is_off_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="one x or"):
        parse(f"route viewer clinician scientist approver admin\n{line}")


def test_beyond_loopback_something_must_encrypt() -> None:
    with pytest.raises(BedsideError, match="nothing would be encrypted"):
        ServeConfig(host="0.0.0.0")  # noqa: S104
    assert ServeConfig(host="0.0.0.0", behind_proxy=True).secure  # noqa: S104
