"""A reader in one file: ARFF, Weka's text tables (dense rows)."""

import io
import re
from pathlib import Path
from typing import ClassVar

import polars as pl

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.digest import sha256_hex
from bedside.cohort.schema import Field
from bedside.errors import DataError

ATTRIBUTE = re.compile(r"^\s*@attribute\s+('[^']*'|\S+)\s+(\{.*\}|\w+)", re.IGNORECASE | re.MULTILINE)
KINDS = {"numeric": "number", "real": "number", "integer": "number", "string": "text"}


class Arff:
    """One row is one patient, unless `subject` names the attribute that says which."""

    name: ClassVar[str] = "arff"
    paths: ClassVar[tuple[str, ...]] = ()

    def __init__(self, subject: str | None = None) -> None:
        self.subject = subject

    def read(self, path: Path | str) -> Cohort:
        data = Path(path).read_bytes()
        header, *rows = re.split(r"^\s*@data\s*$", data.decode("utf-8"), maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
        declared = {name.strip("'"): kind for name, kind in ATTRIBUTE.findall(header)}
        if not rows or not declared:
            raise DataError(f"{path}: no @attribute or no @data line", "is it an ARFF file?")
        try:
            frame = pl.read_csv(
                io.StringIO(rows[0].strip()),
                has_header=False,
                new_columns=list(declared),
                null_values="?",
                quote_char="'",
                comment_prefix="%",
                schema_overrides=[pl.String] * len(declared),
            )
        except pl.exceptions.PolarsError:
            raise DataError(
                f"{path}: rows do not have {len(declared)} values each", "sparse ARFF is not read"
            ) from None
        subject = None if self.subject is None else frame[self.subject]
        fields = [_field(path, name, kind) for name, kind in declared.items() if name != self.subject]
        cohort = Cohort.of(frame, fields, subject=subject, name=Path(path).stem)
        return cohort.with_origin(Origin("read", {"reader": self.name, "subject": self.subject}, (sha256_hex(data),)))


def _field(path: Path | str, name: str, declared: str) -> Field:
    if declared.startswith("{"):
        return Field(name, "category", levels=tuple(level.strip(" '") for level in declared[1:-1].split(",")))
    if declared.lower() not in KINDS:
        raise DataError(f"{path}: '{name}' is declared {declared}", f"known: {', '.join(KINDS)} or {{levels}}")
    return Field(name, KINDS[declared.lower()])
