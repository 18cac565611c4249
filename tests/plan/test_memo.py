"""The memo is the only truth of "done"."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.plan.api import run
from bedside.plan.memo.memo import Memo
from bedside.plan.memo.provenance import versions


@contextmanager
def no_lock(_name: str) -> Iterator[None]:
    yield


def memo_at(path: Path, threads: int = 1) -> Memo:
    return Memo(f"sqlite:///{path / 'memo.sqlite'}", no_lock, threads)


def test_an_action_is_done_once_and_remembered(tmp_path: Path) -> None:
    calls = []

    def work() -> dict[str, int]:
        calls.append(1)
        return {"answer": 42}

    for _ in range(3):
        done = memo_at(tmp_path).do("fit", "models", {"a": 1}, {"cohort": "x"}, work)
        assert done.output == {"answer": 42}
    assert len(calls) == 1 and done.cached


@pytest.mark.parametrize("change", ["action", "parameters", "inputs", "layer", "threads"])
def test_anything_the_result_depends_on_makes_another_key(tmp_path: Path, change: str) -> None:
    base = memo_at(tmp_path).key("fit", "models", {"a": 1}, {"cohort": "x"})
    other = memo_at(tmp_path, threads=2 if change == "threads" else 1).key(
        "predict" if change == "action" else "fit",
        "checks" if change == "layer" else "models",
        {"a": 2 if change == "parameters" else 1},
        {"cohort": "y" if change == "inputs" else "x"},
    )
    assert other != base


def test_a_failed_action_is_not_remembered(tmp_path: Path) -> None:
    memo = memo_at(tmp_path)
    with pytest.raises(RuntimeError):
        memo.do("fit", "models", {}, {}, lambda: (_ for _ in ()).throw(RuntimeError("no")))
    assert memo.get(memo.key("fit", "models", {}, {})) is None
    assert [attempt["finished"] for attempt in memo.attempts()] == [None]
    assert memo.do("fit", "models", {}, {}, lambda: {"ok": 1}).output == {"ok": 1}


def test_two_at_once_do_it_once(tmp_path: Path) -> None:
    from bedside.cohort.workspace import Workspace

    workspace = Workspace(tmp_path / "home")
    calls, seen = [], []

    def work() -> dict[str, int]:
        calls.append(1)
        threading.Event().wait(0.2)
        return {"n": len(calls)}

    def one() -> None:
        memo = Memo(workspace.memo_url, workspace.lock, 1)
        seen.append(memo.do("fit", "models", {}, {}, work).output)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and seen == [{"n": 1}] * 4


def test_what_rests_on_an_erased_digest_is_forgotten(tmp_path: Path) -> None:
    memo = memo_at(tmp_path)
    memo.do("read", "intake", {"n": 1}, {}, lambda: {"cohort": "a" * 64})
    memo.do("read", "intake", {"n": 2}, {}, lambda: {"cohort": "b" * 64})
    derived = memo.derived({"a" * 64})
    assert memo.taint(derived.keys) == 1 and derived.gone == {"a" * 64} and derived.live == {"b" * 64}
    assert memo.get(memo.key("read", "intake", {"n": 1}, {})) is None
    assert memo.get(memo.key("read", "intake", {"n": 2}, {})) == {"cohort": "b" * 64}


def test_what_was_derived_through_other_actions_is_found_and_what_others_share_stays(tmp_path: Path) -> None:
    memo = memo_at(tmp_path)
    one, two, shared = "a" * 64, "b" * 64, "c" * 64

    def follow(cohort: str, model: str) -> None:
        memo.do("fit", "models", {}, {"cohort": cohort}, lambda: {"pipeline": model, "evidence": shared})
        memo.do("predict", "models", {}, {"pipeline": model}, lambda: {"predictions": {"bytes": model}})

    follow(one, "1" * 64)
    follow(two, "2" * 64)
    memo.do("pool", "models", {}, {"pieces": ["1" * 64]}, lambda: {"folder": shared})
    memo.do("other", "models", {}, {}, lambda: {"folder": shared})
    derived = memo.derived({one})
    assert len(derived.keys) == 3 and derived.gone == {"1" * 64} and shared in derived.live


def test_another_python_makes_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = memo_at(tmp_path).key("fit", "models", {}, {})
    assert versions()["python"] == platform.python_version()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    versions.cache_clear()
    try:
        assert memo_at(tmp_path).key("fit", "models", {}, {}) != before
    finally:
        versions.cache_clear()


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes between the digest and the reading: what was read is not what the digest names."""
    from bedside.intake.tables import Tables

    rows = [f"{i},{40 + i % 50},{int(i % 3 == 0)}" for i in range(300)]
    file = tmp_path / "study.csv"
    file.write_text("\n".join(["id,age,died", *rows]))
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "plan: 1\nname: moving\ncohort: {path: study.csv, row_id: id}\ntask: {classify: died}\nmodel: majority\n"
    )
    real, late = Tables.read, []

    def read(self: Tables, path: Path | str) -> Cohort:
        late.append(1)
        with file.open("a") as more:
            more.write("\n999,50,1")
        return real(self, path)

    monkeypatch.setattr(Tables, "read", read)
    with pytest.raises(DataError, match=r"study\.csv changed while it was being read"):
        run(plan, home=tmp_path / "home", threads=1)
    monkeypatch.undo()
    outcome = run(plan, home=tmp_path / "home", threads=1)
    assert outcome.facts["rows_read"] == 301 and not dict(outcome.actions)["read"].cached
