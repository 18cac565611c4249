"""Everything the service keeps in SQLite it keeps in PostgreSQL too: the same story on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.postgres import postgres
from tests.serving import running

from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.serve import ServeConfig, create_app
from bedside.serve.audit import AuditTrail
from bedside.serve.database import METADATA, Database

PASSWORD = " ".join(["correct", "horse", "battery"])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.sqlite'}"
    found: str = request.getfixturevalue("server")
    database = Database(found)
    METADATA.drop_all(database.engine)
    database.close()
    return found


def test_answers_accounts_sessions_and_feedback_live_through_a_restart(
    releases: Path, tmp_path: Path, url: str
) -> None:
    home = Path(shutil.copytree(releases, tmp_path / "home"))
    (home / "config.yaml").write_text(f"service: {url}\n")
    config = ServeConfig(port=0)
    with running(create_app(Workspace(home), config), config) as node:
        node.service.accounts.add("ada", PASSWORD, ["clinician"])
        cookie, session = node.service.sessions.open("ada", ["clinician"])
        headers = {"cookie": f"bedside={cookie}", "x-csrf-token": session.csrf}
        row = node.service.registry.state.find("linear").example
        asked = httpx.post(f"{node.address}/predict", json={"release": "linear", "row": row}, headers=headers)
        position = asked.json()["answers"][0]["audit"]
        said = {"verdict": "correct", "reason": "seen at the bedside", "correction": "true", "row": row}
        path = f"{node.address}/answers/{position}/feedback"
        assert httpx.post(path, json=said, headers=headers).status_code == 200
    with running(create_app(Workspace(home), config), config) as node:
        assert httpx.get(f"{node.address}/releases", headers=headers).status_code == 200, "the session is still open"
        assert node.service.accounts.check("ada", PASSWORD, "192.0.2.1") is not None
        digest = node.service.registry.state.find("linear").digest
        assert len(node.service.feedback.corrections(digest)) == 1
        kinds = [row["kind"] for row in node.service.audit.rows()]
        assert kinds[-2:] == ["predict", "feedback"]


def test_two_writers_share_one_chain(tmp_path: Path, url: str) -> None:
    (tmp_path / "keys" / "trusted").mkdir(parents=True)
    key = load_or_create_key(tmp_path / "keys")
    first, second = (AuditTrail(Database(url), key, b"s" * 32) for _ in range(2))
    before = first.verify()[0]
    entry = {"kind": "predict", "account": "a", "request": "r"}
    waiting = [each.append([entry]) for _ in range(30) for each in (first, second)]
    assert sorted(each.result(60)[0] for each in waiting) == list(range(before, before + 60))
    assert first.verify()[0] == before + 60
    first.close()
    second.close()
