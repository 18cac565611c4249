"""Putting 2000 files of 4 kB into a local store: one at a time, and all at once; both durable when they return.

    python benchmarks/store_bulk.py [FOLDER]

The folder chooses the disk; the peer is the plain way with the same guarantee, `Store.put` in a loop.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

import numpy as np

from bedside.cohort import Store

FILES, BYTES, REPEATS = 2000, 4096, 3


def seconds(many: bool, data: list[bytes], folder: str | None) -> float:
    """Wall time of one bulk put, or of as many single ones."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = Store(place)
        start = time.perf_counter()
        if many:
            store.put_all(data)
        else:
            for each in data:
                store.put(each)
        return time.perf_counter() - start


def main() -> None:
    """Measure both in turn, and print the best of each."""
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    rng = np.random.default_rng(0)
    data = [rng.bytes(BYTES) for _ in range(FILES)]
    times = {many: min(seconds(many, data, folder) for _ in range(REPEATS)) for many in (False, True)}
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"put, one at a time   {FILES / times[False]:8.0f} files/s")
    print(f"put_all              {FILES / times[True]:8.0f} files/s   {times[False] / times[True]:.1f} times")


if __name__ == "__main__":
    main()
