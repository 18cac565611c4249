"""What the README shows works: its Python block is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bedside.synth.admissions import simulate

README = Path(__file__).resolve().parents[2] / "README.md"


def test_both_readmes_name_the_same_commands_and_pages() -> None:
    english, chinese = (
        README.read_text(encoding="utf-8"),
        README.with_name("README.zh-CN.md").read_text(encoding="utf-8"),
    )
    for pattern in (r"^(bedside \w+)", r"^(make \w+)", r"\((docs/[\w.]+|CONTRIBUTING\.md)\)"):
        assert re.findall(pattern, english, re.M) == re.findall(pattern, chinese, re.M)


def test_every_page_it_names_is_there() -> None:
    for page in re.findall(r"\]\(((?:docs/)?[\w.-]+\.md)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / page).is_file(), page


def test_the_python_block_runs(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    table = simulate(2500, seed=4).frame.drop("row_id").rename({"subject": "patient_id", "died_in_hospital": "died"})
    table.write_csv(tmp_path / "admissions.csv")
    (tmp_path / "block.py").write_text(
        block + "\nassert '<iframe' in outcome._repr_html_()\nprint(outcome.decision.stage)\n"
    )
    done = subprocess.run([sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("research", "shadow", "assist")
