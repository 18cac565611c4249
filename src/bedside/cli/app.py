"""The application that every verb hangs on, and the options that several share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bedside.cohort.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bedside: from hospital data to bedside AI, with the evidence attached. "
    "For research use; not a cleared medical device.",
    epilog="Start with `bedside demo`, or `bedside init DATA.csv`.",
)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="BEDSIDE_HOME", help="The workspace (default ./.bedside).", show_default=False),
]
Threads = Annotated[
    int | None, typer.Option(help="Threads for fitting; recorded, since they can change weights.", show_default=False)
]


Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]


def open_workspace(home: Path | None) -> Workspace:
    """The workspace of a command."""
    from bedside.cohort.workspace import Workspace

    return Workspace(home)
