"""A family of groups: levels that hold for all."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from bedside.evidence.metrics.multiplicity import family_level, holm, holm_levels


def test_family_levels() -> None:
    assert family_level(0.95, 1) == 0.95
    assert family_level(0.95, 5) == pytest.approx(0.99)
    assert family_level(0.95, 5, method="sidak") == pytest.approx(0.95**0.2)


def test_holm_is_statsmodels() -> None:
    p = np.array([0.04, 0.001, 0.03, 0.5, 0.012])
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_levels_step_down_until_the_first_that_fails() -> None:
    levels = holm_levels([0.5, 0.001, 0.2, 0.015], 0.95)
    # .001 ≤ .05/4 and .015 ≤ .05/3 step down; .2 > .05/2 does not, and the rest shares its level.
    assert levels == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 4, 1 - 0.05 / 2, 1 - 0.05 / 3])


def test_what_is_undefined_is_refused() -> None:
    for call in (
        lambda: family_level(0.95, 0),
        lambda: family_level(1.5, 3),
        lambda: family_level(0.95, 3, method="none"),  # type: ignore[arg-type]
        lambda: holm([]),
        lambda: holm([1.2]),
    ):
        with pytest.raises(ValueError):
            call()
