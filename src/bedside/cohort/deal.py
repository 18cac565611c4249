"""Dealing groups to parts in keyed hash order: deterministic, balanced in every stratum, counted in rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def keyed_order(names: Iterable[str], seed: int) -> Indices:
    """Positions of distinct names in the order of their BLAKE2b hash keyed with the seed, shape (names,)."""
    key = str(seed).encode()
    blake2b = hashlib.blake2b
    hashes = b"".join([blake2b(name.encode(), digest_size=16, key=key).digest() for name in names])
    high, low = np.frombuffer(hashes, dtype=">u8").reshape(-1, 2).T
    return np.lexsort((low, high)).astype(np.int64)


def deal(strata: Sequence[Indices], weights: NDArray[np.int64], shares: Sequence[float]) -> Indices:
    """The part of each group: 0 for the first share, 1 for the next, …, len(shares) for the rest; −1 if not dealt.

    `strata` are group positions in dealing order; `weights` are rows a group, shape (groups,). A group goes where its
    middle row falls, so a stratum keeps each share within one group; what it rounds away is carried to the next. A
    stratum with as many groups as parts gives every part at least one.
    """
    part = np.full(len(weights), -1, dtype=np.int64)
    bounds = np.cumsum(shares)
    carry = np.zeros(len(bounds))
    for members in strata:
        if not len(members):
            continue
        rows = weights[members]
        ends = np.cumsum(rows)
        half = rows.max() / 2
        wanted = bounds * ends[-1] + np.clip(carry, -half, half)
        cuts = np.maximum.accumulate(np.searchsorted(ends - rows / 2, wanted))
        if len(members) > len(cuts):
            for i in range(len(cuts)):
                least = 1 + (cuts[i - 1] if i else 0)
                cuts[i] = min(max(cuts[i], least), len(members) - len(cuts) + i)
        part[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
        carry = wanted - np.concatenate([[0], ends])[cuts]
    return part
