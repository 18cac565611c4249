"""The subject bootstrap of metrics that need the order of the rows, for many groups over one sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.evidence.metrics.bootstrap import BLOCK_BYTES, subject_weights
from bedside.evidence.metrics.ranking import Ranking
from bedside.evidence.metrics.rows import Floats, Ints, binned


@dataclass(frozen=True)
class RankedReplicates:
    """Replicates (replicates,) of the metrics that need the order of the rows, nan where one class is absent, and the
    metrics of the blocked rows themselves: add (exact value - blocked value) to a replicate."""

    auroc: Floats
    average_precision: Floats
    blocked_auroc: float
    blocked_average_precision: float


HEAD = 64  # the rows of highest score that are resolved one by one
GROWTH = 1.03  # beyond them, a block holds 3 % of the rows above it


def ranked_replicates(rankings: Sequence[Ranking], *, replicates: int, seed: int) -> list[RankedReplicates]:
    """Poisson bootstrap of AUROC and average precision for many sets of rows, over their one sort.

    Rows are gathered, from the highest score, into blocks: single runs of ties at the top, then of 3 % of the rows
    above. A block's weight with and without the event is, where rows are subjects, exactly Poisson(rows), so that a
    replicate costs some 800 draws whatever n. Where subjects have several rows, or rows have weights, the sums are a
    sparse product of each row's block with the weights of the subjects, which those sets share. Within a block
    precision and placement are taken at the middle.
    """
    blocks = [_Blocks.of(ranking) for ranking in rankings]
    out: list[RankedReplicates | None] = [None] * len(blocks)
    joint = []
    for k, (block, ranking) in enumerate(zip(blocks, rankings, strict=True)):
        if ranking.subjects.count < 2:  # nothing to resample
            out[k] = block.replicates([(np.full(replicates, np.nan), np.full(replicates, np.nan))])
            continue
        if ranking.subjects.codes is not None or ranking.weights is not None:
            joint.append(k)
            continue
        # The same stream for every set: a set's interval must not depend on which others are asked for.
        rng = np.random.default_rng(seed)
        positive = rng.poisson(block.positive, (replicates, len(block.positive))).astype(np.float64)
        negative = rng.poisson(block.negative, (replicates, len(block.negative))).astype(np.float64)
        out[k] = block.replicates([block.metrics(positive, negative)])
    if joint:
        codes = {k: _codes(rankings[k]) for k in joint}
        subjects = max(int(code.max()) for code in codes.values()) + 1
        matrices = {k: blocks[k].matrix(rankings[k], codes[k], subjects) for k in joint}
        parts: dict[int, list[tuple[Floats, Floats]]] = {k: [] for k in joint}
        step = max(1, min(replicates, 2 * BLOCK_BYTES // (8 * subjects)))
        for chunk in subject_weights(subjects, replicates, seed=seed, block=step):
            by_subject = np.ascontiguousarray(chunk.T)
            for k in joint:
                sums = np.asarray(matrices[k] @ by_subject).T
                half = sums.shape[1] // 2
                parts[k].append(blocks[k].metrics(sums[:, :half], sums[:, half:]))
        for k in joint:
            out[k] = blocks[k].replicates(parts[k])
    return [item for item in out if item is not None]


def _codes(ranking: Ranking) -> Ints:
    return ranking.order if ranking.subjects.codes is None else ranking.subjects.codes


@dataclass(frozen=True)
class _Blocks:
    """Rows in blocks of descending score."""

    of_row: Ints  # the block of each row of the ranking (rows,)
    positive: Floats  # weight with the event (blocks,)
    negative: Floats
    one_run: NDArray[np.bool_]  # the block is a single run of ties: its precision is that at its end

    @classmethod
    def of(cls, ranking: Ranking) -> _Blocks:
        n = len(ranking.y)
        starts, _ = ranking.spans
        ends = n - starts[::-1]  # rows at or above each distinct score, descending
        steps = math.ceil(math.log(max(n / HEAD, 1)) / math.log(GROWTH)) + 1
        wanted = np.concatenate([np.arange(1, HEAD + 1), np.ceil(HEAD * GROWTH ** np.arange(1, steps + 1))])
        at = np.unique(np.searchsorted(ends, np.minimum(wanted, n)))
        sizes = np.diff(ends[at], prepend=0)
        of_row = np.repeat(np.arange(len(at)), sizes)[::-1].astype(np.int64)
        weights = np.ones(n) if ranking.weights is None else ranking.weights
        positive = binned(of_row, np.where(ranking.y, weights, 0.0), len(at))
        negative = binned(of_row, np.where(ranking.y, 0.0, weights), len(at))
        return cls(of_row, positive, negative, np.diff(at, prepend=-1) == 1)

    def metrics(self, positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision (replicates,) of block weights (replicates, blocks)."""
        positive_above = np.cumsum(positive, axis=1)
        negative_above = np.cumsum(negative, axis=1)
        p, n = positive_above[:, -1], negative_above[:, -1]
        middle = np.where(self.one_run, 0.0, 0.5)
        hits = positive_above - middle * positive
        seen = hits + negative_above - middle * negative
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        below = n[:, None] - negative_above + negative / 2
        both = np.where((p > 0) & (n > 0), 1.0, np.nan)
        auroc = np.einsum("rb,rb->r", positive, below) / (p * n * both)
        return auroc, np.einsum("rb,rb->r", positive, precision) / (p * both)

    def replicates(self, parts: Sequence[tuple[Floats, Floats]]) -> RankedReplicates:
        """The replicates of all parts beside the blocked values."""
        auroc, average_precision = self.metrics(self.positive[None, :], self.negative[None, :])
        return RankedReplicates(
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            float(auroc[0]),
            float(average_precision[0]),
        )

    def matrix(self, ranking: Ranking, codes: Ints, subjects: int) -> Any:
        """Sparse (2 blocks, subjects): weight of each subject's rows in each block, with the event, then without."""
        from scipy.sparse import csr_array

        weights = np.ones(len(codes)) if ranking.weights is None else ranking.weights
        rows = self.of_row + np.where(ranking.y, 0, len(self.positive))
        return csr_array((weights, (rows, codes)), shape=(2 * len(self.positive), subjects))
