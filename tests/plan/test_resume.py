"""A fit that is killed leaves its checkpoints for the next attempt; one that ends leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bedside.plan.memo.scratch import resumable_folder, sweep


def test_what_a_killed_process_left_is_found_again(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from bedside.plan.memo.scratch import resumable_folder\n"
        "with resumable_folder(Path(sys.argv[1]), 'work') as folder:\n"
        "    (folder / 'epoch').write_text('7')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "fitting")], env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    sweep(tmp_path / "scratch")  # lies beside it, as in a workspace
    with resumable_folder(tmp_path / "fitting", "work") as folder:
        assert (folder / "epoch").read_text() == "7"
    assert not folder.exists()


def test_a_fit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), resumable_folder(tmp_path, "work") as folder:
        (folder / "epoch").write_text("7")
        raise RuntimeError("no")
    assert not folder.exists()
