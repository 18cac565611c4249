"""Decision curves: the results of R's dcurves, and intervals by subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from bedside.evidence.metrics.bootstrap import bootstrap
from bedside.evidence.metrics.utility import interventions_avoided, net_benefit, net_benefit_difference


@pytest.fixture(scope="module")
def dcurves(shared_data: Path) -> Path:
    """Inputs and R results of MSKCC-Epi-Bio/dcurves, tests/benchmark_data."""
    return shared_data / "oracles" / "dcurves"


def table(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, null_values="NA", infer_schema_length=None)


def cancer(path: Path) -> tuple[np.ndarray, pl.DataFrame]:
    frame = table(path)
    return frame["cancer"].cast(pl.Utf8).str.to_lowercase().is_in(["true", "1"]).to_numpy(), frame


def logistic(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dcurves turns a marker into a probability by a logistic regression on it."""
    design = sm.add_constant(x)
    return np.asarray(sm.GLM(y, design, family=sm.families.Binomial()).fit(tol=1e-14).predict(design))


def compare(result: pl.DataFrame, variable: str, y: np.ndarray, p: np.ndarray, prevalence: float | None = None) -> None:
    mine = result.filter(pl.col("variable") == variable).sort("threshold")
    everyone = result.filter(pl.col("variable") == "all").sort("threshold")
    at = mine["threshold"].to_numpy()
    harm = float(mine["harm"][0])
    found = net_benefit(y, p, at, prevalence=prevalence, harm=harm)
    assert found.model == pytest.approx(mine["net_benefit"].to_numpy(), abs=1e-8)
    assert found.all == pytest.approx(everyone["net_benefit"].to_numpy(), abs=1e-8)
    assert found.tp_rate == pytest.approx(mine["tp_rate"].to_numpy(), abs=1e-8)
    assert found.fp_rate == pytest.approx(mine["fp_rate"].to_numpy(), abs=1e-8)
    assert np.all(found.none == 0)
    if "net_intervention_avoided" in mine.columns:
        known = mine.filter(pl.col("threshold") > 0).with_columns(pl.col("net_intervention_avoided").cast(pl.Float64))
        avoided = interventions_avoided(y, p, known["threshold"].to_numpy(), prevalence=prevalence, harm=harm, per=1.0)
        assert avoided.value == pytest.approx(known["net_intervention_avoided"].to_numpy(), abs=1e-8)


@pytest.mark.parametrize("name", ["r_case1_results.csv", "r_dca_famhistory.csv"])
def test_binary_predictor(dcurves: Path, name: str) -> None:
    y, frame = cancer(dcurves / "df_binary.csv")
    compare(table(dcurves / name), "famhistory", y, frame["famhistory"].to_numpy().astype(float))


def test_marker_with_harm(dcurves: Path) -> None:
    y, frame = cancer(dcurves / "df_binary.csv")
    compare(table(dcurves / "r_case3_results.csv"), "marker", y, logistic(y, frame["marker"].to_numpy()))


def test_age_turned_into_a_risk(dcurves: Path) -> None:
    y, frame = cancer(dcurves / "df_binary.csv")
    compare(table(dcurves / "r_simple_binary_dca_result_df.csv"), "age", y, logistic(y, frame["age"].to_numpy()))


def test_case_control_with_a_prevalence(dcurves: Path) -> None:
    # By definition (Vickers 2008): sensitivity · π - (1 - specificity) · (1 - π) · odds.
    frame = table(dcurves / "df_case_control.csv")
    y, p = frame["casecontrol"].to_numpy() == 1, frame["cancerpredmarker"].to_numpy()
    at = np.linspace(0, 0.95, 96)
    found = net_benefit(y, p, at, prevalence=0.2)
    for k, t in enumerate(at):
        called = p >= t
        expected = called[y].mean() * 0.2 - called[~y].mean() * 0.8 * t / (1 - t)
        assert found.model[k] == pytest.approx(expected, abs=1e-12)
        assert found.all[k] == pytest.approx(0.2 - 0.8 * t / (1 - t), abs=1e-12)


def simulated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, n // 4, n)
    lp = rng.normal(-1, 1, n) + rng.normal(size=n // 4)[subject]
    p, other = 1 / (1 + np.exp(-lp)), 1 / (1 + np.exp(-lp - rng.normal(size=n)))
    return rng.random(n) < p, p, other, subject


@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_standard_errors_are_those_of_the_subject_bootstrap(prevalence: float | None) -> None:
    y, p, other, subject = simulated(1200, 1)
    at = np.array([0.1, 0.3, 0.5])

    def values(weights: np.ndarray) -> np.ndarray:
        out = []
        for w in weights:
            model = net_benefit(y, p, at, prevalence=prevalence, weights=w)
            second = net_benefit(y, other, at, prevalence=prevalence, weights=w)
            out.append(np.concatenate([model.model, model.model - model.all, model.model - second.model]))
        return np.array(out)

    point, draws = bootstrap(values, 1200, subject=subject, replicates=400, seed=2)
    spread = draws.std(axis=0)
    found = net_benefit(y, p, at, prevalence=prevalence, subject=subject)
    to_all = net_benefit_difference(y, p, None, at, prevalence=prevalence, subject=subject)
    paired = net_benefit_difference(y, p, other, at, prevalence=prevalence, subject=subject)
    assert np.concatenate([found.model, to_all.value, paired.value]) == pytest.approx(point, abs=1e-12)
    assert np.concatenate([found.se, to_all.se, paired.se]) == pytest.approx(spread, rel=0.2)
    assert found.method == "delta_clustered"


def test_weights_are_copies() -> None:
    y, p, _, _ = simulated(200, 3)
    copies = np.random.default_rng(0).integers(1, 4, 200)
    at = [0.2, 0.4]
    weighted = net_benefit(y, p, at, weights=copies)
    copied = net_benefit(np.repeat(y, copies), np.repeat(p, copies), at, subject=np.repeat(np.arange(200), copies))
    assert weighted.model == pytest.approx(copied.model, abs=1e-12)
    assert weighted.se == pytest.approx(copied.se, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: net_benefit([0, 1], [0.1, 0.9], [1.0]), r"\[0, 1\)"),
        (lambda: net_benefit([0, 1], [0.1, 0.9], [-0.1]), r"\[0, 1\)"),
        (lambda: net_benefit([0, 1], [0.1, 0.9], []), r"\[0, 1\)"),
        (lambda: net_benefit([0, 0], [0.1, 0.9], [0.2], prevalence=0.1), "one class only"),
        (lambda: net_benefit([0, 1], [0.1, 0.9], [0.2], prevalence=1.0), "prevalence"),
        (lambda: interventions_avoided([0, 1], [0.1, 0.9], [0.0, 0.2]), "threshold of 0"),
        (lambda: net_benefit([0, 1], [0.1, 1.9], [0.2]), r"\[0, 1\]"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
