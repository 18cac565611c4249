"""How long `bedside --help` and a run that finds everything done take, as whole processes.

The peer of `--help` is what no program can beat: an interpreter that starts and imports typer. The peer of the re-run
is the same plan's first run. Median of several whole processes each, one after the other.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bedside.plan.demo import admissions

RUNS = 7


def seconds(command: list[str], runs: int = RUNS, expect: tuple[int, ...] = (0,)) -> float:
    """Median wall seconds of a command."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        taken.append(time.perf_counter() - start)
        if done.returncode not in expect:
            sys.exit(done.stdout + done.stderr)
    return statistics.median(taken)


def main() -> None:
    python = sys.executable
    bare = seconds([python, "-c", "import typer"])
    ours = seconds([python, "-m", "bedside", "--help"])
    with tempfile.TemporaryDirectory() as folder:
        plan = admissions(Path(folder) / "admissions", leak=False)
        command = [python, "-m", "bedside", "run", str(plan), "--home", str(Path(folder) / "home")]
        first = seconds(command, runs=1, expect=(0, 3))
        again = seconds(command, expect=(0, 3))
    print("| work | ours | peer | ratio | aim |")
    print("|---|---|---|---|---|")
    ratio = f"1/{first / again:.0f}"
    print(f"| `bedside --help` | {ours:.2f} s | {bare:.2f} s (python, `import typer`) | {ours / bare:.2f} | < 0.3 s |")
    print(f"| re-run of a finished plan, 24 000 rows | {again:.2f} s | {first:.1f} s (first run) | {ratio} | < 2 s |")


if __name__ == "__main__":
    main()
