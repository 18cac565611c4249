"""The small logistic regressions of calibration: Newton's method with an offset, weights and sandwich variance.

Shapes: a design is (terms, rows). Sums run over slices of rows in a fixed order, so results do not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bedside.evidence.metrics.rows import Floats, Subjects

SLICE = 32768  # rows a pass works on at once: they stay in the cache
ITERATIONS = 60


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients (terms,) and their sandwich covariance (terms, terms), the subject being the unit."""

    coefficients: Floats
    covariance: Floats


def fit(
    design: Floats,
    y: Floats,
    *,
    offset: Floats | None = None,
    weights: Floats | None = None,
    start: Floats | None = None,
) -> Floats:
    """Maximum likelihood coefficients of logit P(y) = design'β + offset; y in [0, 1] may be a mean over `weights` rows.

    Newton's method with step halving, to rounding. Raises ValueError when there is no finite maximum (separation) or
    the design is singular.
    """
    beta = np.zeros(len(design)) if start is None else start.astype(np.float64)
    likelihood, gradient, information = _pass(design, y, offset, weights, beta)
    for _ in range(ITERATIONS):
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            raise ValueError("the calibration model is singular") from None
        factor = 1.0
        while True:
            candidate = beta + factor * step
            new = _pass(design, y, offset, weights, candidate)
            # Close to the maximum the likelihood moves by rounding only: a tiny step is always taken.
            if new[0] >= likelihood - 1e-12 * abs(likelihood) or factor * float(np.abs(step).max()) < 1e-8:
                break
            factor /= 2
        beta = candidate
        likelihood, gradient, information = new
        if float(np.abs(beta).max()) > 1e4:
            break
        if factor * float(np.abs(step).max()) <= 1e-9 * (1 + float(np.abs(beta).max())):
            return beta
    raise ValueError("the calibration model has no finite maximum: the score separates the outcome")


def sandwich(
    design: Floats,
    y: Floats,
    beta: Floats,
    subjects: Subjects,
    *,
    offset: Floats | None = None,
    weights: Floats | None = None,
) -> LogisticFit:
    """The fit with covariance A⁻¹ B A⁻¹: A the information, B the sum over subjects of squared scores times I/(I-1).

    Source: White 1982; Liang and Zeger 1986. Raises ValueError with one subject or a singular design.
    """
    _, _, information = _pass(design, y, offset, weights, beta)
    residual = y - _mean(design, offset, beta)
    if weights is not None:
        residual = residual * weights
    try:
        bread = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        raise ValueError("the calibration model is singular") from None
    if subjects.codes is None:
        meat = np.zeros_like(information)
        for part in _slices(design.shape[1]):
            score = design[:, part] * residual[part]
            meat += np.einsum("ir,jr->ij", score, score)
        if subjects.count < 2:
            raise ValueError("one subject only: no interval can be known")
        meat *= subjects.count / (subjects.count - 1)
    else:
        meat = subjects.covariance(design * residual)
    covariance = bread @ meat @ bread
    return LogisticFit(beta, (covariance + covariance.T) / 2)


def _slices(n: int) -> list[slice]:
    return [slice(start, start + SLICE) for start in range(0, n, SLICE)]


def _mean(design: Floats, offset: Floats | None, beta: Floats) -> Floats:
    from scipy.special import expit

    eta = np.einsum("t,tr->r", beta, design)
    return np.asarray(expit(eta if offset is None else eta + offset), dtype=np.float64)


def _pass(
    design: Floats, y: Floats, offset: Floats | None, weights: Floats | None, beta: Floats
) -> tuple[float, Floats, Floats]:
    """Log-likelihood, gradient (terms,) and information (terms, terms) at beta."""
    terms, n = design.shape
    likelihood, gradient, information = 0.0, np.zeros(terms), np.zeros((terms, terms))
    for part in _slices(n):
        x, mine = design[:, part], y[part]
        eta = np.einsum("t,tr->r", beta, x)
        if offset is not None:
            eta += offset[part]
        # log(1 + e^eta) = max(eta, 0) + log(1 + e^-|eta|): never overflows.
        small = np.exp(-np.abs(eta))
        terms_of_rows = mine * eta - np.maximum(eta, 0.0) - np.log1p(small)
        mu = np.where(eta >= 0, 1.0, small) / (1.0 + small)
        residual, curvature = mine - mu, small / (1.0 + small) ** 2
        if weights is not None:
            w = weights[part]
            terms_of_rows, residual, curvature = terms_of_rows * w, residual * w, curvature * w
        likelihood += float(terms_of_rows.sum())
        gradient += np.einsum("tr,r->t", x, residual)
        information += np.einsum("ir,jr->ij", x * curvature, x)
    return likelihood, gradient, information
