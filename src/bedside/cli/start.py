"""Verbs to start with: init (a first plan from the data), doctor (is everything in order)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedside.cli.app import Home, app
from bedside.errors import BedsideError

if TYPE_CHECKING:
    from bedside.plan.doctor import Item


@app.command()
def init(
    data: Annotated[
        Path,
        typer.Argument(help="A table (CSV, TSV, Excel, Parquet, or one of these in a ZIP), or a folder of images."),
    ],
    target: Annotated[str | None, typer.Option(help="Column to predict.", show_default=False)] = None,
    subject: Annotated[
        str | None, typer.Option(help="Column that says who the patient is, or none.", show_default=False)
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Value of the target that is the event.", show_default=False)
    ] = None,
    risk: Annotated[
        str | None, typer.Option(help="What a wrong answer may do: low, medium or high.", show_default=False)
    ] = None,
    by: Annotated[str, typer.Option(help="Split by subject, site or time.")] = "subject",
    interpretable: Annotated[
        bool | None,
        typer.Option("--interpretable/--any-model", help="A model that a person can read.", show_default=False),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(help="How the file is to be read, e.g. header=false or member=a.csv; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the plan.")] = Path("plan.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the defaults.")] = False,
) -> None:
    """Look at the data, ask what it cannot know, and write a first plan with the reasons as comments.

    Nothing is fitted and nothing is sent anywhere. Exit code 2 when the data does not tell what is to be predicted.
    """
    from bedside.plan.init.init import Wishes
    from bedside.plan.init.init import init as write_plan

    wishes = Wishes(target, subject, positive, risk, by, interpretable)
    asked = None if yes or not sys.stdin.isatty() else Terminal()
    made = write_plan(data, out, wishes, read=pairs(read or []), ask=asked)
    print(f"plan     {made.path}")
    for note in made.notes:
        print(f"look at  {note}")
    print(f"next     read it, then: bedside run {made.path}")


def pairs(read: Sequence[str]) -> dict[str, Any]:
    """`key=value` options; the value is read as YAML, so that false, 3 and [a, b] are what they look like."""
    import yaml

    out: dict[str, Any] = {}
    for each in read:
        key, sign, value = each.partition("=")
        if not sign:
            raise BedsideError(f"--read {each} gives no value", "write --read header=false")
        try:
            out[key.strip()] = value if key.strip() in ("separator", "quote", "decimal") else yaml.safe_load(value)
        except yaml.YAMLError:
            out[key.strip()] = value
    return out


class Terminal:
    """Asks the person at the terminal; an answer is a number of the list, or a name."""

    def choose(self, question: str, options: Sequence[str], default: str | None, known: Sequence[str]) -> str:
        """One of `known`; asks again until it is one. Options that are numbers themselves are not numbered."""
        numbered = not any(option.lstrip("-").isdigit() for option in options)
        typer.echo(f"\n{question}")
        for number, option in enumerate(options, start=1):
            mark = f"{number}" if numbered else "·"
            typer.echo(f"  {mark}  {option}{'  (default)' if option == default else ''}")
        while True:
            answer = str(typer.prompt("answer", default=default, show_default=default is not None)).strip()
            if answer in known or answer in options:
                return answer
            if numbered and answer.isdigit() and 1 <= int(answer) <= len(options):
                return options[int(answer) - 1]
            typer.echo(f"  '{answer}' is none of them")

    def confirm(self, question: str, default: bool) -> bool:
        """Yes or no."""
        return typer.confirm(f"\n{question}", default=default)


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
