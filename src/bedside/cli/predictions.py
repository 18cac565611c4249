"""Verbs on predictions made elsewhere: assess."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import app


@app.command()
def assess(
    predictions: Annotated[Path, typer.Argument(help="A table (CSV, TSV, Excel, Parquet): one row a prediction.")],
    truth: Annotated[str, typer.Option(help="Column with what really happened; label,label of several labels.")],
    score: Annotated[
        str, typer.Option(help="Column with the predicted probability; or class=column,class=column (label=column).")
    ],
    positive: Annotated[
        str | None, typer.Option(help="Value of --truth that is the event.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Column with the patient's id (intervals are by patient).")
    ] = None,
    groups: Annotated[str | None, typer.Option(help="Columns to look into, e.g. sex,age.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the time: results by period.")] = None,
    threshold: Annotated[float, typer.Option(help="Probability at which the model calls the event.")] = 0.5,
    regress: Annotated[
        bool, typer.Option("--regress", help="The score is a predicted number, not a probability.")
    ] = False,
    gate: Annotated[list[str] | None, typer.Option(help="A gate, e.g. --gate 'auroc>=0.8'; may be repeated.")] = None,
    missing: Annotated[str | None, typer.Option(help="Words that mean missing, e.g. NA,?")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """The whole evidence report on a model made elsewhere: no training, no plan, one table in, one page out."""
    from bedside.cli.terminal import show_assessment
    from bedside.plan.assess import assess as assess_table
    from bedside.plan.assess import parse_gates, parse_scores, read_table

    by = [name.strip() for name in groups.split(",")] if groups is not None else []
    made = assess_table(
        read_table(predictions, subject=subject, missing=missing.split(",") if missing is not None else None),
        truth=[name.strip() for name in truth.split(",")] if "," in truth else truth,
        score=parse_scores(score),
        positive=positive,
        groups=by,
        time=time,
        threshold=threshold,
        regress=regress,
        gates=parse_gates(gate or []),
        seed=seed,
    )
    page = made.write(out if out is not None else Path(f"{predictions.stem}-assessment"))
    show_assessment(made, page)
    raise typer.Exit(made.exit_code)
