"""Verbs to start with: init (a first plan from the data), doctor (is everything in order)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bedside.cli.app import Home, app

if TYPE_CHECKING:
    from bedside.plan.doctor import Item


@app.command()
def doctor(
    home: Home = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every object of the store and verify its digest.")] = False,
) -> None:
    """Is everything in order? Versions, extras, plug-ins, machine, workspace, keys, ledger; the way out for each.

    Exit code 1 when something fails.
    """
    from bedside.plan.doctor import examine, healthy

    items = examine(home, deep=deep)
    show_items(items)
    raise typer.Exit(0 if healthy(items) else 1)


def show_items(items: list[Item]) -> None:
    """What the doctor found, part by part, each way out under its item."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bedside.cli.terminal import RESULTS

    console = Console(highlight=False)
    for part in dict.fromkeys(item.part for item in items):
        console.print(f"\n[bold]{part}[/bold]")
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for item in items:
            if item.part == part:
                mark, colour = RESULTS[item.result]
                told = Text(item.detail)
                if item.way_out:
                    told.append(f"\n→ {item.way_out}", style=colour)
                table.add_row(Text(mark, colour), Text(item.name), told)
        console.print(table)
    failed = sum(item.result == "fail" for item in items)
    console.print("\n[green]in order[/green]" if not failed else f"\n[red]{failed} fail[/red]: see → above")
