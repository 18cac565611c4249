"""A cohort of 1e6 rows × 50 fields: digest, store, memory; and the grouped stratified split against scikit-learn.

    python benchmarks/cohort_million.py [--rows 1000000] [--peer-rows 1000000]

Everything printed comes from this one run. Memory is how far the resident set of the process rose above where the work
began (the finished table is in it already; for get it is not). The peer is measured on `--peer-rows` rows (a minute for
a million), ours on the same rows. A subject counts for its rarest class here and for its rows there, so scikit-learn's
folds are closer in prevalence where subjects have several positive rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from bedside.cohort import Cohort, Field, Fold, Store, k_fold

FOLDS = 5


def wide(rows: int) -> Cohort:
    """30 numbers with 10 % missing, 10 categories, 5 booleans, 5 times; 4 rows a subject on average."""
    rng = np.random.default_rng(0)
    fields: list[Field] = []
    columns: list[pl.Series] = []

    def add(field: Field, values: pl.Series) -> None:
        fields.append(field)
        columns.append(values.alias(field.name))

    for i in range(30):
        number = pl.Series(rng.normal(size=rows)).set(pl.Series(rng.random(rows) < 0.1), None)
        add(Field(f"number {i}", "number"), number)
    levels = pl.Series(["emergency", "elective", "other", "transferred from elsewhere"])
    for i in range(10):
        add(Field(f"category {i}", "category"), levels[rng.integers(0, 4, rows)])
    for i in range(5):
        add(Field(f"boolean {i}", "boolean", ("target",) if i == 0 else ("input",)), pl.Series(rng.random(rows) < 0.1))
    for i in range(5):
        add(Field(f"time {i}", "time", ("input",)), pl.Series(rng.integers(0, 10**15, rows)).cast(pl.Datetime("us")))
    subject = "s" + pl.Series(rng.integers(0, rows // 4, rows)).cast(pl.String)
    return Cohort.of(pl.DataFrame(columns), fields, subject=subject, row_id=pl.Series(range(rows)).cast(pl.String))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident(key: str) -> float:
    """VmRSS or VmHWM of this process, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc")


def forget_peak() -> None:
    """Sets VmHWM back to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def measured(name: str, size: float, work: Callable[[], object]) -> None:
    """Prints the seconds of some work and how far resident memory rose above where it began; `size` in MiB."""
    before = resident("VmRSS")
    forget_peak()
    took = seconds(work)
    rise = resident("VmHWM") - before
    print(f"  {name:36} {took:6.2f} s   memory +{rise:4.0f} MiB = {rise / size:.2f} × table")


def cohort_lines(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        digest, size = put_lines(store, rows)
        measured("get (bytes and digest verified)", size, lambda: store.get_cohort(digest))


def put_lines(store: Store, rows: int) -> tuple[str, float]:
    cohort = wide(rows)
    size = cohort.frame.estimated_size() / 2**20
    print(f"cohort {rows:,} × {len(cohort.schema.fields)} fields, {cohort.n_subjects:,} subjects, {size:.0f} MiB")
    measured("digest", size, lambda: cohort.digest)
    measured("put (Parquet, fsync)", size, lambda: store.put_cohort(cohort))
    measured("5 folds, by subject, stratified", size, lambda: split(cohort))
    return cohort.digest, size


def split(cohort: Cohort) -> tuple[Fold, ...]:
    return k_fold(cohort, folds=FOLDS, tune=0, stratify="boolean 0", seed=0).folds


def split_lines(rows: int) -> None:
    part = wide(rows).keeping(["boolean 0"])
    made: list[tuple[Fold, ...]] = []
    ours = seconds(lambda: made.append(split(part)))
    folds = made[0]

    from sklearn.model_selection import StratifiedGroupKFold

    y = part["boolean 0"].to_numpy()
    groups = part.subject_codes
    peer_folds: list[np.ndarray] = []
    peer = seconds(
        lambda: peer_folds.extend(
            test for _, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(y, y, groups)
        )
    )
    print(f"grouped stratified split into {FOLDS} folds")
    print(
        f"  {rows:,} rows, {part.n_subjects:,} subjects: ours {ours:.3f} s, "
        f"scikit-learn StratifiedGroupKFold {peer:.2f} s, ratio {peer / ours:.0f}×"
    )
    for name, tests in (("ours", [fold.test for fold in folds]), ("scikit-learn", peer_folds)):
        sizes = np.array([len(test) for test in tests])
        rates = np.array([y[test].mean() for test in tests])
        print(f"  {name:12} fold sizes {sizes.min():,}–{sizes.max():,}, positives {rates.min():.4f}–{rates.max():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["cohort", "split"])
    given = parser.parse_args()
    if given.only == "cohort":
        cohort_lines(given.rows)
    elif given.only == "split":
        split_lines(given.peer_rows)
    else:
        for part in ("cohort", "split"):
            command = [sys.executable, __file__, "--only", part]
            subprocess.run([*command, "--rows", str(given.rows), "--peer-rows", str(given.peer_rows)], check=True)


if __name__ == "__main__":
    main()
