"""Groups as a release may name them: numbers as bands, and groups of very few patients as one.

The checks of a plan with a release are put to these groups, so that evidence, report and rows name the same ones and
the rows of the release give the same estimates again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import polars as pl

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.plan.file.plan import Plan


def group_fields(plan: Plan, cohort: Cohort) -> list[str]:
    """The fields by which the plan's checks make groups."""
    names: list[str] = []
    for spec in plan.checks:
        check = plugins.build("checks", spec)
        if check.looks_at == "groups":
            names += check.fields(cohort.schema)
    return list(dict.fromkeys(names))


def nameable(plan: Plan, cohort: Cohort) -> Cohort:
    """The cohort with its group fields as the plan's release names them; as it is where the plan has no release."""
    return cohort if plan.release is None else merged(banded(plan, cohort), group_fields(plan, cohort), smallest(plan))


def smallest(plan: Plan) -> int:
    """The fewest subjects that a group named in a release has."""
    return 1 if plan.release is None else plan.release.smallest_group


def banded(plan: Plan, cohort: Cohort) -> Cohort:
    """The cohort whose numbers that make groups are those groups (an age is its band), so that no row of a release
    carries the exact value. A field that two checks cut otherwise stays a number."""
    from bedside.checks.groups import MISSING, grouping

    cuts: dict[str, set[tuple[float, ...] | None]] = {}
    for spec in plan.checks:
        check = plugins.build("checks", spec)
        if check.looks_at == "groups":
            for name in check.fields(cohort.schema):
                given = (getattr(check, "cuts", None) or {}).get(name)
                cuts.setdefault(name, set()).add(None if given is None else tuple(given))
    columns, fields = {}, []
    for name, ways in cuts.items():
        item = cohort.schema[name]
        if item.kind != "number" or len(ways) > 1:
            continue
        made = grouping(cohort, name, ways.pop())
        labels = [None if label == MISSING else label for (label,) in made.labels]
        columns[name] = pl.Series(labels, dtype=pl.String).gather(made.codes)
        levels = tuple(label for label in labels if label is not None)
        fields.append(Field(name, "ordinal", item.roles, levels=levels))
    return cohort.with_columns(columns, fields)


def merged(cohort: Cohort, names: Collection[str], fewest: int) -> Cohort:
    """The cohort whose groups of fewer subjects than `fewest` have one name together, `other (n < 5)`."""
    columns, fields = {}, []
    for name in names:
        item = cohort.schema[name]
        if item.kind not in ("category", "ordinal", "boolean"):
            continue
        text = cohort[name].cast(pl.String)
        counts = pl.DataFrame({"group": text, "subject": cohort["subject"]}).drop_nulls("group").group_by("group")
        few = counts.agg(pl.col("subject").n_unique()).filter(pl.col("subject") < fewest)["group"]
        if len(few) == 0:
            continue
        other = f"other (n < {fewest})"
        columns[name] = text.replace(few, pl.Series([other] * len(few), dtype=pl.String))
        kept = [level for level in item.levels or sorted(text.drop_nulls().unique()) if level not in set(few)]
        fields.append(Field(name, "ordinal", item.roles, levels=(*kept, other)))
    return cohort.with_columns(columns, fields)


def of_bands(spec: Any, names: Collection[str]) -> Any:
    """A check's spec for a cohort in which these fields are groups already: without their cuts."""
    name, parameters = plugins.parse_spec(spec)
    cuts = parameters.get("cuts")
    if not cuts:
        return spec
    rest = {field: each for field, each in cuts.items() if field not in names}
    parameters = {key: value for key, value in parameters.items() if key != "cuts"}
    return {"name": name, **parameters, **({"cuts": rest} if rest else {})}
