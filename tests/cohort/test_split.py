"""Splits: the patient, whole, on one side; exact shares; nothing hangs on row order."""

from __future__ import annotations

import itertools
import time
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.cohort import Cohort, Field, Fold, Split, hold_out, k_fold, refuse_leak, table_digest
from bedside.cohort.deal import deal, keyed_order
from bedside.cohort.subjects import PARTS
from bedside.errors import DataError, LeakError

FIELDS = [
    Field("y", "boolean", ("target",)),
    Field("stage", "category"),
    Field("value", "number"),
    Field("site", "category", ("site",)),
    Field("at", "time", ("time",)),
    Field("official", "category"),
    Field("note", "text"),
]


FROZEN_ASSIGNMENT = "80d132911176906d8234ad38da4e9d2175b974ef1dd034f2a95a0254ccc68c38"
FROZEN_ORDER = ["a", "b", "d", "f", "e", "c"]


def patients(rows: int = 2000, subjects: int = 700, seed: int = 0) -> Cohort:
    """Rows of subjects with 1 to many rows, 15 % positive rows, 6 sites (each subject at one), times in one year."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, subjects, rows)
    columns = {
        "y": rng.random(rows) < 0.15,
        "stage": rng.choice(["I", "II", "III", "IV"], rows, p=[0.5, 0.3, 0.15, 0.05]),
        "value": rng.lognormal(size=rows),
        "site": [f"site {i % 6}" for i in who],
        "at": [datetime(2020, 1, 1) + timedelta(hours=int(hour)) for hour in rng.integers(0, 8760, rows)],
        "official": ["train"] * rows,
        "note": ["free text"] * rows,
    }
    return Cohort.of(columns, FIELDS, subject=[f"p{i}" for i in who], row_id=[f"r{i}" for i in range(rows)])


def one_row_each(labels: list[str]) -> Cohort:
    return Cohort.of(
        {"y": labels}, [Field("y", "category", ("target",))], subject=[f"p{i}" for i in range(len(labels))]
    )


def whole_subjects(cohort: Cohort, split: Split) -> None:
    """Every row is in one part of every fold, and no subject in two."""
    for fold in split.folds:
        refuse_leak(cohort, fold)
        parts = list(fold.parts.values())
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(cohort)))
        for part in parts:
            assert part.dtype == np.int64 and (np.diff(part) > 0).all()


WAYS = [
    lambda c, seed: hold_out(c, seed=seed),
    lambda c, seed: hold_out(c, stratify="y", seed=seed),
    lambda c, seed: hold_out(c, stratify="stage", seed=seed),
    lambda c, seed: hold_out(c, stratify="value", seed=seed),
    lambda c, seed: hold_out(c, by="site", stratify="y", seed=seed),
    lambda c, seed: hold_out(c, by="time", stratify="y", seed=seed),
    lambda c, seed: hold_out(c, test=0, stratify="y", seed=seed),
    lambda c, seed: k_fold(c, folds=5, stratify="y", seed=seed),
    lambda c, seed: k_fold(c, folds=3, by="site", stratify="y", seed=seed),
    lambda c, seed: k_fold(c, folds=4, by="time", stratify="y", seed=seed),
]


@pytest.mark.parametrize("way", WAYS)
def test_no_subject_is_on_both_sides(way: object) -> None:
    cohort = patients()
    whole_subjects(cohort, way(cohort, 1))  # type: ignore[operator]


@pytest.mark.parametrize("way", WAYS)
def test_row_order_does_not_change_where_a_row_goes(way: object) -> None:
    cohort = patients()
    shuffled = cohort.take(np.random.default_rng(9).permutation(len(cohort)))
    frames = [way(item, 1).assignment_frame().sort("row_id", "fold") for item in (cohort, shuffled)]  # type: ignore[operator]
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize("way", WAYS[:5] + WAYS[6:])
def test_the_seed_decides(way: object) -> None:
    cohort = patients()
    assert way(cohort, 1).digest == way(cohort, 1).digest  # type: ignore[operator]
    first, second = (way(cohort, seed).folds[0].parts for seed in (1, 2))  # type: ignore[operator]
    assert any(not np.array_equal(first[name], second[name]) for name in PARTS)


@pytest.mark.parametrize("labels", [[0.5, 0.5], [0.9, 0.1], [0.97, 0.02, 0.01], [0.2] * 5])
@pytest.mark.parametrize(("test", "tune"), [(0.25, 0.15), (1 / 3, 0.2), (0.1, 0.0), (0.0, 0.15)])
def test_shares_are_exact_in_every_class_and_over_all(labels: list[float], test: float, tune: float) -> None:
    rows = 1003
    y = np.random.default_rng(3).choice([f"class {i}" for i in range(len(labels))], rows, p=labels)
    fold = hold_out(one_row_each(y.tolist()), test=test, tune=tune, stratify="y", seed=4).folds[0]
    wanted = {"train": 1 - test - tune, "search": tune / 2, "calibrate": tune / 2, "test": test}
    for name, part in fold.parts.items():
        assert abs(len(part) - wanted[name] * rows) <= 1
        for label in np.unique(y):
            assert abs(np.sum(y[part] == label) - wanted[name] * np.sum(y == label)) <= 1


def test_folds_partition_the_rows_with_equal_sizes_and_prevalence() -> None:
    y = np.repeat(["no", "yes"], [903, 97])
    split = k_fold(one_row_each(y.tolist()), folds=5, tune=0.15, stratify="y", seed=0)
    tests = [fold.test for fold in split.folds]
    assert np.array_equal(np.sort(np.concatenate(tests)), np.arange(1000))
    assert [len(part) for part in tests] == [200] * 5
    assert {int((y[part] == "yes").sum()) for part in tests} <= {19, 20}
    for fold in split.folds:
        assert len(fold.tune) == 150 and len(fold.search) == 75
        assert np.array_equal(fold.tune, np.union1d(fold.search, fold.calibrate))


def test_many_small_strata_still_add_up() -> None:
    """2 subjects a class, shares of 1/4: rounding each class by itself would give a part nothing, or all."""
    strata = [np.arange(2 * i, 2 * i + 2) for i in range(100)]
    part = deal(strata, np.ones(200, dtype=np.int64), [0.25, 0.25])
    assert np.bincount(part).tolist() == [50, 50, 100]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 30), min_size=2, max_size=5),
)
def test_equal_subjects_keep_every_share_within_one_in_each_stratum(sizes: list[int], odds: list[int]) -> None:
    shares = np.array(odds) / sum(odds)
    least = int(np.ceil(1 / shares.min()))  # below it, giving each part one subject moves the shares
    edges = np.cumsum([0, *(size + least for size in sizes)])
    strata = [np.arange(start, end) for start, end in itertools.pairwise(edges)]
    part = deal(strata, np.ones(edges[-1], dtype=np.int64), shares[:-1].tolist())
    for members in strata:
        counts = np.bincount(part[members], minlength=len(shares))
        assert np.abs(counts - shares * len(members)).max() < 1 + 1e-9
    assert np.abs(np.bincount(part, minlength=len(shares)) - shares * len(part)).max() < 2  # over all strata


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.lists(st.floats(0.05, 0.3), min_size=1, max_size=3))
def test_unequal_subjects_keep_every_share_within_two_of_the_largest(sizes: list[int], shares: list[float]) -> None:
    weights = np.array(sizes)
    part = deal([np.arange(len(sizes))], weights, shares)
    assert (np.diff(part) >= 0).all() and part.min() >= 0 and part.max() <= len(shares)
    if len(sizes) > len(shares):
        assert len(np.unique(part)) == len(shares) + 1
    if len(sizes) * min(shares) > 2:
        for index, share in enumerate(shares):
            assert abs(weights[part == index].sum() - share * weights.sum()) <= 2 * weights.max()


def test_a_subject_with_many_rows_is_counted_by_its_rows() -> None:
    rows = [400] + [1] * 600
    subject = np.repeat([f"p{i}" for i in range(601)], rows).tolist()
    cohort = Cohort.of({"x": [1.0] * 1000}, [Field("x", "number")], subject=subject)
    for seed in range(8):
        fold = hold_out(cohort, test=0.5, tune=0, seed=seed).folds[0]
        refuse_leak(cohort, fold)
        assert abs(len(fold.test) - 500) <= 200  # half of the largest subject


def test_a_subject_counts_for_its_rarest_class() -> None:
    """Ten subjects have one positive row among nine negative ones: each part of five folds tests two of them."""
    labels = [i >= 40 and j == 0 for i in range(50) for j in range(10)]
    subject = [f"p{i}" for i in range(50) for _ in range(10)]
    cohort = Cohort.of({"y": labels}, [Field("y", "boolean", ("target",))], subject=subject)
    split = k_fold(cohort, folds=5, tune=0.3, stratify="y", seed=0)
    assert [int(cohort["y"][fold.test].sum()) for fold in split.folds] == [2] * 5
    for fold in split.folds:
        assert all(cohort["y"][part].sum() for part in fold.parts.values())


def test_numeric_targets_are_balanced_by_quantile() -> None:
    value = np.random.default_rng(0).lognormal(sigma=2, size=1000)
    cohort = Cohort.of({"v": value}, [Field("v", "number", ("target",))], subject=[f"p{i}" for i in range(1000)])
    top = value > np.quantile(value, 0.9)
    for fold in k_fold(cohort, folds=5, stratify="v", seed=0).folds:
        assert abs(top[fold.test].sum() - 20) <= 1


def test_by_time_the_latest_subjects_are_tested() -> None:
    cohort = patients()
    fold = hold_out(cohort, test=0.2, by="time", stratify="y", seed=0).folds[0]
    last = cohort.frame.group_by("subject").agg(pl.col("at").max())
    tested = last.filter(pl.col("subject").is_in(cohort["subject"][fold.test].unique().implode()))
    others = last.filter(~pl.col("subject").is_in(cohort["subject"][fold.test].unique().implode()))
    assert tested["at"].min() >= others["at"].max()  # type: ignore[operator]
    assert abs(len(fold.test) - 400) <= cohort["subject"].value_counts()["count"].max()  # type: ignore[operator]


def test_folds_by_time_are_spans_of_time_each_tested_once() -> None:
    cohort = patients()
    last = cohort.frame.group_by("subject").agg(pl.col("at").max())
    spans = []
    for fold in k_fold(cohort, folds=4, by="time", stratify="y", seed=0).folds:
        tested = last.filter(pl.col("subject").is_in(cohort["subject"][fold.test].unique().implode()))
        spans.append((tested["at"].min(), tested["at"].max()))
        assert abs(len(fold.test) - 500) <= 2 * cohort["subject"].value_counts()["count"].max()  # type: ignore[operator]
    # Subjects are seen last in one span: the first fold tests the latest.
    assert all(later[0] >= earlier[1] for later, earlier in pairwise(spans))  # type: ignore[operator]


def test_by_site_whole_sites_are_tested_and_each_once() -> None:
    cohort = patients()
    sites = cohort["site"].to_numpy()
    fold = hold_out(cohort, by="site", seed=0).folds[0]
    assert not set(sites[fold.test]) & set(sites[np.setdiff1d(np.arange(len(cohort)), fold.test)])
    left_out = [set(sites[fold.test]) for fold in k_fold(cohort, folds=6, by="site", seed=0).folds]
    assert [len(names) for names in left_out] == [1] * 6 and len(set.union(*left_out)) == 6


def official(labels: list[str | None], subject: list[str]) -> Cohort:
    return Cohort.of({"official": labels}, [Field("official", "category")], subject=subject)


def test_an_official_split_is_taken_as_it_is_and_tune_is_halved() -> None:
    labels = ["train"] * 60 + ["val"] * 20 + ["Test "] * 20
    cohort = official(labels, [f"p{i // 2}" for i in range(100)])
    fold = hold_out(cohort, by="column:official", seed=0).folds[0]
    assert fold.train.tolist() == list(range(60)) and fold.test.tolist() == list(range(80, 100))
    assert fold.tune.tolist() == list(range(60, 80)) and len(fold.search) == 10
    refuse_leak(cohort, fold)


def test_an_official_split_without_tune_takes_it_from_train() -> None:
    cohort = official(["train"] * 80 + ["test"] * 20, [f"p{i}" for i in range(100)])
    fold = hold_out(cohort, by="column:official", tune=0.2, seed=0).folds[0]
    assert [len(part) for part in fold.parts.values()] == [60, 10, 10, 20]
    assert fold.test.tolist() == list(range(80, 100))


def test_an_official_split_that_leaks_is_refused_unless_waived() -> None:
    cohort = official(["train"] * 50 + ["test"] * 50, [f"p{i % 60}" for i in range(100)])
    with pytest.raises(LeakError, match="40 subjects are in more than one part") as error:
        hold_out(cohort, by="column:official", seed=0)
    assert "p1" not in str(error.value)
    waived = hold_out(cohort, by="column:official", seed=0, allow_shared_subjects=True)
    assert waived.folds[0].test.tolist() == list(range(50, 100))
    assert waived.parameters["allow_shared_subjects"] is True
    with pytest.raises(LeakError):
        refuse_leak(cohort, waived.folds[0])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["train", None, "test"], "missing in 1 of 3"),
        (["train", "fold2", "test"], "names no part in 1 rows: 'fold2'"),
        (["val", "val", "test"], "names no row 'train'"),
    ],
)
def test_a_wrong_official_split_is_refused(labels: list[str | None], says: str) -> None:
    with pytest.raises(DataError, match=says):
        hold_out(official(labels, ["a", "b", "c"]), by="column:official")


def test_a_leak_is_counted_and_its_parts_named_but_not_its_people() -> None:
    cohort = one_row_each(["a"] * 6)
    twice = Cohort(cohort.schema, cohort.frame.with_columns(subject=pl.Series(["q1", "q1", "q2", "q2", "q3", "q4"])))
    fold = Fold(*(np.array(rows) for rows in ([0, 2], [1], [4], [3, 5])))
    with pytest.raises(LeakError) as error:
        refuse_leak(twice, fold)
    assert error.value.what == ("2 subjects are in more than one part: 1 in train and search; 1 in train and test")


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hold_out(one_row_each(["a", "b", "a"])), "3 subjects are too few for train, search, calibrate, test"),
        (lambda: k_fold(one_row_each(["a", "b", "a"]), folds=5), "3 subjects are too few for 5 folds"),
        (lambda: hold_out(one_row_each(["a"] * 50), stratify="y"), "'y' has one class only: 'a' in all 50 rows"),
        (
            lambda: hold_out(one_row_each(["a"] * 50 + ["b"] * 3), stratify="y"),
            "class 'b' has 3 subjects, too few for train, search, calibrate, test",
        ),
        (lambda: k_fold(one_row_each(["a"] * 50 + ["b"] * 4), folds=5, stratify="y"), "class 'b' has 4 subjects"),
        (lambda: hold_out(one_row_each([])), "no rows"),
        (lambda: hold_out(one_row_each(["a", None, None]), stratify="y"), "'y' is missing in 2 of 3 rows"),  # type: ignore[list-item]
        (lambda: hold_out(one_row_each(["a", None, "b"])), "'y' is missing in 1 of 3 rows"),  # type: ignore[list-item]
        (lambda: hold_out(one_row_each(["a"] * 9), by="site"), "no field has the role 'site'"),
        (lambda: hold_out(one_row_each(["a"] * 9), by="time"), "no field has the role 'time'"),
        (lambda: hold_out(one_row_each(["a"] * 9), by="ward"), "cannot split by 'ward'"),
        (lambda: k_fold(one_row_each(["a"] * 9), folds=3, by="time"), "no field has the role 'time'"),
        (lambda: k_fold(one_row_each(["a"] * 9), folds=3, by="ward"), "cannot make folds by 'ward'"),
        (lambda: hold_out(one_row_each(["a"] * 9), stratify="z"), "no field 'z'"),
        (lambda: hold_out(patients(), stratify="note"), "cannot stratify by 'note', a text"),
        (lambda: hold_out(patients(), test=0.9, tune=0.2), "leave no rows to train on"),
        (lambda: hold_out(patients(), test=1.5), "test 1.5 is not a share"),
        (lambda: hold_out(patients(), tune=-0.1), "tune -0.1 is not a share"),
        (lambda: hold_out(patients(), test=0, by="time"), "needs a test share"),
        (lambda: k_fold(patients(), folds=1), "1 folds are no cross-validation"),
        (lambda: k_fold(patients(), folds=2, tune=0.5), "leave no rows to train on"),
        (lambda: k_fold(patients(), folds=7, by="site"), "6 sites .* too few for 7 folds"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_number(make: object, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        make()  # type: ignore[operator]
    assert error.value.way_out


def test_a_subject_at_two_sites_is_a_leak() -> None:
    cohort = patients()
    moved = cohort.with_columns({"site": pl.Series([f"site {i % 6}" for i in range(len(cohort))])})
    with pytest.raises(LeakError, match=r"\d+ subjects have rows at more than one site \('site'\)"):
        hold_out(moved, by="site")


def test_small_sets_split_when_each_part_can_have_one() -> None:
    labels = ["AML"] * 25 + ["ALL"] * 47  # Golub's leukaemias: 72 patients
    split = k_fold(one_row_each(labels), folds=5, stratify="y", seed=7)
    for fold in split.folds:
        for part in fold.parts.values():
            assert {labels[row] for row in part} == {"AML", "ALL"}


# -- saving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [WAYS[1], WAYS[7]])
def test_a_split_is_saved_as_a_tidy_table(way: object) -> None:
    cohort = patients()
    split: Split = way(cohort, 1)  # type: ignore[operator]
    frame = split.assignment_frame()
    assert dict(frame.schema) == {"row_id": pl.String(), "fold": pl.Int64(), "part": pl.String()}
    assert frame.height == len(cohort) * len(split.folds)
    again = Split.from_frame(frame, split.kind, split.parameters)
    assert again.digest == split.digest
    for a, b in zip(again.folds, split.folds, strict=True):
        assert all(np.array_equal(a.parts[name], b.parts[name]) for name in PARTS)


def test_a_saved_split_that_is_no_split_is_refused() -> None:
    frame = k_fold(patients(), folds=3).assignment_frame()
    with pytest.raises(DataError, match="same rows"):
        Split.from_frame(frame[1:], "k_fold")
    with pytest.raises(DataError, match="unknown kind"):
        Split.from_frame(frame, "shuffle")


def test_the_assignment_is_frozen() -> None:
    """The order of hashes is a format: the same seed gives the same parts in every version."""
    split = k_fold(patients(), folds=5, stratify="stage", seed=7)
    assert table_digest(split.assignment_frame()) == FROZEN_ASSIGNMENT
    # blake2b keyed with "7" over "a".."f", by hand: hashlib.blake2b(b"a", digest_size=16, key=b"7") and so on
    assert [("abcdef")[i] for i in keyed_order("abcdef", 7)] == FROZEN_ORDER


@pytest.mark.slow
def test_a_million_rows_in_seconds() -> None:
    rng = np.random.default_rng(0)
    who = rng.integers(0, 250_000, 1_000_000)
    cohort = Cohort.of(
        pl.DataFrame({"y": rng.random(1_000_000) < 0.1}),
        [Field("y", "boolean", ("target",))],
        subject=pl.Series(who).cast(pl.String),
    )
    start = time.process_time()
    split = k_fold(cohort, folds=5, stratify="y", seed=0)
    assert time.process_time() - start < 10  # about 1 s on an idle core
    whole_subjects(cohort, split)
