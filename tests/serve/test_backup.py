"""The drill: a workspace in use is backed up, lost, restored, and goes on as if nothing had been."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError, IntegrityError
from bedside.evidence.keys import load_or_create_key
from bedside.evidence.ledger import Ledger
from bedside.serve.audit import AuditTrail
from bedside.serve.backup import LISTING, back_up, restore
from bedside.serve.database import Database
from bedside.serve.registry import Registry

ENTRY = {"kind": "predict", "account": "a", "request": "r"}


def trail(workspace: Workspace) -> AuditTrail:
    return AuditTrail(Database(workspace.service_url), load_or_create_key(workspace.keys), b"s" * 32)


def test_what_was_acknowledged_before_the_backup_is_there_after_the_restore(home: Path, tmp_path: Path) -> None:
    workspace = Workspace(home)
    audit = trail(workspace)
    for _ in range(20):
        audit.append([ENTRY]).result(30)
    stop = threading.Event()

    def go_on() -> None:  # the service answers while it is backed up
        while not stop.is_set():
            audit.append([ENTRY]).result(30)

    going = threading.Thread(target=go_on)
    going.start()
    files = back_up(workspace, tmp_path / "backup.tar")
    stop.set()
    going.join()
    audit.close()
    served = Registry(workspace, Database(workspace.service_url), load_or_create_key(workspace.keys)).refresh()
    cohorts = workspace.store.cohorts()
    shutil.rmtree(home)

    assert restore(tmp_path / "backup.tar", tmp_path / "again") == files > 50
    again = Workspace(tmp_path / "again")
    copy = trail(again)
    assert copy.verify()[0] >= 20
    copy.append([ENTRY]).result(30)
    copy.verify()
    copy.close()
    Ledger(again.ledger_url).verify()
    registry = Registry(again, Database(again.service_url), load_or_create_key(again.keys))
    assert set(registry.refresh().served) == set(served.served) and registry.state.refused == ()
    assert again.store.cohorts() == cohorts and all(again.store.get_cohort(each) for each in cohorts)
    assert (again.keys / "local.pem").stat().st_mode & 0o077 == 0


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small workspace's backup."""
    workspace = Workspace(tmp_path / "small")
    load_or_create_key(workspace.keys)
    back_up(workspace, tmp_path / "small.tar")
    return tmp_path / "small.tar"


def changed(archive: Path, name: str, data: bytes, *, leave_out: str = "") -> Path:
    """The archive with one member put in (or replaced), another left out."""
    out = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(out, "w") as new:
        for item in old:
            if item.name not in (name, leave_out):
                new.addfile(item, old.extractfile(item))
        if name:
            item = tarfile.TarInfo(name)
            item.size = len(data)
            new.addfile(item, io.BytesIO(data))
    return out


@pytest.mark.parametrize("name", ["keys/local.pem", "../outside", "/absolute", "keys/extra"])
def test_what_is_not_what_was_backed_up_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError):
        restore(changed(archive, name, b"theirs"), tmp_path / "again")
    assert not (tmp_path / "outside").exists()


def test_what_is_missing_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="1 files are missing"):
        restore(changed(archive, "", b"", leave_out="keys/local.pem"), tmp_path / "again")
    with pytest.raises(IntegrityError, match="no listing"):
        restore(changed(archive, "", b"", leave_out=LISTING), tmp_path / "other")


def test_nothing_is_overwritten(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(BedsideError, match="is not empty"):
        restore(archive, tmp_path / "small")
    with pytest.raises(BedsideError, match="is there already"):
        back_up(Workspace(tmp_path / "small"), archive)
    (tmp_path / "none.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as a backup"):
        restore(tmp_path / "none.tar", tmp_path / "again")


def test_what_lies_elsewhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.yaml").write_text("service: postgresql://db/service\n")
    with pytest.raises(BedsideError, match="service lie outside"):
        back_up(Workspace(tmp_path / "home"), tmp_path / "backup.tar")
