"""The level for a family of groups judged together."""

from __future__ import annotations

from bedside.evidence.metrics.interval import z_value


def family_level(level: float, members: int) -> float:
    """The level each of `members` intervals needs for all to hold at once with `level`, by Bonferroni's inequality.

    It needs no assumption on how the groups overlap. Raises ValueError without a member.
    """
    z_value(level)
    if members < 1:
        raise ValueError("a family needs a member")
    return 1 - (1 - level) / members
