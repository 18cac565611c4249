"""The doctor: every item says what it found and the way out; what is broken on purpose is found."""

from __future__ import annotations

import os
import sqlite3
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bedside.cli import app
from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.cohort.workspace import Workspace
from bedside.evidence.keys import load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.plan import doctor
from bedside.plan.doctor import EXTRAS, Item, healthy, workspace_items
from bedside.plan.memo.memo import Memo


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace in use: a cohort in the store, a remembered action, a key, two entries in the ledger."""
    made = Workspace(tmp_path / "home")
    cohort = Cohort.of({"age": np.arange(50.0)}, [Field("age", "number")])
    made.store.put_cohort(cohort)
    Memo(made.memo_url, made.lock, 1).do("read", "intake", {}, {}, lambda: {"cohort": cohort.digest})
    key = load_or_create_key(made.keys, "local")
    for name in ("first", "second"):
        Ledger(made.ledger_url).append("release", {"release": "0" * 64, "name": name}, key)
    return made


def named(items: list[Item], name: str) -> Item:
    (found,) = [item for item in items if item.name == name]
    return found


def failing(items: list[Item]) -> dict[str, Item]:
    return {item.name: item for item in items if item.result == "fail"}


def test_a_workspace_in_use_is_in_order(workspace: Workspace) -> None:
    items = workspace_items(workspace.home, deep=True)
    assert healthy(items) and all(item.result == "ok" for item in items)
    head = Ledger(workspace.ledger_url).head()
    assert f"length 2, head {head.hash[:12]}" in named(items, "ledger").detail
    assert named(items, "store").detail == "1 cohorts, 2 objects"  # a manifest and a table
    assert named(items, "objects").detail == "2 read, every digest verified"
    assert named(items, "memo").detail == "1 actions carried out"
    assert "local" in named(items, "trusted keys").detail


def test_no_workspace_is_made_by_looking(tmp_path: Path) -> None:
    (item,) = workspace_items(tmp_path / "none")
    assert item.result == "unknown" and "first run" in item.detail
    assert not (tmp_path / "none").exists()


def test_an_open_folder_is_found(workspace: Workspace) -> None:
    workspace.home.chmod(0o755)
    item = failing(workspace_items(workspace.home))["folder"]
    assert "0755" in item.detail and item.way_out == f"chmod 700 {workspace.home}"


def test_a_changed_object_is_found_only_when_looked_at(workspace: Workspace) -> None:
    digest = workspace.store.digests()[0]
    path = Path(workspace.store.path_of(digest))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert f"object {digest[:12]}" in failing(workspace_items(workspace.home, deep=True))


def test_a_changed_ledger_is_found(workspace: Workspace) -> None:
    file = workspace.home / "ledger.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TRIGGER ledger_no_update")
        connection.execute("UPDATE ledger SET body = replace(body, 'first', 'other') WHERE position = 0")
    item = failing(workspace_items(workspace.home))["ledger"]
    assert "entry 0" in item.detail and item.way_out


def test_an_unknown_signer_is_said(workspace: Workspace) -> None:
    (workspace.keys / "trusted" / "local.pub").unlink()
    item = named(workspace_items(workspace.home), "ledger")
    assert item.result == "unknown" and "2 entries by unknown signers" in item.detail


@pytest.mark.parametrize("name", ["memo.sqlite", "ledger.sqlite"])
def test_a_database_that_is_none_is_found(workspace: Workspace, name: str) -> None:
    for suffix in ("-wal", "-shm"):
        (workspace.home / f"{name}{suffix}").unlink(missing_ok=True)
    (workspace.home / name).write_bytes(b"this was a database once " * 400)
    item = failing(workspace_items(workspace.home))[name.removesuffix(".sqlite")]
    assert item.way_out


def test_a_key_that_others_may_read_is_found(workspace: Workspace) -> None:
    (workspace.keys / "local.pem").chmod(0o644)
    assert "chmod 600" in failing(workspace_items(workspace.home))["key local"].way_out


def test_what_a_killed_writer_left_is_removed_and_said(workspace: Workspace) -> None:
    left = workspace.home / "store" / "tmp" / ".writing-0123456789abcdef"
    left.write_bytes(b"half")
    assert "1 left-over files removed" in named(workspace_items(workspace.home), "store").detail
    assert not left.exists()


def test_a_bad_config_is_found(workspace: Workspace) -> None:
    (workspace.home / "config.yaml").write_text("stroe: s3://bucket\n")
    assert "stroe" in failing(workspace_items(workspace.home))["folder"].detail


def test_a_plug_in_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "bedside_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bedside-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bedside.readers]\nbroken = bedside_broken:Reader\n")
    (tmp_path / "bedside_broken.py").write_text("raise RuntimeError('wrong version of something')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.catalogue.cache_clear()
    try:
        item = failing(doctor.plug_ins())["readers: broken"]
    finally:
        monkeypatch.undo()
        plugins.catalogue.cache_clear()
    assert "wrong version of something" in item.detail and "bedside-broken" in item.way_out


def test_every_extra_is_said_with_what_it_is_for() -> None:
    declared = set(metadata("bedside").get_all("Provides-Extra") or [])
    assert declared - {"all", "test"} == set(EXTRAS)
    names = {item.name for item in doctor.installation()}
    assert {f"extra {name}" for name in EXTRAS} <= names and {"Python", "bedside", "polars"} <= names


def test_a_dependency_out_of_its_range_fails() -> None:
    from packaging.requirements import Requirement

    assert doctor._dependency(Requirement("numpy>=2,<1000")).result == "ok"
    old = doctor._dependency(Requirement("numpy<1"))
    assert old.result == "fail" and old.way_out == "pip install 'numpy<1'"
    assert doctor._dependency(Requirement("no-such-package-of-ours>=1")).detail == "not installed"


def test_the_verb_exits_with_1_when_something_fails(workspace: Workspace) -> None:
    runner = CliRunner()
    expected = 0 if healthy(doctor.examine(workspace.home, deep=True)) else 1
    assert runner.invoke(app, ["doctor", "--home", str(workspace.home), "--deep"]).exit_code == expected
    workspace.home.chmod(0o777)
    result = runner.invoke(app, ["doctor", "--home", str(workspace.home)])
    assert result.exit_code == 1 and "✕" in result.stdout and "chmod 700" in result.stdout


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        (item,) = workspace_items(tmp_path / "home")
    finally:
        tmp_path.chmod(0o700)
    assert item.result == "fail" and "read-only" in item.detail
