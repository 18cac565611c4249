"""Verbs on plans: run, demo, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import Home, Seed, Threads, app, open_workspace


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="A plan file (YAML); `bedside init DATA` writes one.")],
    home: Home = None,
    threads: Threads = None,
) -> None:
    """Carry out a plan: read, clean, split, fit, predict, check, gate, release. What is done is not done again.

    Exit code 0: the stage asked was reached. 3: it was not, and the reasons are printed. 2: the plan or data is wrong.
    """
    from bedside.cli.terminal import Screen, show_outcome
    from bedside.plan.api import run as carry_out

    with Screen() as screen:
        outcome = carry_out(plan, home=home, threads=threads, progress=screen.action)
    show_outcome(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def demo(
    home: Home = None,
    threads: Threads = None,
    images: Annotated[
        bool, typer.Option("--images", help="Simulated chest radiographs: a shortcut that is caught, and none.")
    ] = False,
) -> None:
    """Three plans, three answers: evidence that suffices, a leak that is refused, and not enough evidence.

    With --images one plan, two answers: a network that reads a marker instead of the chest, and one that cannot.
    """
    from bedside.cli.terminal import Screen, show_demo
    from bedside.plan.demo import demo as carry_out
    from bedside.plan.demo import demo_images

    with Screen() as screen:
        chosen = demo_images if images else carry_out
        shown = chosen(open_workspace(home), threads=threads, progress=screen.action)
    show_demo(shown)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run or of a release.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; .html or .json.", show_default=False)] = None,
    home: Home = None,
) -> None:
    """Render the report of a run or release again, with overrides signed since, as a page or as JSON."""
    from bedside.evidence.keys import trusted_keys
    from bedside.plan.render_again import render_again

    print(f"report   {render_again(folder, out, trusted_keys(open_workspace(home).keys))}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run or a release.")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    seed: Seed = 0,
) -> None:
    """Two runs or releases side by side: plans, estimates, verdicts; paired where both were judged on the same rows."""
    from bedside.cli.terminal import show_comparison
    from bedside.plan.compare import compare as compare_two

    show_comparison(compare_two(a, b, seed=seed))
