"""The serving form of a network: the same answers and the same heat maps without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from bedside.checks.explain.cam import GradCAM  # noqa: E402
from bedside.cohort.cohort import Cohort  # noqa: E402
from bedside.cohort.run import Run  # noqa: E402
from bedside.cohort.schema import Field  # noqa: E402
from bedside.errors import BedsideError, IntegrityError  # noqa: E402
from bedside.models.digest import folder_digest  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.imaging import onnx_export  # noqa: E402
from bedside.models.imaging.onnx_network import GRAPH, OnnxNetwork, softmax  # noqa: E402
from bedside.models.imaging.small_cnn import SmallCNN  # noqa: E402
from bedside.models.pipeline import Pipeline  # noqa: E402
from bedside.models.protocol import Exports  # noqa: E402
from bedside.models.task import Classify, Multilabel  # noqa: E402

SMALL = {"name": "small_cnn", "image": 32, "width": 4, "batch": 8, "budget": {"epochs": 3}}
SHADE = Classify("shade", ("bright", "dark", "none"))


@pytest.fixture(scope="module")
def images() -> Cohort:
    return example_images(48).keeping(["image", "shade"])


@pytest.fixture(scope="module")
def fitted(images: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    rows = np.arange(len(images))
    run = Run(tmp_path_factory.mktemp("fit"), seed=1)
    pipeline = Pipeline(SMALL, calibration="temperature")
    return pipeline.fit(images.take(rows[:30]), None, images.take(rows[30:]), task=SHADE, run=run)


@pytest.fixture(scope="module")
def served(fitted: Pipeline) -> Pipeline:
    return fitted.served()


def test_it_answers_as_the_network_did_one_image_or_many(fitted: Pipeline, served: Pipeline, images: Cohort) -> None:
    assert isinstance(fitted.model, Exports) and not isinstance(served.model, Exports)
    for rows in (np.arange(len(images)), np.array([5])):
        mine, theirs = served.predict(images.take(rows)), fitted.predict(images.take(rows))
        assert mine.frame.drop("call").columns == theirs.frame.drop("call").columns
        assert np.abs(mine.probabilities - theirs.probabilities).max() <= 1e-5
    assert served.served() is served
    assert served.model.served.made["exporter"] == "dynamo"


def test_the_heat_map_is_grad_cam(fitted: Pipeline, served: Pipeline, images: Cohort) -> None:
    """Zhou 2016 and Selvaraju 2017, appendix A: for a global mean and a linear layer, CAM and Grad-CAM are one."""
    classes = np.arange(len(images)) % 3
    model = fitted.model
    expected = GradCAM().maps(model.network(), model.target_layer(), model.inputs(images), classes)
    found = served.model.heat_maps(images, classes)
    assert found.shape == expected.shape and expected.max() > 0
    assert np.abs(found - expected).max() <= 1e-5 * expected.max()


def test_exported_twice_it_has_the_same_bytes_and_they_name_no_file(fitted: Pipeline, served: Pipeline) -> None:
    graph = served.model.served.graph
    assert fitted.model.export().served.graph == graph
    assert b".py" not in graph and str(Path.cwd()).encode() not in graph and b"torch.nn" not in graph


def test_saved_and_loaded_it_is_the_same(served: Pipeline, images: Cohort, tmp_path: Path) -> None:
    served.save(tmp_path)
    loaded = Pipeline.load(tmp_path)
    assert loaded.predict(images).digest == served.predict(images).digest
    again = tmp_path.with_name("again")
    again.mkdir()
    loaded.save(again)
    assert folder_digest(again) == folder_digest(tmp_path)


def test_loading_and_answering_imports_no_torch(served: Pipeline, tmp_path: Path) -> None:
    served.save(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom bedside.models.pipeline import Pipeline\n"
        "pipeline = Pipeline.load(Path(sys.argv[1]))\n"
        "cohort = pipeline.golden(3)\nmade = pipeline.predict(cohort)\n"
        "pipeline.model.heat_maps(pipeline.prepare(cohort), made.calls)\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'shap', 'monai', 'onnx', 'pandas'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("can", "graphs"), [(("classify", "multilabel"), 1), (("classify",), 2)])
def test_of_several_labels_one_graph_answers_all_or_each_has_its_own(
    can: tuple[str, ...], graphs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallCNN, "tasks", can)  # a network that only tells classes apart is fitted once a label
    cohort = example_images(24)
    marks = {name: pl.Series(np.where(cohort[name].to_numpy() > 0.5, "yes", "no")) for name in ("x", "y")}
    cohort = cohort.with_columns(marks, [Field(name, "category", ("target",)) for name in marks])
    task = Multilabel(tuple(Classify(name, ("no", "yes"), "yes") for name in marks))
    pipeline = Pipeline({**SMALL, "budget": {"epochs": 1}}, calibration="none", threshold=0.5)
    run = Run(tmp_path, seed=1)
    pipeline.fit(cohort.keeping(["image", *marks]), None, None, task=task, run=run)
    served = pipeline.served()
    folder = tmp_path / "served"
    folder.mkdir()
    served.save(folder)
    for made in (served, Pipeline.load(folder)):
        gap = np.abs(made.predict(cohort).probabilities - pipeline.predict(cohort).probabilities)
        assert gap.shape == (24, 2) and gap.max() <= 1e-5
    assert len(list(folder.rglob("*.onnx"))) == graphs


def test_without_dynamo_the_older_exporter_serves_and_says_so(
    fitted: Pipeline, images: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = onnx_export._exported

    def only_legacy(network: Any, layer: Any, given: Any, exporter: str) -> bytes:
        if exporter == "dynamo":
            raise NotImplementedError("an operator it does not know")
        return whole(network, layer, given, exporter)

    monkeypatch.setattr(onnx_export, "_exported", only_legacy)
    made = fitted.model.export()
    assert (made.served.made["exporter"], made.served.made["refused"]) == ("legacy", {"dynamo": "NotImplementedError"})
    assert np.abs(made.predict(images).probabilities - fitted.model.predict(images).probabilities).max() <= 1e-5


def test_a_graph_that_answers_otherwise_is_refused(fitted: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_gap", lambda *_given: 1e-3)
    with pytest.raises(BedsideError, match=r"cannot be exported.*differs by 1.0e-03"):
        fitted.model.export()


def test_a_network_that_ends_otherwise_has_no_map(served: Pipeline, images: Cohort) -> None:
    from torch import nn

    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(1, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.features(x).mean(dim=(2, 3)) ** 2)

    made = onnx_export.exported(Squared().eval(), "features", served.model.served.pixels, SHADE, {})
    assert not made.has_maps and made.predict(images).probabilities.shape == (48, 3)
    with pytest.raises(BedsideError, match="no last map"):
        made.heat_maps(images, np.zeros(48, dtype=np.int64))


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x08\x08"])
def test_bytes_that_are_no_graph_are_refused(served: Pipeline, images: Cohort, data: bytes) -> None:
    broken = OnnxNetwork.of(replace(served.model.served, graph=data))
    with pytest.raises(IntegrityError, match=GRAPH):
        broken.predict(images)


def test_a_graph_that_takes_weights_from_another_file_is_refused(served: Pipeline, tmp_path: Path) -> None:
    import onnx

    graph = onnx.load_from_string(served.model.served.graph)
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    OnnxNetwork.of(replace(served.model.served, graph=graph.SerializeToString())).save(tmp_path)
    with pytest.raises(IntegrityError, match="other files"):
        OnnxNetwork.load(tmp_path)


def test_softmax_is_torchs() -> None:
    z = np.random.default_rng(0).normal(0, 30, (50, 4)).astype(np.float32)
    assert np.abs(softmax(z) - torch.softmax(torch.from_numpy(z).double(), dim=1).numpy()).max() < 1e-12


def test_its_listing_is_plain_json(served: Pipeline, tmp_path: Path) -> None:
    served.model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.npy", "model.json", "network.onnx"]
    listing = json.loads((tmp_path / "model.json").read_text())
    assert listing["format"] == 1 and listing["state"]["made"]["model"] == "small_cnn"
