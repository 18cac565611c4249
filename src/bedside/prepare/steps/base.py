"""What every fitted step shares: parameters as dataclass fields, state as JSON and plain .npy arrays, no pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json
from bedside.cohort.schema import Field
from bedside.errors import BedsideError, DataError, IntegrityError, PlanError
from bedside.evidence.estimate import Finding

FORMAT = 1


class FittedStep:
    """Base of the steps. A subclass is a dataclass of its parameters; `fit` sets `state_` (JSON values and arrays)."""

    name: ClassVar[str]
    state_: dict[str, Any] | None = None

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}  # type: ignore[arg-type]

    @property
    def state(self) -> dict[str, Any]:
        """What was learnt; raises BedsideError before `fit`."""
        if self.state_ is None:
            raise BedsideError(f"step '{self.name}' is applied before it was fitted", "call fit, or load a fitted one")
        return self.state_

    def findings(self) -> tuple[Finding, ...]:
        """What fitting found doubtful (none by default)."""
        return ()

    def require(self, cohort: Cohort, names: Iterable[str]) -> None:
        """Raise DataError unless every learnt field is in the cohort."""
        missing = [name for name in names if name not in cohort.schema]
        if missing:
            raise DataError(
                f"step '{self.name}' learnt {len(missing)} field(s) that this table lacks: {', '.join(missing[:5])}",
                "read the same fields that the step was fitted on",
            )

    def save(self, folder: Path) -> None:
        """Write step.json, and one .npy a fitted array, into an existing empty folder."""
        arrays = {key: value for key, value in self.state.items() if isinstance(value, np.ndarray)}
        plain = {key: value for key, value in self.state.items() if key not in arrays}
        content = {"format": FORMAT, "name": self.name, "parameters": self.parameters(), "state": plain}
        content["arrays"] = sorted(arrays)
        (folder / "step.json").write_bytes(canonical_json(content))
        for key, values in arrays.items():
            np.save(folder / f"{key}.npy", np.ascontiguousarray(values), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`; raises IntegrityError for another step's folder or format."""
        content = json.loads((folder / "step.json").read_bytes())
        if content.get("format") != FORMAT or content.get("name") != cls.name:
            raise IntegrityError(
                f"{folder.name}/step.json holds step '{content.get('name')}' of format {content.get('format')}, "
                f"not '{cls.name}' of format {FORMAT}",
                "read it with the version of bedside that wrote it",
            )
        step = cls(**content["parameters"])
        arrays = {key: np.load(folder / f"{key}.npy", allow_pickle=False) for key in content["arrays"]}
        step.state_ = {**content["state"], **arrays}
        return step


def chosen(cohort: Cohort, kinds: Sequence[str], names: Sequence[str] | None) -> list[Field]:
    """Input fields of these kinds, in schema order; `names` restricts them; DataError for another name."""
    found = [item for item in cohort.schema.inputs if item.kind in kinds]
    if names is None:
        return found
    usable = {item.name for item in found}
    for name in names:
        if name not in usable:
            item = cohort.schema[name]
            raise DataError(
                f"field '{name}' ({item.kind}, roles {list(item.roles)}) is no input of kind {' or '.join(kinds)}",
                "name another field, or declare its kind and role",
            )
    return [item for item in found if item.name in set(names)]


def observed(cohort: Cohort, items: Sequence[Field]) -> Iterator[tuple[Field, NDArray[np.float64]]]:
    """Each number field with its present values in ascending order, so that what is learnt ignores row order."""
    for item in items:
        values = cohort.frame[item.name].to_numpy()
        yield item, np.sort(values[~np.isnan(values)])


def rebuilt(cohort: Cohort, changed: dict[str, list[tuple[Field, pl.Expr]]]) -> Cohort:
    """The cohort with each field named in `changed` replaced, in its place, by the fields and expressions given."""
    fields: list[Field] = []
    columns: list[pl.Expr] = [pl.col("row_id"), pl.col("subject")]
    for item in cohort.schema.fields:
        for new, expression in changed.get(item.name, [(item, pl.col(item.name))]):
            fields.append(new)
            columns.append(expression.alias(new.name))
    schema = dataclasses.replace(cohort.schema, fields=tuple(fields))
    return cohort.derive(cohort.frame.select(columns), schema)


def check_choice(step: str, parameter: str, value: str, choices: Sequence[str]) -> None:
    """Raise PlanError unless the value is one of the choices."""
    if value not in choices:
        raise PlanError(f"step '{step}': {parameter} is {value!r}", f"one of {', '.join(choices)}")
