"""Fitted steps: learnt on train, saved as JSON and arrays, replayed exactly. scikit-learn is the oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.prepare import steps
from bedside.prepare.steps.chained import fit_chained, replay_chained
from bedside.prepare.steps.encode import Encode
from bedside.prepare.steps.impute import Impute
from bedside.prepare.steps.scale import Scale

RUN = Run(Path())


def numbers(matrix: np.ndarray, **extra: list) -> Cohort:
    """A cohort of number fields x0, x1 … (NaN is missing)."""
    names = [f"x{j}" for j in range(matrix.shape[1])]
    columns = dict(zip(names, matrix.T, strict=True))
    return Cohort.of(columns, [Field(name, "number") for name in names])


def values(cohort: Cohort, names: list[str] | None = None) -> np.ndarray:
    return cohort.frame.select(names or [item.name for item in cohort.schema.inputs]).to_numpy()


@pytest.fixture
def holes() -> np.ndarray:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(200, 5)) * [1, 10, 0.1, 1000, 1] + [0, 50, 3, -20, 0]
    matrix[:, 4] = rng.integers(0, 4, 200)
    matrix[rng.random(matrix.shape) < 0.15] = np.nan
    return matrix


@pytest.mark.parametrize(("how", "strategy"), [("median", "median"), ("mean", "mean"), ("mode", "most_frequent")])
def test_impute_equals_scikit_learn(holes: np.ndarray, how: str, strategy: str) -> None:
    from sklearn.impute import SimpleImputer

    oracle = SimpleImputer(strategy=strategy, add_indicator=True).fit(holes[:150])
    step = Impute(how).fit(numbers(holes[:150]), run=RUN)
    ours = step.apply(numbers(holes))
    names = [f"x{j}" for j in range(5)] + [f"x{j}.missing" for j in range(5)]
    np.testing.assert_allclose(values(ours, names), oracle.transform(holes), rtol=1e-13, atol=0)


def test_impute_other_kinds_take_the_mode_ties_alphabetically() -> None:
    columns = {"sex": ["F", "M", None, "M", "F"], "smokes": [True, None, True, False, None]}
    cohort = Cohort.of(columns, [Field("sex", "category"), Field("smokes", "boolean")])
    out = Impute().fit(cohort, run=RUN).apply(cohort)
    assert out["sex"].to_list() == ["F", "M", "F", "M", "F"]
    assert out["smokes"].to_list() == [True, True, True, False, True]
    assert out["sex.missing"].to_list() == [0, 0, 1, 0, 0]


def test_impute_constant_fills_fields_of_its_kind() -> None:
    cohort = Cohort.of({"x": [1.0, None], "c": ["a", None]}, [Field("x", "number"), Field("c", "category")])
    assert Impute("constant", value=-1).fit(cohort, run=RUN).apply(cohort)["x"].to_list() == [1.0, -1.0]
    assert Impute("constant", value="none").fit(cohort, run=RUN).apply(cohort)["c"].to_list() == ["a", "none"]
    with pytest.raises(PlanError, match="constant, and only it"):
        Impute("median", value=0)


@pytest.mark.parametrize("how", ["median", "mean", "mode", "iterative"])
def test_a_field_wholly_missing_in_train_is_zero_and_said(how: str) -> None:
    train = numbers(np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan]]))
    step = Impute(how).fit(train, run=RUN)
    assert step.apply(train)["x1"].to_list() == [0.0, 0.0, 0.0]
    assert step.apply(train)["x1.missing"].to_list() == [1.0, 1.0, 1.0]
    assert [(f.id, f.severity, f.values["field"]) for f in step.findings()] == [
        ("all_missing_in_train", "caution", "x1")
    ]


def test_chained_ridge_is_its_own_definition(holes: np.ndarray) -> None:
    """Brute force with scikit-learn's Ridge, column by column, as the docstring says."""
    from sklearn.linear_model import Ridge

    missing = np.isnan(holes)
    mean, sd = np.nanmean(holes, axis=0), np.nanstd(holes, axis=0)
    current = np.where(missing, 0.0, (holes - mean) / sd)
    for _ in range(4):
        for j in np.argsort(missing.sum(axis=0), kind="stable"):
            others = [i for i in range(5) if i != j]
            seen = ~missing[:, j]
            model = Ridge(alpha=2.0).fit(current[seen][:, others], current[seen, j])
            current[~seen, j] = model.predict(current[~seen][:, others])
    expected = np.where(missing, current * sd + mean, holes)
    chain = fit_chained(holes, rounds=4, ridge=2.0)
    np.testing.assert_allclose(replay_chained(holes, chain), expected, rtol=1e-9)
    np.testing.assert_array_equal(replay_chained(holes, chain)[~missing], holes[~missing])


def test_iterative_recovers_a_linear_relation_better_than_the_mean() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    truth = np.column_stack([x, 2 * x + 0.1 * rng.normal(size=400)])
    holed = truth.copy()
    holed[::4, 1] = np.nan
    step = Impute("iterative", indicators=False).fit(numbers(holed), run=RUN)
    error = np.abs(values(step.apply(numbers(holed)))[::4, 1] - truth[::4, 1]).mean()
    assert error < 0.2


@pytest.mark.parametrize(
    ("how", "oracle"), [("standard", "StandardScaler"), ("robust", "RobustScaler"), ("minmax", "MinMaxScaler")]
)
def test_scale_equals_scikit_learn(holes: np.ndarray, how: str, oracle: str) -> None:
    from sklearn import preprocessing

    fitted = getattr(preprocessing, oracle)().fit(holes[:150])
    ours = values(Scale(how).fit(numbers(holes[:150]), run=RUN).apply(numbers(holes)))
    np.testing.assert_allclose(ours, fitted.transform(holes), rtol=1e-11, atol=1e-12)


def test_scale_constant_becomes_zero_and_binary_stays() -> None:
    matrix = np.array([[7.3, 0.0], [7.3, 1.0], [7.3, 1.0]])
    out = values(Scale().fit(numbers(matrix), run=RUN).apply(numbers(matrix)))
    np.testing.assert_array_equal(out, [[0, 0], [0, 1], [0, 1]])
    scaled = values(Scale(binary=True).fit(numbers(matrix), run=RUN).apply(numbers(matrix)))
    assert scaled[0, 1] == pytest.approx(-np.sqrt(2))


def categories(values: list[str | None], levels: tuple[str, ...] | None = None) -> Cohort:
    return Cohort.of({"c": values}, [Field("c", "category", levels=levels)])


def test_onehot_equals_scikit_learn_with_rare_and_unseen_levels_pooled() -> None:
    from sklearn.preprocessing import OneHotEncoder

    train, new = ["b"] * 6 + ["a"] * 5 + ["rare1"] * 2 + ["rare2"], ["a", "rare1", "rare2", "never", "b"]
    oracle = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False)
    oracle.fit(np.array(train)[:, None])
    step = Encode(min_count=5).fit(categories(train), run=RUN)
    out = step.apply(categories(new))
    assert out.schema.names == ["c=a", "c=b", "c=other"]
    np.testing.assert_array_equal(values(out), oracle.transform(np.array(new)[:, None]))
    assert "rare" not in str(step.state), "a level that few patients have is not kept"


def test_onehot_missing_and_unseen_have_their_own_field_on_request() -> None:
    step = Encode(min_count=1, unseen=True).fit(categories(["a", "b", None]), run=RUN)
    out = step.apply(categories(["a", None, "z"]))
    assert out.schema.names == ["c=a", "c=b", "c=unseen", "c=missing"]
    np.testing.assert_array_equal(values(out), [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


def test_codes_follow_the_levels_and_unseen_is_missing() -> None:
    step = Encode("codes", min_count=1).fit(categories(["x", "y", "z"], levels=("z", "y", "x")), run=RUN)
    assert step.apply(categories(["x", "z", "new", None]))["c"].to_list() == [2.0, 0.0, None, None]


def test_ordinal_is_its_rank_boolean_is_0_1_and_other_roles_stay() -> None:
    fields = [
        Field("nyha", "ordinal", levels=("I", "II", "III", "IV")),
        Field("smokes", "boolean"),
        Field("sex", "category", ("input", "sensitive")),
    ]
    cohort = Cohort.of({"nyha": ["IV", "I", "V"], "smokes": [True, False, None], "sex": ["F", "M", "F"]}, fields)
    out = Encode(min_count=1).fit(cohort, run=RUN).apply(cohort)
    assert out["nyha"].to_list() == [3.0, 0.0, None]
    assert out["smokes"].to_list() == [1.0, 0.0, None]
    assert out["sex=F"].to_list() == [1.0, 0.0, 1.0]
    assert out.schema["sex"].roles == ("sensitive",)
    assert [item.name for item in out.schema.inputs] == ["nyha", "smokes", "sex=F", "sex=M"]


def test_an_ordinal_without_levels_is_refused() -> None:
    with pytest.raises(DataError, match="has no levels"):
        Encode().fit(Cohort.of({"o": ["a"]}, [Field("o", "ordinal")]), run=RUN)


def test_the_target_is_never_touched() -> None:
    cohort = Cohort.of(
        {"x": [1.0, None], "y": ["a", None]}, [Field("x", "number"), Field("y", "category", ("target",))]
    )
    out = steps.apply_all(steps.fit_all(["impute", {"encode": {"min_count": 1}}, "scale"], cohort, RUN), cohort)
    assert out["y"].to_list() == ["a", None]
    with pytest.raises(DataError, match="is no input"):
        Impute(fields=["y"]).fit(cohort, run=RUN)


def test_a_learnt_field_that_is_not_there_is_named() -> None:
    step = Scale().fit(numbers(np.full((3, 2), 5.0)), run=RUN)
    with pytest.raises(DataError, match="lacks: x1"):
        step.apply(numbers(np.ones((3, 1))))


def test_wrong_choices_are_refused_when_the_plan_is_read() -> None:
    with pytest.raises(PlanError, match="one of standard, robust, minmax"):
        steps.build({"scale": "log"})
    with pytest.raises(PlanError, match="cleans before the split"):
        steps.build({"clean.duplicates": "drop"})
    with pytest.raises(PlanError, match="no parameter"):
        steps.build({"scale": {"wrong": 1}})


MIXED = [{"encode": {"min_count": 1}}, {"impute": "iterative"}, {"scale": "robust"}]


def mixed(holes: np.ndarray) -> Cohort:
    columns = {f"x{j}": holes[:, j] for j in range(5)} | {
        "c": [None if i % 7 == 0 else "ab漢"[i % 3] for i in range(200)]
    }
    return Cohort.of(columns, [*(Field(f"x{j}", "number") for j in range(5)), Field("c", "category")])


def test_saved_steps_replay_exactly_in_a_fresh_process(holes: np.ndarray, tmp_path: Path) -> None:
    cohort = mixed(holes)
    fitted = steps.fit_all(MIXED, cohort, RUN)
    steps.save_all(fitted, tmp_path)
    cohort.frame.write_parquet(tmp_path / "in.parquet")
    code = (
        "import json, sys, polars as pl; from pathlib import Path;"
        "from bedside.cohort.cohort import Cohort; from bedside.cohort.schema import Schema;"
        "from bedside.prepare import steps; folder = Path(sys.argv[1]);"
        "schema = Schema.from_json(json.loads(sys.argv[2]));"
        "cohort = Cohort(schema, pl.read_parquet(folder / 'in.parquet'));"
        "print(steps.apply_all(steps.load_all(folder), cohort).digest)"
    )
    import json

    arguments = [sys.executable, "-c", code, str(tmp_path), json.dumps(cohort.schema.to_json())]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == steps.apply_all(fitted, cohort).digest


def test_row_order_does_not_change_what_is_learnt(holes: np.ndarray) -> None:
    cohort = mixed(holes)
    shuffled = cohort.take(np.random.default_rng(1).permutation(200))
    for spec in ("impute", "encode", "scale"):
        assert steps.build(spec).fit(cohort, run=RUN).state == steps.build(spec).fit(shuffled, run=RUN).state


@pytest.mark.slow
def test_ten_thousand_fields_of_sixty_rows_take_seconds() -> None:
    import time

    matrix = np.random.default_rng(0).normal(size=(60, 10_000))
    matrix[::7, ::3] = np.nan
    cohort = numbers(matrix)
    start = time.process_time()
    out = steps.apply_all(steps.fit_all(["encode", "impute", "scale"], cohort, RUN), cohort)
    assert time.process_time() - start < 20
    assert out.frame.select(pl.all().exclude("row_id", "subject")).null_count().sum_horizontal().item() == 0
