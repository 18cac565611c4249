"""The conformance suite over the whole catalogue, and each model against the library it wraps.

Fast: logistic, LightGBM, rules, majority. The others are marked slow (make test-slow).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from bedside.cohort import plugins
from bedside.cohort.run import Run
from bedside.models import catalogue
from bedside.models.conformance import RULES, SEED, Case, check_model, example, in_fresh_process, targets_of, task_of
from bedside.models.tabular.matrix import in_row_order, matrix
from bedside.models.task import Classify
from bedside.prepare.steps import apply_all, fit_all

FAST = ("logistic", "lightgbm", "rules", "majority")
RULE_SET = [
    {"if": "age > 66 and marker > 1.2", "then": "high"},
    {"if": "marker > 2 or (age >= 70 and not smoker == false)", "then": "high"},
    {"if": "marker < 0.6 or age < 50", "then": "low"},
]
# Smaller than their defaults, so that the suite is quick; each must fit the example.
SPECS: dict[str, list[tuple[Any, list[str]]]] = {
    "rules": [({"name": "rules", "rules": RULE_SET}, ["event", "grade", "stay", "labels"])],
    "ebm": [({"name": "ebm", "bags": 2, "interactions": 2, "max_rounds": 300}, ["event", "grade", "stay"])],
    "random_forest": [({"name": "random_forest", "trees": 40}, ["event", "grade", "stay", "labels"])],
    "mlp": [({"name": "mlp", "hidden": [8], "epochs": 100, "learning_rate": 0.01}, ["event", "grade", "stay"])],
    "sklearn": [
        ("sklearn:sklearn.ensemble.ExtraTreesClassifier", ["event", "grade"]),
        ({"name": "sklearn", "path": "sklearn.ensemble.HistGradientBoostingRegressor", "max_iter": 20}, ["stay"]),
        ({"name": "sklearn", "path": "lightgbm.LGBMClassifier", "n_estimators": 20}, ["event"]),
    ],
}


def cases() -> list[Any]:
    """Every model for tables on every target it can learn, as pytest parameters (test_imaging.py has the others)."""
    found = []
    for name in [entry.name for entry in catalogue.entries() if entry.modality == "tabular"]:
        slow = () if name in FAST else (pytest.mark.slow,)
        for i, (spec, targets) in enumerate(SPECS.get(name) or [(name, targets_of(name))]):
            found += [pytest.param(name, i, spec, t, id=f"{name}{i or ''}-{t}", marks=slow) for t in targets]
    return found


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Cases fitted once; one fresh process serves all the fast ones, another all the slow ones."""
    made: dict[tuple[str, int, str], Case] = {}

    def get(name: str, i: int, spec: Any, target: str) -> Case:
        key = (name, i, target)
        if key not in made:
            made[key] = Case(spec, target, tmp_path_factory.mktemp(f"{name}-{i}-{target}"))
        return made[key]

    def fresh(slow: bool) -> None:
        alike = [p.values for p in cases() if bool(p.marks) is slow]
        in_fresh_process([get(*values) for values in alike])  # type: ignore[arg-type]

    get.fresh = fresh  # type: ignore[attr-defined]
    return get


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("name", "i", "spec", "target"), cases())
def test_conforms(name: str, i: int, spec: Any, target: str, rule: str, case_of: Any) -> None:
    if rule == "loads_in_a_fresh_process":
        case_of.fresh(name not in FAST)
    RULES[rule](case_of(name, i, spec, target))


def test_the_suite_can_be_run_on_one_model(tmp_path: Path) -> None:
    done = check_model("majority", ["event"], folder=tmp_path)
    assert len(done) == len(RULES)


def test_the_suite_judges_another_packages_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "bedside_warning_score-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bedside-warning-score\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bedside.models]\nwarning_score = bedside_warning_score:WarningScore\n")
    example_folder = Path(__file__).parents[2] / "examples" / "plugin_model"
    for folder in (example_folder, tmp_path / "site"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{example_folder}{os.pathsep}{tmp_path / 'site'}")
    plugins.catalogue.cache_clear()
    try:
        spec = {"name": "warning_score", "limits": {"age": [0, 64], "marker": [0, 1.2]}}
        done = check_model(spec, ["event", "grade"], folder=tmp_path / "cases")
    finally:
        monkeypatch.undo()
        plugins.catalogue.cache_clear()
    assert len(done) == 2 * len(RULES)


# -- equals the library it wraps ----------------------------------------------------------------------------------


def learnt(name: str, target: str, parameters: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Train matrix and target, test matrix, and our raw predictions, after the model's default steps."""
    cohort = example()
    task = task_of(target)
    run = Run(Path(), seed=SEED, threads=1)
    model = catalogue.build({"name": name, **parameters})
    train, test = in_row_order(cohort.take(np.arange(160))), cohort.take(np.arange(160, 240))
    steps = fit_all(model.default_steps, train, run)
    train, test = apply_all(steps, train), apply_all(steps, test)
    model.fit(train, None, task=task, run=run)
    fields = model.learnt.fields
    x, xt = (matrix(part, fields, name, takes_missing=True) for part in (train, test))
    found = model.predict(test)
    return x, np.asarray(task.truth(train)), xt, found.probabilities if isinstance(task, Classify) else found.score


def references() -> list[Any]:
    """(our name, parameters, target, the library's own estimator built in the obvious way)."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC, SVR, LinearSVC
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    saga = {"solver": "saga", "max_iter": 2000, "tol": 1e-4, "random_state": SEED}
    forest = {"n_estimators": 20, "min_samples_leaf": 5, "random_state": SEED}
    table = [
        ("logistic", {}, "event", LogisticRegression(max_iter=1000, tol=1e-6)),
        ("logistic", {"C": 0.1}, "grade", LogisticRegression(C=0.1, max_iter=1000, tol=1e-6)),
        ("logistic", {"C": None}, "event", LogisticRegression(C=np.inf, max_iter=1000, tol=1e-6)),
        ("logistic", {"class_weight": "balanced"}, "event", LogisticRegression(tol=1e-6, class_weight="balanced")),
        ("ridge", {"strength": 4.0}, "stay", Ridge(alpha=4.0)),
        ("elastic_net", {}, "event", LogisticRegression(l1_ratio=0.5, **saga)),
        ("lasso", {}, "grade", LogisticRegression(l1_ratio=1.0, **saga)),
        ("lasso", {"strength": 8.0}, "stay", Scaled(ElasticNet(alpha=0.05, l1_ratio=1.0, max_iter=10_000, tol=1e-6))),
        ("naive_bayes", {}, "grade", GaussianNB()),
        ("random_forest", {"trees": 20}, "event", RandomForestClassifier(**forest)),
        (
            "random_forest",
            {"trees": 20, "max_features": 0.5},
            "stay",
            RandomForestRegressor(max_features=0.5, **forest),
        ),
        ("decision_tree", {}, "grade", DecisionTreeClassifier(max_depth=4, min_samples_leaf=20, random_state=SEED)),
        ("decision_tree", {}, "stay", DecisionTreeRegressor(max_depth=4, min_samples_leaf=20, random_state=SEED)),
        ("linear_svm", {}, "event", LinearSVC(max_iter=10_000, random_state=SEED)),
        ("rbf_svm", {}, "event", SVC()),
        ("rbf_svm", {}, "grade", SVC()),
        ("rbf_svm", {"C": 2.0}, "stay", Scaled(SVR(C=2.0))),
        ("knn", {"k": 7}, "grade", KNeighborsClassifier(7)),
        ("mlp", {"epochs": 30}, "event", MLPClassifier((32,), alpha=1e-2, max_iter=30, random_state=SEED)),
    ]
    return [
        pytest.param(*row, id=f"{row[0]}-{row[2]}-{i}", marks=() if row[0] == "logistic" else (pytest.mark.slow,))
        for i, row in enumerate(table)
    ]


class Scaled:
    """A regressor on a centred and scaled target, as our margin and lasso models fit it."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, x: np.ndarray, y: np.ndarray) -> Scaled:
        self.center, self.spread = y.mean(), y.std()
        self.estimator.fit(x, (y - self.center) / self.spread)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.center + self.spread * self.estimator.predict(x)


@pytest.mark.parametrize(("name", "parameters", "target", "reference"), references())
def test_equals_the_library_it_wraps(name: str, parameters: dict[str, Any], target: str, reference: Any) -> None:
    x, y, xt, ours = learnt(name, target, parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thirty epochs do not converge, and need not
        reference.fit(x, y)
    if target == "stay":
        theirs = reference.predict(xt)
    elif hasattr(reference, "predict_proba"):
        theirs = reference.predict_proba(xt)
    else:
        margin = reference.decision_function(xt)
        theirs = np.column_stack([expit(-margin), expit(margin)]) if margin.ndim == 1 else softmax(margin, axis=1)
    assert np.abs(ours - theirs).max() < 1e-10


@pytest.mark.parametrize("target", ["event", "grade", "stay"])
def test_lightgbm_equals_its_own_scikit_learn_interface(target: str) -> None:
    from lightgbm import LGBMClassifier, LGBMRegressor

    x, y, xt, ours = learnt("lightgbm", target, {"rounds": 40, "feature_fraction": 0.7})
    kind = LGBMRegressor if target == "stay" else LGBMClassifier
    theirs = kind(
        n_estimators=40, learning_rate=0.05, num_leaves=15, min_child_samples=20, reg_lambda=1.0, colsample_bytree=0.7,
        random_state=SEED, n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1,
    ).fit(x, y)  # fmt: skip
    wanted = theirs.predict(xt) if target == "stay" else theirs.predict_proba(xt)
    assert np.abs(ours - wanted).max() < 1e-10


@pytest.mark.slow
def test_ebm_equals_interpret() -> None:
    from interpret.glassbox import ExplainableBoostingClassifier

    x, y, xt, ours = learnt("ebm", "event", {"bags": 2, "interactions": 2, "max_rounds": 200})
    theirs = ExplainableBoostingClassifier(
        feature_types=["continuous"] * x.shape[1],
        outer_bags=2,
        interactions=2,
        max_rounds=200,
        random_state=SEED,
        n_jobs=1,
    ).fit(x, y)
    assert np.abs(ours - theirs.predict_proba(xt)).max() < 1e-10
