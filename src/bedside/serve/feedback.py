"""Feedback: a person accepts, corrects or rejects an answer; corrections become a new Cohort with its lineage.

The row that was answered is not kept by the service. Who corrects an answer sends it again; it is the same row when its
keyed digest is that of the audit trail, and only then is it stored, with the corrected outcome, in the site's store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.digest import canonical_json
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import file_fields, files_of, objects_of
from bedside.cohort.schema import physical_type
from bedside.cohort.store import Store
from bedside.errors import DataError
from bedside.models.task import Classify, Multilabel
from bedside.serve.database import METADATA, Database
from bedside.serve.problems import NotThere
from bedside.serve.reading import Asked
from bedside.serve.served import Served

Verdict = Literal["accept", "correct", "reject"]
VERDICTS = ("accept", "correct", "reject")

TABLE = sa.Table(
    "feedback",
    METADATA,
    sa.Column("answer", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(40), nullable=False),
    sa.Column("account", sa.String(100), nullable=False),
    sa.Column("release", sa.String(64), nullable=False, index=True),
    sa.Column("verdict", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("correction", sa.Text),
    sa.Column("cohort", sa.String(64)),
)


@dataclass(frozen=True)
class Given:
    """What a person says of an answer; `correction` is the right class or value."""

    verdict: Verdict
    reason: str
    correction: str | float | None = None


def check(given: Given, served: Served) -> None:
    """Raise DataError for feedback that says too little or what the task does not know."""
    if given.verdict != "accept" and len(given.reason.strip()) < 3:
        raise DataError("a correction or rejection has its reason", "say in a few words why")
    if (given.verdict == "correct") != (given.correction is not None):
        raise DataError("a correction, and nothing else, names what is right", "give `correction`")
    task = served.task
    if given.verdict != "correct":
        return
    if isinstance(task, Multilabel):
        raise DataError("an answer of several labels is accepted or rejected", "say in the reason which label is wrong")
    if isinstance(task, Classify) and given.correction not in task.classes:
        raise DataError("the correction is none of the classes", "one of " + ", ".join(task.classes))
    if not isinstance(task, Classify) and not isinstance(given.correction, float | int):
        raise DataError("the correction of a number is a number", "give it in the unit of the target")


def corrected(served: Served, asked: Asked, correction: str | float, answer: int) -> Cohort:
    """The answered row with its right outcome, as a cohort of one row named after the answer."""
    target = served.pipeline.fitted.schema[served.task.target]  # type: ignore[union-attr]  # labels are not corrected
    value: Any = correction
    if target.kind == "boolean":
        value = str(correction).lower() == "true"
    elif target.kind == "number":
        value = float(correction)
    columns = {target.name: pl.Series([value], dtype=physical_type(target.kind))}
    subject = asked.subjects[0] if asked.subjects[0] is not None else f"answer-{answer}"
    frame = asked.raw.frame.with_columns(pl.lit(f"answer-{answer}").alias("row_id"), pl.lit(subject).alias("subject"))
    made = asked.raw.derive(frame).with_columns(columns, [replace(target, roles=("target",))])
    schema = replace(made.schema, identity="declared", name="correction")
    origin = Origin("correct", {"release": served.digest, "answer": answer})
    return replace(made, schema=schema, lineage=(origin,))


def gather(rows: Sequence[Cohort], release: str) -> Cohort:
    """Corrected rows as one cohort whose lineage names each; the last correction of an answer counts."""
    last = {str(each["row_id"][0]): each for each in rows}
    kept = [last[name] for name in sorted(last, key=lambda name: int(name.removeprefix("answer-")))]
    files = MemoryFiles()
    for each in kept:
        for digest in objects_of(each) if file_fields(each) else []:
            files.put(files_of(each).get(digest))
    origin = Origin("corrections", {"release": release}, tuple(each.digest for each in kept))
    frame = pl.concat([each.frame for each in kept])
    named = bool(file_fields(kept[0]))
    schema = replace(kept[0].schema, name="corrections")
    return Cohort(schema, frame, lineage=(origin,), files=files if named else None)


class Feedback:
    """The feedback of a database; corrected rows lie in the workspace's store."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store

    def add(self, answer: int, account: str, release: str, given: Given, row: Cohort | None) -> int:
        """Keep feedback on an answer (a person may change their mind: the last counts); returns its number."""
        cohort = None if row is None else self._store.put_cohort(row)
        with self._database.begin() as connection:
            last = sa.select(sa.func.max(TABLE.c.number)).where(TABLE.c.answer == answer)
            number = (connection.execute(last).scalar_one_or_none() or 0) + 1
            connection.execute(
                sa.insert(TABLE).values(
                    answer=answer,
                    number=number,
                    time=datetime.now(UTC).isoformat(timespec="seconds"),
                    account=account,
                    release=release,
                    verdict=given.verdict,
                    reason=given.reason,
                    correction=None if given.correction is None else canonical_json(given.correction).decode(),
                    cohort=cohort,
                )
            )
        return number

    def of(self, release: str, limit: int = 1000) -> list[Mapping[str, Any]]:
        """The feedback on a release, newest first."""
        query = sa.select(TABLE).where(TABLE.c.release == release).order_by(TABLE.c.time.desc()).limit(limit)
        with self._database.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def corrections(self, release: str) -> Cohort:
        """Every corrected row of a release as a new cohort in the store; raises NotThere when there is none."""
        query = (
            sa.select(TABLE.c.cohort)
            .where(TABLE.c.release == release, TABLE.c.cohort.is_not(None))
            .order_by(TABLE.c.answer, TABLE.c.number)
        )
        with self._database.begin() as connection:
            digests = [row.cohort for row in connection.execute(query)]
        rows = [self._store.get_cohort(digest) for digest in digests if self._store.has_cohort(digest)]
        if not rows:
            raise NotThere("no answer of this release was corrected", "correct one on the page Try it")
        made = gather(rows, release)
        self._store.put_cohort(made)
        return made
