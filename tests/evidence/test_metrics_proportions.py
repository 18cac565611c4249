"""A proportion: published intervals, and the patient as the unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bedside.evidence.metrics.proportions import Method, clopper_pearson, jeffreys, proportion, wilson

# Newcombe 1998, Statistics in Medicine 17:857, table I: events, n, Wilson (method 3), Clopper-Pearson (method 5).
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("events", "n", "of_wilson", "of_exact"), NEWCOMBE)
def test_published_intervals(
    events: int, n: int, of_wilson: tuple[float, float], of_exact: tuple[float, float]
) -> None:
    score, exact = wilson(events, n), clopper_pearson(events, n)
    assert (round(score.low, 4), round(score.high, 4)) == of_wilson
    assert (round(exact.low, 4), round(exact.high, 4)) == of_exact
    assert score.value == exact.value == events / n


def test_intervals_mirror_and_hold_their_value() -> None:
    for events in range(0, 13):
        for make in (wilson, clopper_pearson, jeffreys):
            there, back = make(events, 12), make(12 - events, 12)
            assert there.low == pytest.approx(1 - back.high, abs=1e-13)
            assert 0 <= there.low <= there.value <= there.high <= 1


def test_jeffreys_is_the_beta_posterior() -> None:
    found = jeffreys(7, 30, level=0.9)
    posterior = stats.beta(7.5, 23.5)
    assert found.low == pytest.approx(posterior.ppf(0.05), rel=1e-12)
    assert found.high == pytest.approx(posterior.ppf(0.95), rel=1e-12)


def test_one_row_a_subject_is_plain_wilson() -> None:
    hit = np.arange(40) < 9
    plain = wilson(9, 40)
    found = proportion(hit, subject=np.arange(40)[::-1])
    assert (found.low, found.high, found.method) == (plain.low, plain.high, "wilson")


@pytest.mark.parametrize("events", [0, 9, 40])
def test_doubling_every_row_of_a_subject_changes_nothing(events: int) -> None:
    hit = np.arange(40) < events
    plain = proportion(hit)
    doubled = proportion(np.repeat(hit, 2), subject=np.repeat(np.arange(40), 2))
    assert doubled.method == "wilson_clustered"
    assert (doubled.low, doubled.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert (doubled.n_rows, doubled.n_subjects) == (80, 40)


def test_subjects_that_are_all_alike_count_once_each() -> None:
    # 12 subjects of 10 rows with the same share: nothing is known of how they differ.
    hit, subject = np.tile(np.arange(10) < 7, 12), np.repeat(np.arange(12), 10)
    found, twelve = proportion(hit, subject=subject), wilson(8.4, 12)
    assert (found.low, found.high) == pytest.approx((twelve.low, twelve.high))
    alone = proportion([1, 0, 1, 1], subject=[3, 3, 3, 3])
    assert alone.high - alone.low > 0.8


def test_whole_number_weights_on_own_subjects_are_copies_of_the_row() -> None:
    rng = np.random.default_rng(0)
    hit, copies = rng.random(60) < 0.3, rng.integers(1, 4, 60)
    weighted = proportion(hit, weights=copies)
    copied = proportion(np.repeat(hit, copies), subject=np.repeat(np.arange(60), copies))
    assert (weighted.value, weighted.low, weighted.high) == pytest.approx((copied.value, copied.low, copied.high))


def test_clustered_wilson_covers_and_plain_wilson_does_not() -> None:
    # 60 subjects of 8 rows; a subject's rate is Beta(2, 3): mean 0.4, intraclass correlation 1/6.
    rng = np.random.default_rng(1)
    subject = np.repeat(np.arange(60), 8)
    clustered = plain = 0
    for _ in range(1000):
        hit = rng.random(480) < np.repeat(rng.beta(2, 3, 60), 8)
        found = proportion(hit, subject=subject)
        naive = wilson(int(hit.sum()), 480)
        clustered += found.low <= 0.4 <= found.high
        plain += naive.low <= 0.4 <= naive.high
    # A coverage in 0.93..0.97 gives fewer than 896 or more than 992 of 1000 with probability < 1e-4.
    assert 896 <= clustered <= 992
    assert plain < 880


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: wilson(0, 0), "no rows"),
        (lambda: wilson(3, 2), "3 events among 2"),
        (lambda: clopper_pearson(-1, 2), "-1 events"),
        (lambda: wilson(1, 2, level=1.0), "level"),
        (lambda: proportion([]), "non-empty"),
        (lambda: proportion([0, 2]), "0 or 1"),
        (lambda: proportion([0.0, np.nan]), "0 or 1"),
        (lambda: proportion([0, 1], subject=[0, -1]), "without a subject"),
        (lambda: proportion([0, 1], subject=[0.0, 1.0]), "integer codes"),
        (lambda: proportion([0, 1], weights=[0.0, 0.0]), "not all 0"),
        (lambda: proportion([0, 1], weights=[1.0, -1.0]), "weights"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()


@pytest.mark.parametrize("method", ["clopper_pearson", "jeffreys"])
def test_a_share_of_clustered_rows_has_the_interval_of_its_effective_number(method: Method) -> None:
    rng = np.random.default_rng(4)
    hit = rng.random(300) < 0.8
    # Korn and Graubard 1998: three copies of every row, one subject each, are one row each.
    once = proportion(hit, method=method)
    thrice = proportion(np.repeat(hit, 3), subject=np.repeat(np.arange(300), 3), method=method)
    assert (once.method, thrice.method) == (method, f"{method}_clustered")
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert once.low == {"clopper_pearson": clopper_pearson, "jeffreys": jeffreys}[method](hit.sum(), 300).low
    with pytest.raises(ValueError, match="choose"):
        proportion(hit, method="exact")  # type: ignore[arg-type]
