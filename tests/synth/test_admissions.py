"""The admissions simulator as a specification: graph, truth, records, leak, reproducibility."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.errors import DataError
from bedside.synth.admissions import ADMISSION, LATENT, LEAK, PATIENT, Noise, draw, simulate, true_risk

DOCS = Path(__file__).resolve().parents[2] / "docs" / "simulators.md"
SEED = 7


@pytest.fixture(scope="module")
def states() -> dict[str, np.ndarray]:
    return draw(20_000, SEED)


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score))


class Watched(Mapping[str, np.ndarray]):
    """A state that remembers which variables an equation looked at."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        self.values_, self.seen = values, set[str]()

    def __getitem__(self, name: str) -> np.ndarray:
        self.seen.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def parents() -> dict[str, set[str]]:
    """The graph as it is in the code, found by watching what each equation reads."""
    values: dict[str, np.ndarray] = {}
    found = {}
    for name, equation in {**PATIENT, **ADMISSION}.items():
        watched = Watched(values)
        values[name] = equation(watched, Noise(np.random.default_rng(0), 50))
        found[name] = watched.seen
    return found


def test_the_documented_graph_is_the_graph_of_the_code() -> None:
    # each row of the table: | `variable` | parents in backquotes or — | …
    documented = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("| `") and len(cells) >= 4:
            name = cells[1].strip("`")
            documented[name] = {word.strip("` ") for word in cells[2].split(",") if word.strip() != "—"}
    assert documented == parents()  # an equation reads only what was drawn before it, so the graph has no cycle


def test_truth_is_calibrated(states: dict[str, np.ndarray]) -> None:
    # Outcomes are Bernoulli draws of the true risk: in each tenth, |observed − expected| < 4.5 standard errors.
    risk, died = true_risk(states), states["died_in_hospital"]
    tenth = np.argsort(np.argsort(risk)) * 10 // len(risk)
    for i in range(10):
        mine = tenth == i
        se = np.sqrt((risk[mine] * (1 - risk[mine])).sum())
        assert abs(died[mine].sum() - risk[mine].sum()) < 4.5 * se


def test_prevalence_and_the_bound_on_discrimination(states: dict[str, np.ndarray]) -> None:
    assert 0.08 <= states["died_in_hospital"].mean() <= 0.10
    assert 0.86 <= auroc(states["died_in_hospital"], true_risk(states)) <= 0.90


def test_a_plain_model_comes_near_the_bound_and_is_calibrated(states: dict[str, np.ndarray]) -> None:
    # scikit-learn only, no part of ours: what a gate of AUROC ≥ .80 and slope .8–1.2 will meet
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cohort = simulate(20_000, SEED)
    numbers = [item for item in cohort.schema.inputs if item.kind == "number"]
    columns = [cohort[item.name].fill_null(np.nan).to_numpy() for item in numbers]
    clean = [np.where((v < f.low) | (v > f.high), np.nan, v) for f, v in zip(numbers, columns, strict=True)]
    x, y = np.column_stack(clean), cohort["died_in_hospital"].to_numpy()
    test = cohort.subject_codes % 4 == 0
    model = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(max_iter=500))
    p = model.fit(x[~test], y[~test]).predict_proba(x[test])[:, 1]
    assert auroc(y[test], p) >= 0.84
    slope = LogisticRegression(C=1e9).fit(np.log(p / (1 - p))[:, None], y[test]).coef_[0, 0]
    assert 0.85 <= slope <= 1.15
    threshold = np.quantile(p[y[test]], 0.05)  # sensitivity .95 overall
    for sex in ("female", "male"):
        mine = y[test] & (cohort["sex"].to_numpy()[test] == sex)
        assert (p[mine] >= threshold).mean() >= 0.90


def test_death_ends_a_patients_admissions_and_time_goes_forward() -> None:
    cohort = simulate(20_000, SEED)
    assert cohort.schema.identity == "declared" and 14_000 < cohort.n_subjects < 18_000
    assert cohort["admitted_at"].is_sorted()
    after = cohort.frame.select(later=pl.col("died_in_hospital").shift(1).over("subject").fill_null(False))["later"]
    assert not after.any()
    order = cohort.frame.select(n=pl.int_range(pl.len()).over("subject") - pl.col("previous_admissions"))["n"]
    assert (order == 0).all()
    assert cohort["admitted_at"].dt.year().is_between(2019, 2023).all()


def test_latent_variables_are_never_recorded() -> None:
    assert not set(LATENT) & set(simulate(100, SEED).schema.names)


def test_lactate_is_missing_not_at_random(states: dict[str, np.ndarray]) -> None:
    cohort = simulate(20_000, SEED)
    lactate = cohort["lactate"]
    measured = (lactate.is_not_null() & (lactate > 0).fill_null(False)).to_numpy()
    assert 0.30 < measured.mean() < 0.45
    assert states["severity"][measured].mean() > states["severity"][~measured].mean() + 0.8
    assert states["lactate"][measured].mean() > 1.4 * states["lactate"][~measured].mean()


def test_there_is_something_for_cleaning_to_find() -> None:
    cohort = simulate(20_000, SEED)
    fahrenheit = cohort["temperature"].is_between(90, 115).sum()
    tenfold = (cohort["systolic_bp"] > 280).sum()
    zero = (cohort["spo2"] == 0).sum()
    assert min(fahrenheit, tenfold, zero) >= 15
    assert (cohort["crp"] == -9).sum() > 500 and cohort["crp"].null_count() > 2000
    for item in cohort.schema.inputs:
        if item.kind == "number":
            assert item.label and item.unit and item.low is not None and item.high is not None
            wrong = (~cohort[item.name].is_between(item.low, item.high)) & (cohort[item.name] != -9)
            assert wrong.sum() < 100  # errors are few


def test_the_leaking_twin_differs_in_one_field_only() -> None:
    honest, leaking = simulate(3000, SEED), simulate(3000, SEED, leak=True)
    assert set(leaking.schema.names) - set(honest.schema.names) == {LEAK}
    assert leaking.keeping(honest.schema.names).frame.equals(honest.frame)
    assert "leak" in leaking.schema.name and leaking.schema[LEAK].roles == ("input",)


def test_the_leak_alone_is_caught_and_nothing_honest_is() -> None:
    cohort = simulate(20_000, SEED, leak=True)
    died = cohort["died_in_hospital"].to_numpy()
    # Each single input's AUROC with a DeLong interval (here: two-valued, so sensitivity and specificity averaged)
    planted = cohort[LEAK].to_numpy()
    sensitivity, specificity = planted[died].mean(), (~planted[~died]).mean()
    variance = (sensitivity * (1 - sensitivity) / died.sum() + specificity * (1 - specificity) / (~died).sum()) / 4
    assert (sensitivity + specificity) / 2 - 1.96 * np.sqrt(variance) >= 0.99
    for item in cohort.schema.inputs:
        if item.kind == "number":
            area = auroc(died, cohort[item.name].fill_null(-1).to_numpy())
            assert max(area, 1 - area) < 0.85


def test_it_says_that_it_is_simulated() -> None:
    cohort = simulate(10, SEED)
    assert cohort.schema.name == "simulated-admissions"
    assert cohort.lineage[0].action == "simulate" and cohort.lineage[0].parameters["simulated"] is True


def test_same_seed_same_digest_and_fast() -> None:
    # frozen: the content of seed 7 is part of what the demo promises
    start = time.process_time()
    cohort = simulate(20_000, SEED)
    assert time.process_time() - start < 1.0
    assert cohort.digest == "47f56fa42477805f3ce054c2e8391e9eb46d1d2415da602b13c753892f0da63b"
    assert simulate(500, SEED).digest == simulate(500, SEED).digest != simulate(500, SEED + 1).digest
    before = np.random.get_state()[1].copy()
    simulate(50, SEED)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("n", [0, -5])
def test_no_rows_is_an_error(n: int) -> None:
    with pytest.raises(DataError, match="cannot simulate"):
        simulate(n, SEED)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_cohorts_are_whole(n: int) -> None:
    assert len(simulate(n, SEED, leak=True)) == n
