"""Verbs on what is installed and kept: models, glossary, schema, cohort, forget, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bedside.cli.app import Home, app, open_workspace
from bedside.errors import BedsideError

cohort_app = typer.Typer(no_args_is_help=True, help="Look at cohorts.")
app.add_typer(cohort_app, name="cohort")


@app.command()
def models() -> None:
    """The models there are: tasks, extra, whether they explain themselves."""
    from bedside.cli.terminal import show_models
    from bedside.models.catalogue import entries

    show_models(entries())


@app.command()
def glossary(
    word: Annotated[str | None, typer.Argument(help="An id, or a part of one.", show_default=False)] = None,
) -> None:
    """What a metric, method or finding means, in English and Chinese, with its source."""
    from bedside.cli.terminal import show_terms
    from bedside.evidence.glossary import terms

    show_terms([each for key, each in sorted(terms().items()) if word is None or word in key])


@app.command()
def schema() -> None:
    """Print the JSON Schema of a plan, for an editor."""
    import json

    from bedside.plan.file.plan import json_schema

    print(json.dumps(json_schema(), indent=1))


@cohort_app.command("show")
def cohort_show(
    source: Annotated[str, typer.Argument(help="A table, or the digest of a cohort in the workspace.")],
    home: Home = None,
) -> None:
    """The fields of a cohort: kind, roles, unit, missing, what the values look like."""
    from bedside.cli.terminal import show_cohort
    from bedside.intake.tables import Tables

    place = Path(source)
    if not place.exists() and ("." in source or "/" in source):  # no digest holds either
        raise BedsideError(f"{source}: there is no such file", "name a table, or the digest of a stored cohort")
    show_cohort(Tables().read(place) if place.exists() else open_workspace(home).store.get_cohort(source))


@app.command()
def forget(
    subject: Annotated[str, typer.Argument(help="The patient's id, as it stands in the data.")],
    home: Home = None,
) -> None:
    """Erase a patient: remove the rows from every stored cohort, and mark what was derived from them."""
    from bedside.plan.erase import erase

    made = erase(open_workspace(home), subject)
    if not (made.cohorts or made.objects):
        raise BedsideError("no stored cohort holds this patient", "give the id exactly as it stands in the data")
    print(
        f"erased from {made.cohorts} cohorts, {made.objects} objects removed; {made.actions} remembered actions undone"
    )
    for name in made.runs:
        print(f"  marked: {name}")
    print("next     remove the patient from the source files too, and run the plans again")
