"""The rows of a release: only what checks recompute from, under keyed ids, exact numbers of groups as bands."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from bedside.cohort.atomic import atomic_write
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, Schema


def row_secret(keys: Path) -> bytes:
    """This workspace's own secret, made on first use."""
    file = keys / "rows.key"
    if not file.exists():
        atomic_write(file, secrets.token_bytes(32))
    return file.read_bytes()


def row_key(secret: bytes, predictions: str) -> bytes:
    """The key under which one release names its rows: HMAC of its predictions' digest by the workspace's secret."""
    return hmac.new(secret, predictions.encode(), hashlib.sha256).digest()


def keyed(values: pl.Series, key: bytes) -> pl.Series:
    """Each text as 32 hexadecimal digits that only the holder of the key can tie to it."""
    unique = values.unique()
    names = [hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32] for value in unique.to_list()]
    return values.replace_strict(unique, pl.Series(names, dtype=pl.String), return_dtype=pl.String)


def keyed_rows(cohort: Cohort, keep: Sequence[str], key: bytes) -> Cohort:
    """The cohort with only the fields that checks recompute from, its ids keyed."""
    small = cohort.keeping(list(keep))
    frame = small.frame.with_columns(keyed(small["row_id"], key), keyed(small["subject"], key))
    plain = [
        Field(item.name, item.kind, item.roles, unit=item.unit, levels=item.levels) for item in small.schema.fields
    ]
    return Cohort(Schema(tuple(plain), small.schema.identity, "release-rows"), frame)


def k_anonymity(cohort: Cohort, fields: Sequence[str]) -> int:
    """The size of the smallest set of subjects that share every value of the fields (0 when there are none)."""
    if not fields:
        return 0
    groups = cohort.frame.group_by(list(fields)).agg(pl.col("subject").n_unique())
    return int(groups["subject"].to_numpy().min()) if groups.height else 0
