"""A family of groups: levels that hold for all."""

from __future__ import annotations

import pytest

from bedside.evidence.metrics.multiplicity import family_level


def test_family_levels() -> None:
    assert family_level(0.95, 1) == 0.95
    assert family_level(0.95, 5) == pytest.approx(0.99)


@pytest.mark.parametrize(("level", "members"), [(0.95, 0), (1.5, 3)])
def test_what_is_undefined_is_refused(level: float, members: int) -> None:
    with pytest.raises(ValueError):
        family_level(level, members)
