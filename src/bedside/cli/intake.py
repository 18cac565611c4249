"""Verbs on data that comes in: intake, deidentify."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import Home, app, open_workspace


@app.command()
def intake(
    source: Annotated[Path, typer.Argument(help="A folder, ZIP, DICOMDIR, table or file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the cohort: its store, card and evidence.")],
    reader: Annotated[
        str | None, typer.Option(help="Which reader (default: by what is there).", show_default=False)
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(help="How it is to be read, e.g. repair=[tilt] or series=thin_chest_ct; may be repeated."),
    ] = None,
    home: Home = None,
) -> None:
    """Read data into a cohort, and tell what came in and what was refused.

    Files that cannot be read go to the workspace's quarantine with the reason. Nothing is changed or de-identified.
    """
    from bedside.cli.start import pairs
    from bedside.cli.terminal import show_taken_in
    from bedside.cohort.quarantine import Quarantine
    from bedside.prepare.taken_in import take_in

    workspace = open_workspace(home)
    with _progress("intake") as progress:
        made = take_in(source, reader, pairs(read or []), progress=progress)
    quarantine = Quarantine(workspace.quarantine)
    for each in made.refused:
        quarantine.put(each)
    show_taken_in(made, made.write(out))


@app.command()
def deidentify(
    source: Annotated[Path, typer.Argument(help="A folder, ZIP or DICOMDIR of DICOM files, or one file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the new files, the report and the evidence go.")],
    dates: Annotated[str, typer.Option(help="remove, shift (by one number of days a patient), or full.")] = "remove",
    retain: Annotated[
        str, typer.Option(help="uids, device, institution, patient-characteristics, safe-private; with commas.")
    ] = "",
    clean: Annotated[str, typer.Option(help="descriptors, graphics, structured-content; with commas.")] = "",
    workers: Annotated[int | None, typer.Option(help="Processes (default: one a core).", show_default=False)] = None,
    home: Home = None,
) -> None:
    """Remove identity from DICOM files by PS3.15 Annex E, and measure what may be left.

    The key that maps patients, UIDs and dates stays in the workspace. Files that cannot be read go to its quarantine.
    Exit code 3 when a gate on leaks does not pass.
    """
    from bedside.cli.terminal import show_deidentified
    from bedside.cohort.quarantine import Quarantine
    from bedside.prepare.deidentify.outcome import deidentify_source
    from bedside.prepare.deidentify.profile import chosen
    from bedside.prepare.deidentify.pseudonyms import load_or_create

    profile = chosen(dates, _words(retain), _words(clean))
    workspace = open_workspace(home)
    key = load_or_create(workspace.keys)
    cores = workers if workers is not None else len(os.sched_getaffinity(0))
    with _progress("de-identify") as progress:
        outcome = deidentify_source(source, out, profile, key, workers=cores, progress=progress)
    quarantine = Quarantine(workspace.quarantine)
    for each in outcome.done.refused:
        quarantine.put(each)
    show_deidentified(outcome, outcome.write(out))
    raise typer.Exit(outcome.exit_code)


def _words(text: str) -> list[str]:
    return [each for each in text.split(",") if each.strip()]


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
