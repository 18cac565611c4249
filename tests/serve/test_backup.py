"""Backup and restore: a drill. What is laid down again is the workspace that was, and what was changed is not."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml
from tests.serving import running
from typer.testing import CliRunner

import bedside.cli
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.evidence.ledger import Ledger
from bedside.plan.release.verify import verify_release
from bedside.serve import ServeConfig, create_app
from bedside.serve.audit import checked_rows
from bedside.serve.backup import Backup, back_up, restore
from bedside.serve.backup_keys import read_keys, write_keys
from bedside.serve.database import Database

COHORT = Cohort.of({"age": [71.0, 44.0]}, [Field("age", "number", ("input",))], subject=["MRN-1", "MRN-2"])


@dataclass(frozen=True)
class Taken:
    """A workspace, the backup of it that was taken while it answered, its keys, and the answers given by then."""

    home: Path
    backup: Backup
    keys: Path
    answered: frozenset[int]


@pytest.fixture(scope="module")
def taken(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    import shutil

    place = tmp_path_factory.mktemp("backup")
    home = Path(shutil.copytree(releases, place / "home"))
    workspace, config = Workspace(home), ServeConfig(port=0)
    workspace.store.put_cohort(COHORT)
    (home / "plans" / "7").mkdir(parents=True)
    (home / "plans" / "7" / "plan.yaml").write_text("plan: 1")
    (home / "cache" / "large").write_bytes(b"can be made again")
    answered: list[int] = []
    stop = threading.Event()
    with running(create_app(workspace, config), config) as node, node.caller("clinician") as caller:
        row = node.service.registry.state.find("linear").example
        body = {"release": "linear", "row": {**row, "subject": "MRN-1"}, "explain": False}

        def ask() -> None:
            while not stop.is_set():
                answered.append(caller.post("/predict", json=body).json()["answers"][0]["audit"])

        asking = threading.Thread(target=ask)
        asking.start()
        while len(answered) < 5:
            stop.wait(0.01)
        before = frozenset(answered)
        made = back_up(workspace, place / "backup")
        stop.set()
        asking.join()
    write_keys(workspace, place / "keys.json")
    yield Taken(home, made, place / "keys.json", before)


def copy_of(taken: Taken, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(taken.backup.folder, folder))


def test_the_drill_ledger_trail_store_and_a_release_are_as_they_were(taken: Taken, tmp_path: Path) -> None:
    made = restore(taken.backup.folder, tmp_path / "new", taken.keys, expect=taken.backup.digest[:16])
    workspace = Workspace(tmp_path / "new")
    key = load_or_create_key(workspace.keys)
    ledger = Ledger(workspace.ledger_url)
    assert ledger.verify(made.ledger, trusted_keys(workspace.keys)).unknown_signers == ()
    with closing(Database(workspace.service_url)) as database:
        rows = list(checked_rows(database, key.public))
    assert taken.answered <= {row.index for row in rows if row["kind"] == "predict"}
    assert (made.audit.length, made.audit.hash) == (len(rows), rows[-1].hash)
    assert workspace.store.get_cohort(COHORT.digest).frame.equals(COHORT.frame)
    assert (workspace.home / "plans" / "7" / "plan.yaml").read_text() == "plan: 1", "what a job was given"
    assert list(workspace.cache.iterdir()) == []
    release = next(each for each in sorted(workspace.releases.iterdir()) if each.name.startswith("linear"))
    found = verify_release(release, trusted_keys(workspace.keys), ledger)
    assert found.ok and {each.question for each in found.answers if each.result == "unknown"} == set()
    for secret in ("local.pem", "audit.key"):
        assert (workspace.keys / secret).read_bytes() == (taken.home / "keys" / secret).read_bytes()
    modes = {path.stat().st_mode & 0o077 for path in workspace.home.rglob("*")}
    assert modes == {0}, "nobody else reads any of it"


def test_a_backup_holds_no_secret_key_and_is_for_nobody_else(taken: Taken) -> None:
    files = [path for path in taken.backup.folder.rglob("*") if path.is_file()]
    secrets = [(taken.home / "keys" / name).read_bytes() for name in ("local.pem", "audit.key")]
    assert not any(secret in path.read_bytes() for path in files for secret in secrets)
    assert {path.stat().st_mode & 0o077 for path in taken.backup.folder.rglob("*")} == {0}
    assert taken.keys.stat().st_mode & 0o777 == 0o600
    assert not list(taken.backup.folder.glob("*-wal")), "each database is one file"


@pytest.mark.parametrize("place", ["service.sqlite", "ledger.sqlite", "store/objects", "releases"])
def test_one_changed_byte_anywhere_is_refused_and_nothing_is_left(taken: Taken, tmp_path: Path, place: str) -> None:
    folder = copy_of(taken, tmp_path / "backup")
    victim = next(path for path in sorted([folder / place, *(folder / place).rglob("*")]) if path.is_file())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(IntegrityError, match="changed or damaged"):
        restore(folder, tmp_path / "new", taken.keys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup"]


def rewritten(folder: Path, statement: str) -> None:
    """Change the audit trail, and the manifest to go with it."""
    import hashlib

    with closing(sqlite3.connect(folder / "service.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()
    told = json.loads((folder / "backup.json").read_bytes())
    told["files"]["service.sqlite"] = hashlib.sha256((folder / "service.sqlite").read_bytes()).hexdigest()
    (folder / "backup.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET body = replace(body, 'predict', 'predicT') WHERE position = 1",
        "DELETE FROM audit WHERE position = (SELECT max(position) FROM audit)",
        "DELETE FROM audit",
    ],
)
def test_a_trail_rewritten_with_its_digests_still_breaks_its_chain(
    taken: Taken, tmp_path: Path, statement: str
) -> None:
    folder = copy_of(taken, tmp_path / "backup")
    rewritten(folder, statement)
    with pytest.raises(IntegrityError):
        restore(folder, tmp_path / "new", taken.keys)
    with pytest.raises(IntegrityError, match="another was expected"):
        restore(folder, tmp_path / "new", taken.keys, expect=taken.backup.digest)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "keys/local.pem", "config.yaml", "releases/../../x", ".x/y", "."]
)
def test_a_manifest_writes_nowhere_but_into_the_workspace(taken: Taken, tmp_path: Path, name: str) -> None:
    folder = copy_of(taken, tmp_path / "backup")
    told = json.loads((folder / "backup.json").read_bytes())
    told["files"][name] = "0" * 64
    (folder / "backup.json").write_text(json.dumps(told))
    with pytest.raises(IntegrityError, match="belongs to no workspace"):
        restore(folder, tmp_path / "new", taken.keys)


def test_a_backup_cut_short_is_none(taken: Taken, tmp_path: Path) -> None:
    folder = copy_of(taken, tmp_path / "backup")
    (folder / "backup.json").unlink()
    with pytest.raises(BedsideError, match="no whole backup"):
        restore(folder, tmp_path / "new", taken.keys)


def test_what_is_there_is_never_written_over(taken: Taken, tmp_path: Path) -> None:
    with pytest.raises(BedsideError, match="holds something already"):
        restore(taken.backup.folder, taken.home, taken.keys)
    with pytest.raises(BedsideError, match="holds something already"):
        back_up(Workspace(taken.home), taken.backup.folder)
    with pytest.raises(BedsideError, match="inside the workspace"):
        back_up(Workspace(taken.home), taken.home / "backup")
    with pytest.raises(BedsideError, match="is there already"):
        write_keys(Workspace(taken.home), taken.keys)


def test_keys_open_by_their_passphrase_alone_and_only_their_own_workspace(taken: Taken, tmp_path: Path) -> None:
    sealed = tmp_path / "sealed.json"
    write_keys(Workspace(taken.home), sealed, "correct horse battery")
    assert b"PRIVATE" not in sealed.read_bytes() and b"UFJJVkFUR" not in sealed.read_bytes()
    assert read_keys(sealed, "correct horse battery") == read_keys(taken.keys)
    with pytest.raises(BedsideError, match="does not open"):
        read_keys(sealed, "wrong horse battery")
    with pytest.raises(BedsideError, match="is sealed"):
        read_keys(sealed)
    write_keys(Workspace(tmp_path / "other"), tmp_path / "other.json")
    with pytest.raises(BedsideError, match="not those of the workspace"):
        restore(taken.backup.folder, tmp_path / "new", tmp_path / "other.json")
    taken_open = tmp_path / "open.json"
    taken_open.write_bytes(taken.keys.read_bytes())
    taken_open.chmod(0o644)
    with pytest.raises(BedsideError, match="can be read by others"):
        read_keys(taken_open)


def test_what_lies_on_a_server_is_named_and_its_url_restored_without_a_password_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    url = "postgresql://bedside:hunter22@db.example/bedside"
    (home / "config.yaml").write_text(yaml.safe_dump({"service": url, "store": "elsewhere"}))
    workspace = Workspace(home)
    workspace.store.put_cohort(COHORT)
    write_keys(workspace, tmp_path / "keys.json")
    made = back_up(workspace, tmp_path / "backup")
    assert set(made.outside) == {"service"} and "hunter22" not in made.outside["service"]
    restore(made.folder, tmp_path / "new", tmp_path / "keys.json")
    again = Workspace(tmp_path / "new")
    assert again.service_url == url
    assert again.store.get_cohort(COHORT.digest).frame.equals(COHORT.frame), "a local store comes home"


def test_a_damaged_object_is_named_and_the_rest_is_saved(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    whole = workspace.store.put(b"whole")
    broken = workspace.store.put(b"broken")
    Path(workspace.store.path_of(broken)).write_bytes(b"brokem")
    made = back_up(workspace, tmp_path / "backup")
    assert f"store/objects/{whole[:2]}/{whole}" in made.files and made.damaged == (broken,)
    assert not any(broken in name for name in made.files)


def test_both_verbs_say_what_they_did(taken: Taken, tmp_path: Path) -> None:
    run = CliRunner()
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    workspace = Workspace(tmp_path / "home")
    workspace.store.put_cohort(COHORT)
    more = ["--keys", str(tmp_path / "keys"), "--passphrase-file", str(tmp_path / "passphrase")]
    made = run.invoke(bedside.cli.app, ["backup", str(tmp_path / "to"), "--home", str(workspace.home), *more])
    assert made.exit_code == 0 and "digest" in made.output
    back = run.invoke(bedside.cli.app, ["restore", str(tmp_path / "to"), "--home", str(tmp_path / "new"), *more])
    assert back.exit_code == 0, back.output
    assert Workspace(tmp_path / "new").store.get_cohort(COHORT.digest).frame.equals(COHORT.frame)


def test_a_damaged_backup_says_so(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "backup.json").write_text(pl.DataFrame({"a": [1]}).write_json())
    with pytest.raises(IntegrityError, match="not a backup's manifest"):
        restore(tmp_path / "backup", tmp_path / "new", tmp_path / "keys")
