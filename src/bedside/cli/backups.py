"""Verbs of safekeeping: backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import Home, app, open_workspace
from bedside.errors import BedsideError, MissingExtra

Passphrase = Annotated[
    Path | None, typer.Option(help="A file with the passphrase of the key file.", show_default=False)
]


@app.command()
def backup(
    to: Annotated[Path, typer.Argument(help="A new or empty folder, best on another disk.")],
    home: Home = None,
    keys: Annotated[
        Path | None, typer.Option(help="Write the secret keys too, into this file of their own.", show_default=False)
    ] = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Copy the whole workspace, also while it is served; secret keys only with --keys, to be kept elsewhere."""
    try:
        from bedside.serve.backup import back_up
        from bedside.serve.backup_keys import write_keys
    except ModuleNotFoundError as error:
        raise _lacking(error) from None

    workspace = open_workspace(home)
    passphrase = _passphrase(passphrase_file)
    if keys is not None:
        write_keys(workspace, keys, passphrase)
    made = back_up(workspace, to)
    print(
        f"backup   {to}: {len(made.files)} files, {made.ledger.length} ledger entries, {made.audit.length} audit rows"
    )
    print(f"digest   {made.digest}")
    for name, where in made.outside.items():
        print(f"not in   {name} lies at {where}: back it up there")
    for digest in made.damaged:
        print(f"damaged  object {digest} of the store is not what its digest says; left out")
    if keys is None:
        print("keys     not copied; `bedside restore` needs them: --keys FILE once, kept apart from the backups")
    else:
        print(f"keys     {keys}: keep it apart from the backups")
    if made.damaged:
        raise typer.Exit(3)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    home: Annotated[Path, typer.Option("--home", help="Where the workspace is to be; nothing may be there yet.")],
    keys: Annotated[Path, typer.Option(help="The key file of `bedside backup --keys`.")],
    passphrase_file: Passphrase = None,
    expect: Annotated[str, typer.Option(help="The digest that `bedside backup` printed.")] = "",
) -> None:
    """Lay a backup down as a workspace, once every digest, chain, seal and release in it was found right."""
    try:
        from bedside.serve.backup import restore as lay_down
    except ModuleNotFoundError as error:
        raise _lacking(error) from None

    made = lay_down(source, home, keys, passphrase=_passphrase(passphrase_file), expect=expect)
    print(
        f"restored {home}: {len(made.files)} files, {made.ledger.length} ledger entries, {made.audit.length} audit rows"
    )
    for name, where in made.outside.items():
        print(f"not in   {name} lies at {where}: restore it there")
    print("next     whoever was forgotten since this backup is in it again: `bedside forget` them")


def _passphrase(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise BedsideError(f"{file} cannot be read", "write the passphrase on one line") from None
    if len(text) < 12:
        raise BedsideError(f"the passphrase in {file} is too short", "12 characters or more")
    return text


def _lacking(error: ModuleNotFoundError) -> Exception:
    if (error.name or "").partition(".")[0] == "bedside":
        return error
    return MissingExtra("serve", "`bedside backup`")
