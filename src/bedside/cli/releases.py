"""Verbs on releases: verify, approve, validate, predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bedside.cli.app import Home, Seed, Threads, app, open_workspace
from bedside.errors import BedsideError

if TYPE_CHECKING:
    from bedside.plan.release.opened import Opened

Untrusted = Annotated[bool, typer.Option("--untrusted", help="Load it although its signer is unknown.")]


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="The folder of a release.")],
    load_model: Annotated[
        bool, typer.Option("--load-model", help="Ask its model for the golden rows although its signer is unknown.")
    ] = False,
    home: Home = None,
) -> None:
    """Is a release what its signer signed, and do its numbers follow from its own rows? Needs the release alone."""
    from bedside.cli.terminal import show_verification
    from bedside.cohort.workspace import Workspace
    from bedside.evidence.keys import trusted_keys
    from bedside.evidence.ledger import Ledger
    from bedside.plan.release.verify import verify_release

    place = home if home is not None else Path(".bedside")
    workspace = Workspace(place) if place.exists() else None
    trusted = trusted_keys(workspace.keys) if workspace is not None else {}
    ledger = Ledger(workspace.ledger_url) if workspace is not None else None
    verification = verify_release(release, trusted, ledger, load_model=load_model or None)
    show_verification(verification)
    raise typer.Exit(0 if verification.ok else 1)


@app.command()
def approve(
    release: Annotated[Path, typer.Argument(help="The folder of a release.")],
    stage: Annotated[str, typer.Option(help="research, shadow, assist or autonomous.")],
    override: Annotated[list[str] | None, typer.Option(help="A gate (its id) to override; may be repeated.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Why, one for each --override, in order.")] = None,
    key: Annotated[str, typer.Option(help="Name of your key in the workspace (made on first use).")] = "local",
    trust_signer: Annotated[
        bool,
        typer.Option("--trust-signer", help="Vouch for its signer, who is unknown here; recorded."),
    ] = False,
    home: Home = None,
) -> None:
    """Sign a release up (or down) to a stage in your own name. An override shows in red for ever."""
    from bedside.evidence.keys import load_or_create_key, trusted_keys
    from bedside.plan.release.approve import approve as sign_approval
    from bedside.plan.release.opened import open_release

    gates, reasons = override or [], reason or []
    if len(gates) != len(reasons):
        raise BedsideError(
            f"{len(gates)} overrides and {len(reasons)} reasons", "give one --reason for each --override"
        )
    workspace = open_workspace(home)
    signer = load_or_create_key(workspace.keys, key)
    opened = open_release(release, trusted_keys(workspace.keys))
    made = sign_approval(
        workspace,
        opened,
        stage=stage,  # type: ignore[arg-type]
        overrides=dict(zip(gates, reasons, strict=True)),
        key=signer,
        trust_signer=trust_signer,
    )
    print(f"{opened.record['name']} is approved for {made.stage} by {signer.name} ({signer.key_id[:12]})")
    for gate, why in made.overrides.items():
        print(f"  overridden: {gate}: {why}")


@app.command()
def validate(
    release: Annotated[Path, typer.Argument(help="The folder of a release.")],
    cohort: Annotated[Path, typer.Argument(help="Local data in the same form, with the outcome.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json.", show_default=False)
    ] = None,
    refit: Annotated[bool, typer.Option(help="Compare with the whole procedure refit on local data.")] = True,
    untrusted: Untrusted = False,
    home: Home = None,
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Local external validation: the release as it is, recalibrated in the large, by slope, and refit, compared.

    Exit code 0: every gate of the release passes on the local data. 3: one fails, or there is not enough evidence.
    """
    import os

    from bedside.cli.terminal import show_validation
    from bedside.evidence.keys import trusted_keys
    from bedside.plan.release.answer import read_like
    from bedside.plan.release.external import validate as judge_locally
    from bedside.plan.release.opened import open_release

    opened = open_release(release, trusted_keys(open_workspace(home).keys))
    refuse_stranger(opened, untrusted=untrusted)
    raw = read_like(opened, cohort, with_target=True)
    made = judge_locally(opened, raw, seed=seed, threads=threads or os.cpu_count() or 1, refit=refit)
    show_validation(made, made.write(out if out is not None else Path(f"{cohort.stem}-validation")))
    raise typer.Exit(made.exit_code)


@app.command()
def predict(
    release: Annotated[Path, typer.Argument(help="The folder of a release.")],
    data: Annotated[Path | None, typer.Argument(help="A table like the plan's, or JSON.", show_default=False)] = None,
    example: Annotated[bool, typer.Option("--example", help="Answer the release's own synthetic example.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the answers as CSV.", show_default=False)] = None,
    among: Annotated[
        Path | None,
        typer.Option(help="A table of known cases, the most similar of them beside each answer.", show_default=False),
    ] = None,
    nearest: Annotated[int, typer.Option(help="How many similar cases.", min=1, max=100)] = 5,
    untrusted: Untrusted = False,
    home: Home = None,
) -> None:
    """Answer new rows: the release's own cleaning, steps, model, calibration and threshold, replayed."""
    from bedside.cli.terminal import show_answers
    from bedside.evidence.keys import trusted_keys
    from bedside.plan.release.answer import answer_table, nearest_cases, read_like
    from bedside.plan.release.opened import open_release

    if (data is None) == (not example):
        raise BedsideError("nothing to answer" if data is None else "both DATA and --example", "give one of them")
    opened = open_release(release, trusted_keys(open_workspace(home).keys))
    refuse_stranger(opened, untrusted=untrusted)
    raw = opened.example() if data is None else read_like(opened, data, with_target=False)
    answers = answer_table(opened, raw)
    if among is not None:
        similar = nearest_cases(opened, raw, read_like(opened, among, with_target=True), nearest)
        answers = answers.join(similar, on="row_id", how="left", maintain_order="left")
    if out is not None:
        answers.write_csv(out)
        print(f"answers  {out}")
    else:
        show_answers(opened, answers)


def refuse_stranger(release: Opened, *, untrusted: bool) -> None:
    """Raise BedsideError for a release whose signer is unknown here, unless it is wanted all the same."""
    if not release.signer.trusted and not untrusted:
        raise BedsideError(
            f"{release.folder} is signed by an unknown signer ({release.signer.key_id[:12]})",
            "trust the key (keys/trusted in the workspace), or say --untrusted",
        )


@app.command()
def compress(
    release: Annotated[Path, typer.Argument(help="The folder of a release of a network.")],
    data: Annotated[Path, typer.Option(help="The plan file of the release, or the data that it names.")],
    distill: Annotated[bool, typer.Option("--distill", help="Teach a small CNN what the network says.")] = False,
    prune: Annotated[
        float | None, typer.Option(help="Share of channels to leave out; then it learns again.", show_default=False)
    ] = None,
    prune_by: Annotated[str, typer.Option(help="Which channels: l1 (filters) or scale (normalisation).")] = "l1",
    int8: Annotated[bool, typer.Option("--int8", help="Compute in 8-bit integers.")] = False,
    cost: Annotated[
        list[str] | None, typer.Option(help="Another limit, e.g. --cost 'probability_shift<=0.05'; may be repeated.")
    ] = None,
    untrusted: Untrusted = False,
    home: Home = None,
) -> None:
    """A smaller network in place of a released one: kept as a new release only where it is faster on this machine and
    what it costs passes its gates.

    Exit code 0: it was kept. 3: it was refused, and the reasons are printed.
    """
    from bedside.cli.terminal import Screen, show_compression
    from bedside.evidence.keys import trusted_keys
    from bedside.models.imaging.compress import Methods
    from bedside.plan.assess import parse_gates
    from bedside.plan.compress import compress as carry_out
    from bedside.plan.release.opened import open_release

    workspace = open_workspace(home)
    opened = open_release(release, trusted_keys(workspace.keys))
    refuse_stranger(opened, untrusted=untrusted)
    with Screen() as screen:
        methods = Methods(distill=distill, int8=int8, prune=prune, by=prune_by)  # type: ignore[arg-type]
        made = carry_out(workspace, opened, data, methods, cost=parse_gates(cost or []), progress=screen.action)
    show_compression(made)
    raise typer.Exit(made.exit_code)
