"""Memo and ledger say the same on SQLite and on PostgreSQL: only the URL in config.yaml changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.plan.conftest import PLAN
from tests.postgres import postgres

import bedside
from bedside.cohort.cohort import Cohort
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.plan.memo.memo import Memo
from bedside.plan.release.verify import verify_release


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'a.sqlite'}"
        return
    made = request.getfixturevalue("server")
    yield made
    engine = sa.create_engine(made, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))


def at_once(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def test_the_memo_remembers_forgets_and_does_an_action_once(url: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    calls: list[int] = []

    def work() -> dict[str, str]:
        calls.append(1)
        threading.Event().wait(0.1)
        return {"cohort": "a" * 64}

    def once() -> None:
        Memo(url, workspace.lock, 1).do("read", "intake", {}, {"sources": {"x": "b" * 64}}, work)

    at_once([threading.Thread(target=once) for _ in range(4)])
    memo = Memo(url, workspace.lock, 1)
    assert len(calls) == 1 and len(memo.attempts()) == 1 and memo.attempts()[0]["finished"] is not None
    memo.do("fit", "models", {}, {"cohort": "a" * 64}, lambda: {"pipeline": "c" * 64})
    derived = memo.derived({"a" * 64})
    assert derived.gone == {"a" * 64, "c" * 64} and memo.taint(derived.keys) == 2
    assert memo.get(memo.key("fit", "models", {}, {"cohort": "a" * 64})) is None


def test_the_ledger_is_one_chain_whoever_appends_and_a_changed_entry_breaks_it(url: str, tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "keys", "local")
    failed: list[Exception] = []

    def append(i: int) -> None:
        try:
            Ledger(url).append("note", {"n": i}, key)
        except BedsideError as error:
            failed.append(error)

    at_once([threading.Thread(target=append, args=(i,)) for i in range(8)])
    entries = list(Ledger(url).entries({key.key_id: "local"}))
    assert not failed and [entry.index for entry in entries] == list(range(8))
    assert sorted(entry.body["n"] for entry in entries) == list(range(8)) and all(e.signer.trusted for e in entries)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        if url.startswith("sqlite"):
            connection.execute(sa.text("DROP TRIGGER ledger_no_update"))
        connection.execute(sa.text("UPDATE ledger SET body = replace(body, 'note', 'nota') WHERE position = 3"))
    with pytest.raises(IntegrityError, match="entry 3"):
        list(Ledger(url).entries({}))


def test_a_plan_runs_resumes_and_verifies_in_a_workspace_on_postgresql(
    server: str, admissions: Cohort, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text(f"memo: {server}\nledger: {server}\nstore: objects\n")
    plan = PLAN | {"checks": ["performance"]}
    outcome = bedside.run(plan, admissions, home=home, threads=1)
    again = bedside.run(plan, admissions, home=home, threads=1)
    assert all(done.cached for _, done in again.actions) and again.release == outcome.release is not None
    workspace = Workspace(home)
    told = verify_release(outcome.release, trusted_keys(workspace.keys), Ledger(workspace.ledger_url))
    assert {each.result for each in told.answers} == {"ok"}
    assert (home / "objects").is_dir() and not list(home.glob("*.sqlite"))


def test_a_server_that_is_not_there_is_said_with_the_way_out(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://nobody:secret@/x?host={tmp_path}"
    with pytest.raises(BedsideError) as told:
        Memo(url, Workspace(tmp_path / "home").lock, 1)
    assert "secret" not in str(told.value)
    with pytest.raises(BedsideError) as told:
        Ledger(url).append("note", {}, load_or_create_key(tmp_path / "keys", "local"))
    assert "secret" not in str(told.value)
