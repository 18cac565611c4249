"""The workspace: one private folder, a small config, locks between processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bedside.cohort import Workspace
from bedside.errors import BedsideError


def test_the_home_is_the_argument_else_the_environment_else_dot_bedside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEDSIDE_HOME", raising=False)
    assert Workspace().home == tmp_path / ".bedside"
    monkeypatch.setenv("BEDSIDE_HOME", str(tmp_path / "env"))
    assert Workspace().home == tmp_path / "env"
    assert Workspace(tmp_path / "argument").home == tmp_path / "argument"


def test_everything_lies_in_the_home_with_mode_0700(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    work = Workspace(home)
    names = {"store", "runs", "releases", "keys", "quarantine", "cache"}
    assert {path.name for path in home.iterdir()} == names
    for path in [home, *home.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert work.memo_url == f"sqlite:///{home}/memo.sqlite"
    assert work.ledger_url == f"sqlite:///{home}/ledger.sqlite"
    assert work.jobs_url == f"sqlite:///{home}/jobs.sqlite"
    digest = work.store.put(b"x")
    assert Path(work.store.path_of(digest)).is_relative_to(home / "store")


def test_caches_of_libraries_are_led_into_the_workspace_unless_the_user_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    Workspace(tmp_path)
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "cache" / "numba")
    assert os.environ["MPLCONFIGDIR"] == "/mine"


def test_config_moves_store_memo_and_ledger(tmp_path: Path) -> None:
    text = "store: memory://elsewhere\nmemo: postgresql://db/memo\nledger: postgresql://db/ledger\n"
    (tmp_path / "config.yaml").write_text(text)
    work = Workspace(tmp_path)
    assert work.store.url == "memory://elsewhere"
    assert (work.memo_url, work.ledger_url) == ("postgresql://db/memo", "postgresql://db/ledger")
    (tmp_path / "config.yaml").write_text("store: ../shared-store\n")
    assert Workspace(tmp_path).store.url == str(tmp_path / "../shared-store")
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    assert Workspace(tmp_path).store.url == str(tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stroe: /x\n", "unknown key 'stroe'"),
        ("store: [a]\n", "'store' must be a URL"),
        ("memo:\n", "'memo' must be a URL"),
        ("- store\n", "not a mapping"),
        ("store: [\n", "cannot be read"),
        ("!!python/object/apply:os.getcwd []\n", "cannot be read"),
    ],
)
def test_a_wrong_config_is_refused_by_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(BedsideError, match=says) as error:
        Workspace(tmp_path)
    assert "config.yaml" in error.value.what


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BedsideError, match="cannot be written"):
        Workspace(tmp_path / "file")


HOLDER = """
import sys, time
from bedside.cohort import Workspace
with Workspace(sys.argv[1]).lock("run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_holds_against_other_processes_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    messages: list[str] = []

    def waiting(message: str) -> None:
        messages.append(message)
        holder.send_signal(signal.SIGKILL)

    with work.lock("other", waiting):
        assert messages == []
    with work.lock("run", waiting):
        assert len(messages) == 1 and str(holder.pid) in messages[0] and "'run'" in messages[0]
    holder.wait()


def test_a_lock_holds_against_other_threads(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(50):
            with work.lock("run"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b"])
def test_a_lock_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BedsideError, match="cannot name a lock"), Workspace(tmp_path).lock(name):
        pass
