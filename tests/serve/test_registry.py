"""Only verified releases of trusted signers are served, at the stage in force; who is champion is a signed decision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bedside.cohort.workspace import Workspace
from bedside.errors import DataError
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.plan.release.approve import approve
from bedside.plan.release.opened import open_release
from bedside.plan.release.publish import seal
from bedside.serve.database import Database
from bedside.serve.problems import NotThere
from bedside.serve.registry import TABLE, Registry

WHY = "it was better on last year's patients"


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace(home)


@pytest.fixture
def registry(workspace: Workspace) -> Iterator[Registry]:
    database = Database(workspace.service_url)
    yield Registry(workspace, database, load_or_create_key(workspace.keys))
    database.close()


def folder_of(workspace: Workspace, name: str) -> Path:
    return next(workspace.releases.glob(f"{name}-*"))


def test_what_is_whole_and_trusted_is_served_at_its_stage(registry: Registry) -> None:
    state = registry.refresh()
    assert {name: [each.stage for each in state.of(name)] for name in state.names} == {
        "linear": ["assist"], "trees": ["assist"], "quiet": ["shadow"], "pictures": ["research"]
    }  # fmt: skip
    assert state.refused == () and registry.refresh() is state, "nothing has changed, so nothing was done"


def test_a_changed_file_ends_it_and_the_reason_is_told(registry: Registry, workspace: Workspace) -> None:
    file = folder_of(workspace, "linear") / "task.json"
    file.write_bytes(file.read_bytes().replace(b"high", b"low "))
    state = registry.refresh()
    assert "linear" not in state.names and "trees" in state.names
    assert any("task.json is not what was signed" in each.why for each in state.refused)


def test_a_forged_release_is_not_served(registry: Registry, workspace: Workspace, tmp_path: Path) -> None:
    """Somebody writes a release of their own into the folder, whole and signed, but by their own key."""
    forged = shutil.copytree(folder_of(workspace, "linear"), workspace.releases / "linear-000000000000")
    (forged / "signature.dsse.json").unlink()
    record = json.loads((forged / "release.json").read_text())
    (forged / "release.json").write_text(json.dumps({**record, "stage": "autonomous"}))
    (tmp_path / "theirs" / "trusted").mkdir(parents=True)
    seal(forged, "linear", load_or_create_key(tmp_path / "theirs"))
    state = registry.refresh()
    assert [each.stage for each in state.of("linear")] == ["assist"]
    assert any("is not trusted here" in each.why for each in state.refused)


def test_what_verify_finds_wrong_is_not_served(registry: Registry, workspace: Workspace) -> None:
    """Signed with the right key, every digest right, and yet its numbers do not follow from its rows."""
    folder = folder_of(workspace, "linear")
    (folder / "signature.dsse.json").unlink()
    evidence = (folder / "evidence.json").read_text()
    value = json.loads((folder / "release.json").read_text())["judgements"][0]["estimate"]["value"]
    assert str(value) in evidence
    (folder / "evidence.json").write_text(evidence.replace(str(value), "0.99"))
    seal(folder, "linear", load_or_create_key(workspace.keys))
    with registry.database.begin() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(TABLE)).scalar_one()
    state = registry.refresh()
    assert "linear" not in state.names
    assert any("`bedside verify` finds it wrong" in each.why for each in state.refused)
    with registry.database.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(TABLE)).scalar_one() == before + 1
    assert "linear" not in registry.refresh().names, "and it is remembered"


def test_an_approval_changes_the_stage_and_stays_in_the_history(registry: Registry, workspace: Workspace) -> None:
    before = registry.refresh().find("linear")
    opened = open_release(before.opened.folder, trusted_keys(workspace.keys))
    approve(workspace, opened, stage="shadow", overrides={}, key=load_or_create_key(workspace.keys))
    state = registry.refresh()
    assert state.find("linear").stage == "shadow"
    assert state.find("linear").pipeline is before.pipeline, "it was not loaded again"
    assert [change.kind for change in state.history["linear"]] == ["release", "approve"]


def test_champion_and_rollback_are_entries_of_the_ledger(registry: Registry, workspace: Workspace) -> None:
    state = registry.refresh()
    first = state.find("linear")
    # a second release of the name: the one of trees, renamed, sealed and entered as `bedside run` does
    second = shutil.copytree(folder_of(workspace, "trees"), workspace.releases / "linear-second")
    (second / "signature.dsse.json").unlink()
    record = json.loads((second / "release.json").read_text())
    (second / "release.json").write_text(json.dumps({**record, "name": "linear"}))
    digest = seal(second, "linear", registry.key)
    with registry.database.begin() as connection:
        (version,) = connection.execute(sa.select(TABLE.c.version)).first() or ("",)
        connection.execute(sa.insert(TABLE).values(release=digest, version=version, ok=True))
    body = {"release": digest, "name": "linear", "stage": "assist", "asked": "assist"}
    Ledger(workspace.ledger_url).append("release", body, registry.key)

    assert registry.refresh().find("linear").digest == first.digest, "a new release replaces nothing by itself"
    with pytest.raises(DataError, match="no real reason"):
        registry.set_alias("linear", "champion", digest, account="a", reason="yes")
    with pytest.raises(DataError, match="not served under this name"):
        registry.set_alias("trees", "champion", digest, account="a", reason=WHY)
    state = registry.set_alias("linear", "champion", digest, account="a", reason=WHY)
    assert state.find("linear").digest == digest and state.find(first.digest[:12]).digest == first.digest
    state = registry.set_alias("linear", "challenger", first.digest, account="a", reason=WHY)
    assert state.find("linear@challenger").digest == first.digest
    state = registry.roll_back("linear", account="a", reason=WHY)
    assert state.find("linear").digest == first.digest
    kinds = [(change.kind, change.body.get("alias")) for change in state.history["linear"]]
    assert kinds[-3:] == [("alias", "champion"), ("alias", "challenger"), ("alias", "champion")]


@pytest.mark.parametrize("reference", ["", "nothing", "linear@challenger", "linear@other", "0123456789ab", "lin"])
def test_what_is_not_there_is_said_with_what_is(registry: Registry, reference: str) -> None:
    registry.refresh()
    with pytest.raises(NotThere, match="linear, pictures, quiet, trees"):
        registry.state.find(reference)
