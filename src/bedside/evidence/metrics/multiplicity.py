"""Levels and p-values for a family of groups judged together."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import z_value
from bedside.evidence.metrics.rows import Floats, numbers


def family_level(level: float, members: int, *, method: Literal["bonferroni", "sidak"] = "bonferroni") -> float:
    """The level each of `members` intervals needs for all to hold at once with `level`.

    Bonferroni needs no assumption; Šidák (1967) is a little shorter and needs independence (disjoint subjects).
    Raises ValueError without a member.
    """
    z_value(level)
    if members < 1:
        raise ValueError("a family needs a member")
    if method == "bonferroni":
        return 1 - (1 - level) / members
    if method == "sidak":
        return float(level ** (1 / members))
    raise ValueError(f"method {method!r}: choose bonferroni or sidak")


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (members,) in the order given. Source: Holm 1979. Raises ValueError outside [0, 1]."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def holm_levels(p_values: ArrayLike, level: float) -> Floats:
    """The level of each member's interval (members,) under Holm's steps.

    The j-th smallest p-value (from 0) is judged at 1 - (1 - level)/(members - j) as long as all before it are
    significant; from the first that is not, all that remain share its level.
    """
    p = _p_values(p_values)
    z_value(level)
    order = np.argsort(p, kind="stable")
    levels = np.empty(len(p))
    stopped: float | None = None
    for j, member in enumerate(order):
        alpha = (1 - level) / (len(p) - j)
        if stopped is None and p[member] > alpha:
            stopped = alpha
        levels[member] = 1 - (alpha if stopped is None else stopped)
    return levels


def _p_values(p_values: ArrayLike) -> Floats:
    array = np.asarray(p_values)
    p = numbers(array, array.size, "p-values")
    if p.size == 0 or bool(p.min() < 0) or bool(p.max() > 1):
        raise ValueError("p-values must lie in [0, 1], at least one")
    return p
