"""Local accounts: passwords, roles, guessing, tokens of programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.serving import Node, running

from bedside import serve
from bedside.cohort.workspace import Workspace
from bedside.errors import DataError
from bedside.serve import ServeConfig
from bedside.serve.problems import TooMany

PASSWORD = " ".join(["correct", "horse", "battery"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    config = ServeConfig(port=0)
    with running(serve.create_app(Workspace(tmp_path_factory.mktemp("accounts")), config), config) as found:
        yield found


@pytest.fixture
def ada(node: Node, request: pytest.FixtureRequest) -> str:
    """An account of the test's own; its name."""
    name = f"ada-{abs(hash(request.node.name)) % 10**8}"
    node.service.accounts.add(name, PASSWORD, ["viewer"])
    return name


def login(node: Node, name: str, password: str = PASSWORD) -> httpx.Response:
    node.service.accounts._slow.forget("address 127.0.0.1")  # the tests share an address
    return httpx.post(f"{node.address}/login", json={"name": name, "password": password})


def test_a_password_opens_a_session_with_the_accounts_roles_and_no_more(node: Node, ada: str) -> None:
    opened = login(node, ada)
    cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
    assert httpx.get(f"{node.address}/releases", headers=cookie).status_code == 200
    assert httpx.get(f"{node.address}/audit.json", headers=cookie).status_code == 403
    assert login(node, ada, "wrong horse battery").status_code == 401
    assert login(node, "nobody-of-that-name").status_code == 401


def test_a_password_is_kept_as_argon2id_alone(node: Node, ada: str) -> None:
    kept = b"".join(file.read_bytes() for file in node.service.workspace.home.glob("service.sqlite*"))
    assert b"$argon2id$" in kept and PASSWORD.encode() not in kept


def test_changing_roles_ends_the_sessions_and_disabling_shuts_everything(node: Node, ada: str) -> None:
    cookie = {"cookie": login(node, ada).headers["set-cookie"].partition(";")[0]}
    token = node.service.accounts.issue_token(ada, "monitor")
    bearer = {"authorization": f"Bearer {token}"}
    with node.caller("admin") as admin:
        assert admin.post(f"/accounts/{ada}", json={"roles": ["admin"]}).json()["roles"] == ["admin"]
        assert httpx.get(f"{node.address}/releases", headers=cookie).status_code == 401
        assert httpx.get(f"{node.address}/metrics", headers=bearer).status_code == 200, "a token has the roles of now"
        assert admin.post(f"/accounts/{ada}", json={"enabled": False}).status_code == 200
        assert httpx.get(f"{node.address}/metrics", headers=bearer).status_code == 401
        assert login(node, ada).status_code == 401
        kinds = [row["kind"] for row in admin.get("/audit.json").json()["rows"]]
    assert kinds.count("account_changed") >= 2


def test_a_bearer_token_needs_no_csrf_and_a_wrong_one_opens_nothing(node: Node, ada: str) -> None:
    node.service.accounts.change(ada, roles=["approver"])
    token = node.service.accounts.issue_token(ada, "ci")
    path, body = f"{node.address}/models/nothing/rollback", {"reason": "long enough to be one"}
    assert httpx.post(path, json=body, headers={"authorization": f"Bearer {token}"}).status_code == 422
    for wrong in (f"Bearer {token}x", token, "Basic " + token, "Bearer "):
        assert httpx.post(path, json=body, headers={"authorization": wrong.strip()}).status_code == 401
    cookie = f"bedside={node.service.sessions.open('somebody', ['approver'])[0]}"
    mixed = {"authorization": "Bearer wrong", "cookie": cookie}
    assert httpx.post(path, json=body, headers=mixed).status_code == 401, "a header cannot take the cookie's CSRF away"


def test_one_changes_ones_own_password_knowing_the_old(node: Node, ada: str) -> None:
    opened = login(node, ada)
    headers = {"cookie": opened.headers["set-cookie"].partition(";")[0], "x-csrf-token": opened.json()["csrf"]}
    path = f"{node.address}/password"
    wrong = httpx.post(path, json={"old": "not the old one", "new": "another long one"}, headers=headers)
    assert wrong.status_code == 422
    assert httpx.post(path, json={"old": PASSWORD, "new": "another long one"}, headers=headers).status_code == 200
    assert httpx.get(f"{node.address}/releases", headers=headers).status_code == 401, "every session ends"
    assert login(node, ada).status_code == 401 and login(node, ada, "another long one").status_code == 200


def test_guessing_is_slowed_for_the_name_and_for_the_address(node: Node, ada: str) -> None:
    accounts = node.service.accounts
    for _ in range(5):
        assert accounts.check(ada, "a wrong password", "192.0.2.1") is None
    with pytest.raises(TooMany) as wait:
        accounts.check(ada, PASSWORD, "192.0.2.2")
    assert wait.value.retry_after >= 1
    with pytest.raises(TooMany):
        accounts.check("another", PASSWORD, "192.0.2.1")
    refused = httpx.post(f"{node.address}/login", json={"name": ada, "password": PASSWORD})
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("name", "password", "roles"),
    [
        ("Upper", PASSWORD, ["viewer"]),
        ("local", PASSWORD, ["viewer"]),
        ("../x", PASSWORD, ["viewer"]),
        ("a", "short", ["viewer"]),
        ("a", "x" * 201, ["viewer"]),
        ("a", PASSWORD, []),
        ("a", PASSWORD, ["root"]),
    ],
)
def test_what_is_no_account_is_refused(node: Node, name: str, password: str, roles: list[str]) -> None:
    with pytest.raises(DataError):
        node.service.accounts.add(name, password, roles)


def test_a_name_is_taken_once(node: Node, ada: str) -> None:
    with node.caller("admin") as admin:
        again = admin.post("/accounts", json={"name": ada, "password": PASSWORD, "roles": ["viewer"]})
        assert again.status_code == 422 and "is there already" in again.json()["error"]["what"]
        assert admin.post("/accounts/nobody", json={"enabled": True}).status_code == 404


def test_expired_sessions_open_nothing(tmp_path: Path) -> None:
    config = ServeConfig(port=0, session_hours=-1)
    with running(serve.create_app(Workspace(tmp_path), config), config) as node, node.caller("viewer") as caller:
        assert caller.get("/releases").status_code == 401
