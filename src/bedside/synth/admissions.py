"""A causal simulator of hospital admissions: every edge is an equation below, the true risk of death is known.

SIMULATED. Nobody in it ever lived; the numbers are plausible, not estimated from any hospital. It serves demos and
tests, where the right answer must be known. docs/simulators.md holds the same graph as a table (a test compares them).

A structural causal model (Pearl 2009): each variable is a function of its parents and of noise of its own. A patient
has the variables of `PATIENT`; each admission of that patient the variables of `ADMISSION`, in that order. z is a
standard normal and u a uniform draw, fresh in each equation; σ is the logistic function, c65 = (age − 65) / 10.
Latent (never recorded): frailty, severity, infection. Death ends a patient's admissions. What is then *recorded*
(`_record`) is rounded, partly missing (lactate is measured in the sicker: missing not at random) and holds a few typing
errors that cleaning should find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError

Array = NDArray[np.float64]
States = Mapping[str, Array]

SITES = ("north", "south", "east", "west")
SMOKING = ("never", "former", "current")
TYPES = ("elective", "urgent", "emergency")
LATENT = ("frailty", "severity", "infection")
LEAK = "palliative_code_at_discharge"
MISSING_CODE = -9.0
DAYS = 1826  # 2019-01-01 to 2023-12-31


class Noise:
    """Exogenous noise: `z()` standard normal and `u()` uniform, shape (rows,), fresh at each call."""

    def __init__(self, rng: np.random.Generator, rows: int) -> None:
        self.rng = rng
        self.rows = rows

    def z(self) -> Array:
        """Standard normal draws."""
        return self.rng.standard_normal(self.rows)

    def u(self) -> Array:
        """Uniform draws on [0, 1)."""
        return self.rng.random(self.rows)

    def bernoulli(self, p: Array) -> Array:
        """1 with probability p, else 0."""
        return (self.u() < p).astype(np.float64)

    def choice(self, weights: Array) -> Array:
        """Index of a category; weights have shape (rows, categories) and need not sum to one."""
        edges = np.cumsum(weights, axis=1)
        return (self.u()[:, None] * edges[:, -1:] > edges).sum(axis=1).astype(np.float64)


Equation = Callable[[States, Noise], Array]


def _logistic(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _at(values: tuple[float, ...], index: Array) -> Array:
    return np.asarray(values)[index.astype(np.int64)]


def _c65(s: States) -> Array:
    return (s["age"] - 65.0) / 10.0


PATIENT: dict[str, Equation] = {
    "site": lambda s, e: e.choice(np.tile([0.35, 0.30, 0.20, 0.15], (e.rows, 1))),
    "sex": lambda s, e: e.bernoulli(_at((0.50, 0.50, 0.55, 0.47), s["site"])),  # 1 = male
    "age": lambda s, e: np.clip(_at((66.0, 61.0, 70.0, 64.0), s["site"]) + 15.0 * e.z(), 18.0, 99.0),
    "smoking": lambda s, e: e.choice(
        np.stack([np.ones(e.rows), 0.6 * np.exp(0.1 * _c65(s) + 0.3 * s["sex"]), 0.4 * np.exp(-0.25 * _c65(s))], axis=1)
    ),
    "diabetes": lambda s, e: e.bernoulli(_logistic(-1.5 + 0.20 * _c65(s) + 0.15 * s["sex"])),
    "heart_failure": lambda s, e: e.bernoulli(
        _logistic(-2.1 + 0.45 * _c65(s) + 0.55 * s["diabetes"] + 0.30 * (s["smoking"] == 2))
    ),
    "comorbidities": lambda s, e: np.minimum(
        e.rng.poisson(
            np.exp(0.2 + 0.18 * _c65(s) + 0.3 * s["diabetes"] + 0.3 * s["heart_failure"] + 0.1 * s["smoking"])
        ),
        12.0,
    ),
    "frailty": lambda s, e: 0.2 * _c65(s) + e.z(),
    "admissions": lambda s, e: np.minimum(1 + e.rng.poisson(np.exp(-1.4 + 0.15 * s["comorbidities"])), 8.0),
}

ADMISSION: dict[str, Equation] = {
    "admission_type": lambda s, e: e.choice(
        np.stack(
            [_at((0.35, 0.45, 0.20, 0.30), s["site"]), np.full(e.rows, 0.25), 0.45 * np.exp(0.12 * _c65(s))], axis=1
        )
    ),
    "severity": lambda s, e: (
        -0.9 + 0.45 * s["admission_type"] + 0.25 * s["frailty"] + 0.10 * s["comorbidities"] + 0.9 * e.z()
    ),
    "infection": lambda s, e: e.bernoulli(_logistic(-1.2 + 0.6 * s["severity"] + 0.2 * s["diabetes"])),
    "lactate": lambda s, e: np.exp(0.35 + 0.36 * s["severity"] + 0.10 * s["infection"] + 0.25 * e.z()),
    "heart_rate": lambda s, e: (
        82 + 7 * s["severity"] + 6 * s["infection"] + 3 * s["heart_failure"] - 1.5 * _c65(s) + 11 * e.z()
    ),
    "systolic_bp": lambda s, e: 130 + 3.5 * _c65(s) - 10 * s["severity"] - 4 * s["infection"] + 14 * e.z(),
    "respiratory_rate": lambda s, e: np.maximum(
        17 + 2.4 * s["severity"] + 1.5 * s["heart_failure"] + 1.5 * s["infection"] + 2.2 * e.z(), 7.0
    ),
    "temperature": lambda s, e: 36.8 + 0.9 * s["infection"] - 0.05 * _c65(s) + 0.45 * e.z(),
    "spo2": lambda s, e: np.minimum(
        96.5
        - 1.3 * np.maximum(s["severity"], 0.0)
        - 0.8 * (s["smoking"] == 2)
        - 0.8 * s["heart_failure"]
        - 0.8 * s["infection"]
        + 1.4 * e.z(),
        100.0,
    ),
    "creatinine": lambda s, e: np.exp(
        4.30
        + 0.18 * s["sex"]
        + 0.06 * _c65(s)
        + 0.15 * s["diabetes"]
        + 0.22 * s["heart_failure"]
        + 0.14 * s["severity"]
        + 0.25 * e.z()
    ),
    "crp": lambda s, e: np.exp(2.0 + 1.6 * s["infection"] + 0.35 * s["severity"] + 0.7 * e.z()),
    "albumin": lambda s, e: (
        39
        - 1.8 * s["severity"]
        - 2.0 * s["infection"]
        - 0.8 * s["frailty"]
        - 0.3 * s["comorbidities"]
        - 0.4 * _c65(s)
        + 3.0 * e.z()
    ),
    "haemoglobin": lambda s, e: (
        128 + 10 * s["sex"] - 2.0 * _c65(s) - 3 * s["severity"] - 1.5 * s["comorbidities"] + 13 * e.z()
    ),
    "wbc": lambda s, e: np.exp(2.0 + 0.35 * s["infection"] + 0.08 * s["severity"] + 0.05 * s["smoking"] + 0.25 * e.z()),
    "sodium": lambda s, e: 139 - 1.2 * s["heart_failure"] - 0.6 * s["severity"] - 0.3 * _c65(s) + 3.2 * e.z(),
    "glucose": lambda s, e: np.exp(1.80 + 0.40 * s["diabetes"] + 0.06 * s["severity"] + 0.18 * e.z()),
    "died_in_hospital": lambda s, e: e.bernoulli(true_risk(s)),
}


def true_risk(states: States) -> Array:
    """Probability of death in hospital of each admission, shape (rows,), given everything, latent variables too.

    Its AUROC bounds what any model can reach; a model that sees the recorded fields alone stays some way below.
    """
    s = states
    shock = np.maximum(100.0 - s["systolic_bp"], 0.0) / 10.0
    return _logistic(
        -4.0
        + 0.12 * _c65(s)
        + 0.85 * s["severity"]
        + 0.25 * s["frailty"]
        + 0.10 * s["comorbidities"]
        + 0.25 * s["heart_failure"]
        + 0.45 * s["infection"]
        + 1.30 * np.log(s["lactate"])
        + 0.25 * shock
        + 0.12 * np.maximum(92.0 - s["spo2"], 0.0)
        + 0.55 * np.log(s["creatinine"] / 80.0)
        - 0.035 * (s["albumin"] - 38.0)
        + _at((0.0, -0.15, 0.15, 0.0), s["site"])
    )


def draw(n: int, seed: int) -> dict[str, Array]:
    """The true state of n admissions by variable name, each of shape (n,), in the row order of `simulate(n, seed)`.

    Besides the variables of the equations: `subject` (patient number), `day` (days since 2019-01-01 00:00) and
    `previous_admissions`. Raises DataError for n < 1.
    """
    if n < 1:
        raise DataError(f"cannot simulate {n} admissions", "n is at least 1")
    rng = _generators(seed)[0]
    patients: dict[str, Array] = {}
    noise = Noise(rng, n)  # every patient is admitted at least once, so n patients are enough
    for name, equation in PATIENT.items():
        patients[name] = equation(patients, noise)
    first_day = noise.u() * DAYS

    counts = patients.pop("admissions").astype(np.int64)
    subject = np.repeat(np.arange(n), counts)
    states = {name: values[subject] for name, values in patients.items()}
    first_row = np.cumsum(counts) - counts
    states["previous_admissions"] = (np.arange(len(subject)) - first_row[subject]).astype(np.float64)
    noise = Noise(rng, len(subject))
    gap = np.where(states["previous_admissions"] > 0, 7.0 + 150.0 * -np.log1p(-noise.u()), 0.0)
    elapsed = np.cumsum(gap)
    states["day"] = first_day[subject] + elapsed - elapsed[first_row][subject]
    states["age"] = states["age"] + (states["day"] - first_day[subject]) / 365.25
    for name, equation in ADMISSION.items():
        states[name] = equation(states, noise)

    died = states["died_in_hospital"]
    died_before = np.cumsum(died) - died
    alive = died_before == died_before[first_row][subject]
    kept = np.flatnonzero(alive & (states["day"] < DAYS))[:n]
    kept = kept[np.argsort(states["day"][kept], kind="stable")]
    return {"subject": subject[kept].astype(np.float64), **{name: values[kept] for name, values in states.items()}}


def simulate(n: int = 20_000, seed: int = 7, *, leak: bool = False) -> Cohort:
    """n simulated admissions as they would lie in a hospital's table; same n and seed, same digest.

    `leak` plants one more field, `palliative_code_at_discharge`, which a coder fills in after the outcome is known;
    all else stays the same to the last bit. Raises DataError for n < 1.
    """
    states = draw(n, seed)
    columns = _record(states, _generators(seed)[1])
    fields = list(FIELDS)
    if leak:
        noise = Noise(_generators(seed)[2], n)
        columns[LEAK] = noise.bernoulli(np.where(states["died_in_hospital"] == 1, 0.998, 0.001)) == 1
        fields.append(LEAK_FIELD)
    frame = pl.DataFrame(
        {
            "row_id": [f"A{i + 1:07d}" for i in range(n)],
            "subject": [f"P{int(i) + 1:07d}" for i in states["subject"]],
            **{item.name: columns[item.name] for item in fields},
        }
    )
    name = "simulated-admissions-with-leak" if leak else "simulated-admissions"
    schema = Schema(tuple(fields), identity="declared", name=name)
    parameters = {"simulator": "admissions", "n": n, "seed": seed, "leak": leak, "simulated": True}
    return Cohort(schema, frame, lineage=(Origin("simulate", parameters),))


def _generators(seed: int) -> list[np.random.Generator]:
    """Generators of the states, of the recording and of the leak: changing one leaves the others alone."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


NUMBERS: tuple[tuple[str, str, str, float, float, int], ...] = (
    ("heart_rate", "heart rate on arrival", "/min", 20, 250, 0),
    ("systolic_bp", "systolic blood pressure on arrival", "mm[Hg]", 40, 280, 0),
    ("respiratory_rate", "respiratory rate on arrival", "/min", 4, 70, 0),
    ("temperature", "body temperature on arrival", "Cel", 30, 43, 1),
    ("spo2", "oxygen saturation on arrival", "%", 50, 100, 0),
    ("creatinine", "creatinine in serum", "umol/L", 15, 2000, 0),
    ("lactate", "lactate in blood", "mmol/L", 0.2, 30, 1),
    ("crp", "C-reactive protein in serum", "mg/L", 0.1, 700, 1),
    ("albumin", "albumin in serum", "g/L", 8, 65, 0),
    ("haemoglobin", "haemoglobin in blood", "g/L", 30, 240, 0),
    ("wbc", "leukocytes in blood", "10*9/L", 0.1, 200, 1),
    ("sodium", "sodium in serum", "mmol/L", 100, 180, 0),
    ("glucose", "glucose in blood", "mmol/L", 1, 60, 1),
)

_NOT_DONE = {f"{MISSING_CODE:g}": "not done (entered by the ward as a code)"}

FIELDS: tuple[Field, ...] = (
    Field("admitted_at", "time", ("time",), label="date and time of admission"),
    Field("site", "category", ("site",), levels=SITES, label="hospital"),
    Field("age", "number", ("input", "sensitive"), unit="a", low=18, high=110, label="age at admission"),
    Field("sex", "category", ("input", "sensitive"), levels=("female", "male"), label="sex as recorded"),
    Field("admission_type", "category", levels=TYPES, label="type of admission"),
    Field("previous_admissions", "number", unit="1", low=0, high=50, label="earlier admissions in this table"),
    Field("smoking", "category", levels=SMOKING, label="smoking status"),
    Field("diabetes", "boolean", label="known diabetes mellitus"),
    Field("heart_failure", "boolean", label="known heart failure"),
    Field("comorbidities", "number", unit="1", low=0, high=30, label="number of chronic conditions"),
    *(
        Field(name, "number", unit=unit, low=low, high=high, codes=_NOT_DONE, label=label)
        for name, label, unit, low, high, _ in NUMBERS
    ),
    Field("died_in_hospital", "boolean", ("target",), label="died before discharge"),
)

LEAK_FIELD = Field(
    LEAK,
    "boolean",
    label="palliative care coded at discharge",
    description="PLANTED LEAK: coded after the outcome, in 99.8 % of deaths and 0.1 % of survivors",
)


def _record(s: States, rng: np.random.Generator) -> dict[str, Any]:
    """What the hospital's table holds: rounded, partly missing, with typing errors."""
    rows = len(s["age"])
    noise = Noise(rng, rows)
    minutes = np.floor(s["day"] * 1440.0) * 60e6  # to the minute, in µs
    columns: dict[str, Any] = {
        "admitted_at": pl.Series(np.datetime64("2019-01-01", "us") + minutes.astype("timedelta64[us]")),
        "site": _names(SITES, s["site"]),
        "age": np.floor(s["age"]),
        "sex": _names(("female", "male"), s["sex"]),
        "admission_type": _names(TYPES, s["admission_type"]),
        "previous_admissions": s["previous_admissions"],
        "diabetes": s["diabetes"] == 1,
        "heart_failure": s["heart_failure"] == 1,
        "comorbidities": s["comorbidities"],
        "died_in_hospital": s["died_in_hospital"] == 1,
    }
    # smoking goes unasked in emergencies
    unasked = noise.u() < _at((0.03, 0.08, 0.20), s["admission_type"])
    columns["smoking"] = pl.Series(_names(SMOKING, s["smoking"])).set(pl.Series(unasked), None)
    measured = _measured(s, noise)
    for name, _, _, low, high, decimals in NUMBERS:
        values = np.round(np.clip(s[name], low, high), decimals)
        values = _mistype(name, values, noise)
        coded = noise.u() < 0.25  # one ward in four writes the code, the others leave the cell empty
        values = np.where(measured[name], values, np.where(coded, MISSING_CODE, np.nan))
        columns[name] = pl.Series(values).fill_nan(None)
    return columns


def _names(names: tuple[str, ...], index: Array) -> list[str]:
    return [names[int(i)] for i in index]


def _measured(s: States, noise: Noise) -> dict[str, NDArray[np.bool_]]:
    """Whether each number was measured; lactate depends on the unseen severity and on itself (not at random)."""
    probability: dict[str, Array] = {name: np.full(noise.rows, 0.98) for name, *_ in NUMBERS}
    probability["lactate"] = _logistic(-0.7 + 0.9 * s["severity"] + 0.9 * np.log(s["lactate"]))
    probability["crp"] = _logistic(0.6 + 1.2 * s["infection"] + 0.4 * s["admission_type"])
    probability["albumin"] = _at((0.60, 0.75, 0.85), s["admission_type"])
    probability["glucose"] = 0.85 + 0.12 * s["diabetes"]
    for name in ("creatinine", "haemoglobin", "wbc", "sodium"):
        probability[name] = _at((0.90, 0.96, 0.97), s["admission_type"])
    return {name: noise.u() < p for name, p in probability.items()}


def _mistype(name: str, values: Array, noise: Noise) -> Array:
    """About two typing errors in a thousand: a lost decimal point, another unit, or a zero."""
    wrong = noise.u() < 0.002
    if name == "temperature":  # typed in degrees Fahrenheit
        return np.where(wrong, np.round(values * 9 / 5 + 32, 1), values)
    if name in ("systolic_bp", "heart_rate", "sodium"):  # one digit too many
        return np.where(wrong, values * 10, values)
    if name in ("spo2", "respiratory_rate"):
        return np.where(wrong, 0.0, values)
    return values
