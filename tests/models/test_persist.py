"""Model files: canonical, read strictly, refused when anything in them is not what fitting wrote."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.cohort.digest import sha256_hex
from bedside.cohort.run import Run
from bedside.errors import IntegrityError, PlanError
from bedside.models.conformance import Case
from bedside.models.digest import folder_digest
from bedside.models.persist import SCHEMA, _archive, _dumps, pack, unpack
from bedside.models.pipeline import Pipeline
from bedside.models.tabular.logistic import Logistic


@pytest.fixture(scope="module")
def xy() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    return x, (x[:, 0] + rng.normal(size=120) > 0).astype(int)


@pytest.fixture(scope="module")
def logistic_bytes(xy: tuple[np.ndarray, np.ndarray]) -> bytes:
    from sklearn.linear_model import LogisticRegression

    return pack(LogisticRegression().fit(*xy))


@pytest.fixture(scope="module")
def tree_bytes(xy: tuple[np.ndarray, np.ndarray]) -> bytes:
    from sklearn.tree import DecisionTreeClassifier

    return pack(DecisionTreeClassifier(max_depth=3, random_state=0).fit(*xy))


def opened(data: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop(SCHEMA)), members


def forged(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with one member replaced and everything that names it made to agree, as a forger would."""
    schema, members = opened(data)
    name, renamed = f"{sha256_hex(old)}.npy", f"{sha256_hex(new)}.npy"
    members[renamed] = new
    del members[name]
    return _archive(_dumps(json.loads(json.dumps(schema).replace(name, renamed))), members)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_equal_estimators_give_equal_bytes_and_back(xy: tuple[np.ndarray, np.ndarray], tree_bytes: bytes) -> None:
    from sklearn.tree import DecisionTreeClassifier

    again = DecisionTreeClassifier(max_depth=3, random_state=0).fit(*xy)
    assert pack(again) == tree_bytes
    loaded = unpack(tree_bytes, "tree", 4)
    assert (loaded.predict_proba(xy[0]) == again.predict_proba(xy[0])).all()
    assert pack(loaded) == tree_bytes


def test_any_flipped_byte_is_found(logistic_bytes: bytes) -> None:
    for at in np.random.default_rng(1).choice(len(logistic_bytes), 400, replace=False):
        changed = bytearray(logistic_bytes)
        changed[at] ^= 1 << int(at) % 8
        with pytest.raises(IntegrityError):
            unpack(bytes(changed), "estimator.skops", 4)


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04N.", b"not a zip" * 50])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"estimator\.skops"):
        unpack(data, "estimator.skops", 4)


def test_a_cut_or_lengthened_file_is_refused(logistic_bytes: bytes) -> None:
    for data in (logistic_bytes[:-1], logistic_bytes[:2000], logistic_bytes + b"x", b"x" + logistic_bytes):
        with pytest.raises(IntegrityError):
            unpack(data, "estimator.skops", 4)


def test_a_pickle_hidden_beside_the_members_is_refused(logistic_bytes: bytes, tmp_path: Path) -> None:
    hidden = io.BytesIO(logistic_bytes)
    with zipfile.ZipFile(hidden, "a") as archive:
        archive.writestr("model.pkl", pickle.dumps(Bomb(tmp_path / "bomb")))
    with pytest.raises(IntegrityError, match="does not name"):
        unpack(hidden.getvalue(), "estimator.skops", 4)
    assert not (tmp_path / "bomb").exists()


def test_a_pickle_inside_an_array_is_refused(logistic_bytes: bytes, tmp_path: Path) -> None:
    _, members = opened(logistic_bytes)
    old = next(data for data in members.values() if np.load(io.BytesIO(data)).shape == (1, 4))
    bomb = npy(np.array([Bomb(tmp_path / "bomb")], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError, match="cannot be read"):
        unpack(forged(logistic_bytes, old, bomb), "estimator.skops", 4)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("FunctionNode", "os", "system"),
        ("TypeNode", "subprocess", "Popen"),
        ("ObjectNode", "sklearn.gaussian_process._gpc", "GaussianProcessClassifier"),
        ("OperatorFuncNode", "operator", "methodcaller"),
        ("NoSuchNode", "builtins", "str"),
    ],
)
def test_a_type_off_the_list_is_refused_by_name(logistic_bytes: bytes, loader: str, module: str, name: str) -> None:
    schema, members = opened(logistic_bytes)
    schema["content"]["content"]["C"] = {"__loader__": loader, "__module__": module, "__class__": name, "content": {}}
    with pytest.raises(IntegrityError, match=f"{module}.{name}"):
        unpack(_archive(_dumps(schema), members), "estimator.skops", 4)


def test_a_type_off_the_list_is_refused_when_packed(xy: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(PlanError, match="GaussianProcessClassifier"):
        pack(GaussianProcessClassifier().fit(*xy))
    model = LogisticRegression().fit(*xy)
    model.extra_ = print
    with pytest.raises(PlanError, match=r"builtins\.print"):
        pack(model)


def test_a_compressed_archive_is_refused(logistic_bytes: bytes) -> None:
    schema, members = opened(logistic_bytes)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, SCHEMA: _dumps(schema)}.items():
            archive.writestr(name, data)
    with pytest.raises(IntegrityError, match="compressed"):
        unpack(buffer.getvalue(), "estimator.skops", 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10_000), ("right_child", 0), ("left_child", -7), ("feature", 4), ("feature", -3)],
)
def test_a_tree_that_points_outside_itself_is_refused(tree_bytes: bytes, field: str, value: int) -> None:
    # scikit-learn follows these without a check and would read foreign memory (scikit-learn#34558).
    _, members = opened(tree_bytes)
    old = next(data for data in members.values() if np.load(io.BytesIO(data)).dtype.names)
    nodes = np.load(io.BytesIO(old))
    nodes[field][0] = value
    with pytest.raises(IntegrityError, match="a tree"):
        unpack(forged(tree_bytes, old, npy(nodes)), "estimator.skops", 4)


def test_a_tree_over_other_inputs_is_refused(tree_bytes: bytes) -> None:
    with pytest.raises(IntegrityError, match="not over 3 features"):
        unpack(tree_bytes, "estimator.skops", 3)


# -- folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    case = Case("logistic", "event", tmp_path)
    return case.saved("fitted", case.fitted)


def test_one_flipped_byte_in_any_file_is_found(folder: Path) -> None:
    rng = np.random.default_rng(2)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for at in rng.choice(len(data), min(len(data), 12), replace=False):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(IntegrityError):
                Pipeline.load(folder)
        path.write_bytes(data)
    Pipeline.load(folder)


def test_a_missing_a_foreign_and_a_linked_file_are_found(folder: Path, tmp_path: Path) -> None:
    model = folder / "model" / "estimator.skops"
    data = model.read_bytes()
    model.unlink()
    with pytest.raises(IntegrityError, match=r"model/estimator\.skops"):
        Pipeline.load(folder)
    (tmp_path / "elsewhere").write_bytes(data)
    model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="not a plain file"):
        Pipeline.load(folder)
    model.unlink()
    model.write_bytes(data)
    (folder / "model" / "payload.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(IntegrityError, match=r"payload\.pkl"):
        Pipeline.load(folder)


def test_a_model_is_not_loaded_as_another(folder: Path) -> None:
    from bedside.models.tabular.ridge import Ridge

    with pytest.raises(IntegrityError, match="'logistic', not 'ridge'"):
        Ridge.load(folder / "model")


def test_a_booster_that_is_none_is_refused() -> None:
    from bedside.models.tabular.lightgbm import FILE, LightGBM

    for data in (b"tree\nversion=v4\n", b"\xff\xfe", b""):
        with pytest.raises(IntegrityError, match="LightGBM"):
            LightGBM().unpack({FILE: data}, 3)


def test_a_booster_does_not_hold_the_extremes_of_its_inputs(tmp_path: Path) -> None:
    """LightGBM writes every input's smallest and largest value: those of one patient."""
    from bedside.models.tabular.lightgbm import FILE

    case = Case("lightgbm", "event", tmp_path)
    text = (case.saved("fitted", case.fitted) / "model" / FILE).read_text()
    (line,) = [each for each in text.splitlines() if each.startswith("feature_infos=")]
    assert set(line.removeprefix("feature_infos=").split()) <= {"[0:0]", "none"}


def test_digests_do_not_depend_on_where_or_when(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        case = Case("logistic", "event", tmp_path / name)
        digests.add(folder_digest(case.saved("fitted", case.fitted)))
    assert len(digests) == 1


def test_a_parameter_that_is_not_finite_is_refused_on_saving(tmp_path: Path) -> None:
    case = Case("logistic", "event", tmp_path)
    model = Logistic(C=float("inf"))
    prepared = case.fitted.prepare(case.train).with_columns(
        {"event": case.train["event"]}, [case.train.schema["event"]]
    )
    model.fit(prepared, None, task=case.fitted.task, run=Run(tmp_path))
    with pytest.raises(PlanError, match="cannot be saved"):
        model.save(tmp_path)
