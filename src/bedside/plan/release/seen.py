"""Seen: a sketch of the development rows, by which a release tells whether local rows are the ones it was made from.

Each row's inputs are hashed into one bit of a table so small that about half of its bits are set (a Bloom filter of one
hash; Bloom 1970). Of one row it therefore says next to nothing: a stranger's is found there half of the time. Of many
rows it says what share was seen: it is found in excess of that half.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Schema
from bedside.evidence.metrics.proportions import wilson

FEWEST = 50  # rows; of fewer nothing is told
DISTINCT = 0.9  # the least share of rows unlike all others; below, rows of different patients look alike
SURE = 1 - 1e-6


def sketch(cohort: Cohort, fields: list[str], salt: str) -> dict[str, Any] | None:
    """The sketch of a raw cohort by these fields (JSON, `format` 1); None where its rows are few or look alike."""
    codes = _codes(cohort, fields, salt)
    if codes is None:
        return None
    size = max(1, math.ceil(len(codes) / math.log(2)))
    bits = np.zeros(size, dtype=bool)
    bits[codes % np.uint64(size)] = True
    packed = base64.b64encode(np.packbits(bits).tobytes()).decode()
    return {"format": 1, "fields": fields, "salt": salt, "size": size, "bits": packed}


def sketched(schema: Schema) -> list[str]:
    """The fields that tell rows apart: the inputs."""
    return [item.name for item in schema.inputs]


def overlap(seen: Mapping[str, Any], cohort: Cohort) -> tuple[float, float] | None:
    """The share of the cohort's rows that were seen, and what it is at least (at a level of 1 − 1e-6); None where that
    cannot be told."""
    fields = list(seen["fields"])
    codes = _codes(cohort, fields, seen["salt"]) if set(fields) <= set(cohort.schema.names) else None
    if codes is None:
        return None
    size = int(seen["size"])
    bits = np.unpackbits(np.frombuffer(base64.b64decode(seen["bits"]), dtype=np.uint8), count=size).astype(bool)
    chance = float(bits.mean())
    if chance >= 1:
        return None
    found = wilson(float(bits[codes % np.uint64(size)].sum()), len(codes), level=SURE)
    share, least = ((value - chance) / (1 - chance) for value in (found.value, found.low))
    return max(0.0, share), max(0.0, least)


def _codes(cohort: Cohort, fields: list[str], salt: str) -> NDArray[np.uint64] | None:
    """A hash of each row's fields, (rows,); None where there is nothing to tell rows apart by."""
    if len(cohort) < FEWEST or not fields:
        return None
    texts = [pl.col(name).cast(pl.String).fill_null("\0") for name in fields]
    rows = cohort.frame.select(pl.concat_str(texts, separator="\x1f").alias("row"))["row"]
    if rows.n_unique() < DISTINCT * len(rows):
        return None
    made = b"".join(hashlib.sha256(f"{salt}\x1f{row}".encode()).digest()[:8] for row in rows)
    return np.frombuffer(made, dtype="<u8")
