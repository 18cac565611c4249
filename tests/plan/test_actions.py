"""Actions of plug-ins: what they may name, what they leave, and when they are done again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plan.conftest import PLAN, forget_plugins

import bedside
from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.plan.file import parse_plan
from bedside.plan.memo.provenance import room_digest

READING = '''
from bedside.evidence.estimate import Estimate, Evidence


class Reading:
    """Counts the lines of a file beside the plan, and leaves nothing."""

    name, tasks, metrics, paths, main = "reading", ("classify",), ("n_rows",), ("file",), "file"

    def __init__(self, file):
        self.file = file

    def __call__(self, predictions, cohort, **_):
        lines = len(open(self.file, encoding="utf-8").readlines())
        return Evidence("whatever", (Estimate("rows_counted", lines, n_rows=len(cohort), exact=True, part="other"),))
'''


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    info = tmp_path / "packages" / "reading-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reading\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bedside.actions]\nreading = bedside_reading_of_test:Reading\n")
    (info.parent / "bedside_reading_of_test.py").write_text(READING)
    monkeypatch.syspath_prepend(str(info.parent))
    forget_plugins()
    yield
    monkeypatch.undo()
    forget_plugins()


@pytest.mark.usefixtures("reading")
def test_a_file_that_an_action_names_lies_beside_the_plan_and_its_content_counts(
    admissions: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = {**PLAN, "checks": ["performance"], "actions": [{"reading": "sub/list.txt"}]}

    def lines() -> tuple[float | None, bool]:
        outcome = bedside.run(plan, admissions, home=tmp_path / "home", threads=1)
        (found,) = outcome.evidence[-1].estimates
        (done,) = [done for name, done in outcome.actions if name == "action reading"]
        assert outcome.evidence[-1].check == "reading"
        said = parse_plan((outcome.report.parent / "plan.yaml").read_text())[0]
        assert said.actions == [{"name": "reading", "file": "list.txt"}], "no folder's name"
        return found.value, done.cached

    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match=r"list\.txt"):
        lines()
    file = tmp_path / "sub" / "list.txt"
    file.write_text("a\nb\n")
    assert lines() == (2.0, False)
    assert lines() == (2.0, True)
    file.write_text("a\nb\nc\n")
    assert lines() == (3.0, False)


def test_the_room_that_an_action_of_a_higher_floor_lies_in_counts_in_what_is_remembered() -> None:
    below, other, higher = (room_digest(name) for name in ("bedside.models.task", "some.package", "bedside.cli.app"))
    assert below == other != higher, "rooms up to plan, and other packages, count in any case"
