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

    `strata` are group positions in dealing order; `weights` are rows a group, shape (groups,). A stratum of n groups
    gives a part its share of n rounded down or up, by what the strata before gave it too little or too much, and is cut
    where that many groups' rows end: with equal groups every share holds within one group in each stratum, and within
    two over all. A stratum with as many groups as parts gives every part at least one.
    """
    part = np.full(len(weights), -1, dtype=np.int64)
    all_shares = np.array([*shares, 1 - sum(shares)])
    owed = np.zeros(len(all_shares))  # rows
    for members in strata:
        if not len(members):
            continue
        rows = weights[members]
        ends = np.cumsum(rows)
        mean = ends[-1] / len(members)
        counts = _rounded(all_shares * len(members), owed / mean)
        cuts = np.searchsorted(ends - rows / 2, np.cumsum(counts)[:-1] * mean)
        if len(members) > len(cuts):
            for i in range(len(cuts)):
                least = 1 + (cuts[i - 1] if i else 0)
                cuts[i] = min(max(cuts[i], least), len(members) - len(cuts) + i)
        part[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
        owed += all_shares * ends[-1] - np.diff(np.concatenate([[0], ends])[cuts], prepend=0, append=ends[-1])
    return part


def _rounded(quotas: NDArray[np.float64], owed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotas that sum to an integer, each rounded down or up to keep that sum; up where most is owed."""
    counts = np.floor(quotas + 1e-9)
    remainders = quotas - counts
    extra = round(float(remainders.sum()))
    urgent = np.where(remainders > 1e-9, remainders + owed, -np.inf)
    counts[np.argsort(-urgent, kind="stable")[:extra]] += 1
    return counts
