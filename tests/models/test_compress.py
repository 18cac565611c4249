"""Smaller networks: what leaves a network when channels are pruned, and what is computed in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")
onnx = pytest.importorskip("onnx", reason="the extra imaging is not installed")

from bedside.cohort.run import Run  # noqa: E402
from bedside.errors import DataError, PlanError  # noqa: E402
from bedside.models import catalogue  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.imaging.compress import Methods  # noqa: E402
from bedside.models.imaging.distil import distilled, soft_targets  # noqa: E402
from bedside.models.imaging.onnx_export import exported  # noqa: E402
from bedside.models.imaging.onnx_int8 import balanced, quantised  # noqa: E402
from bedside.models.imaging.onnx_network import OnnxNetwork  # noqa: E402
from bedside.models.imaging.pixels import Pixels  # noqa: E402
from bedside.models.imaging.prune import chains, pruned  # noqa: E402
from bedside.models.imaging.small_cnn import SmallCNN  # noqa: E402
from bedside.models.seeded import seeded  # noqa: E402
from bedside.models.task import Classify  # noqa: E402

TASK = Classify("blob", ("no", "yes"), "yes")
SMALL: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 8},
    "resnet": {"width": 16, "depth": 10},
    "densenet": {"blocks": [2, 2], "growth": 8, "width": 16},
    "mobilenet": {"width": 0.25, "depth": 0.3},
}


def network(name: str, **more: Any) -> Any:
    model = catalogue.build({"name": name, "image": 32, **SMALL.get(name, {}), **more})
    with seeded(1, threads=1):
        return model.build(1, 2).eval()


@pytest.mark.parametrize("name", SMALL)
def test_channels_that_carry_nothing_leave_without_a_trace(name: str) -> None:
    """Half of the channels of every chain are silenced; pruned by half, the network answers the same."""
    whole = network(name)
    modules = dict(whole.named_modules())
    assert chains(whole)
    with torch.no_grad():
        for chain in chains(whole):
            kept = int(np.ceil(modules[chain.first].out_channels / 2))
            norms = [modules[each] for each in chain.between if isinstance(modules[each], torch.nn.BatchNorm2d)]
            modules[chain.first].weight[kept:] = 0
            for norm in norms:
                norm.weight[kept:], norm.bias[kept:], norm.running_mean[kept:] = 0, 0, 0
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for by in ("l1", "scale"):
        smaller = pruned(whole, 0.5, by)
        assert sum(p.numel() for p in smaller.parameters()) < 0.8 * sum(p.numel() for p in whole.parameters())
        gap = (smaller(images) - whole(images)).detach().abs().max()
        assert float(gap) < 1e-5
        assert all(p.requires_grad for p in smaller.parameters())


def test_the_largest_filters_stay_and_a_width_is_a_multiple_of_eight() -> None:
    whole = network("small_cnn", width=24)
    first = whole.features[0][0].weight
    with torch.no_grad():
        first[5] *= 100
    smaller = pruned(whole, 0.4)
    left = smaller.features[0][0].weight
    assert left.shape[0] == 16  # 24 less 9 are 15, which costs as much as 16
    assert any(torch.equal(row, first[5]) for row in left)


def test_what_cannot_be_pruned_is_refused() -> None:
    with pytest.raises(PlanError, match="--int8"):
        pruned(network("vit", patch=16, width=8, depth=1, heads=2), 0.5)
    for share in (0, 1, 0.95, True):
        with pytest.raises(PlanError, match="cannot be pruned"):
            pruned(network("small_cnn"), share)
    with pytest.raises(PlanError, match="chosen by"):
        pruned(network("small_cnn"), 0.5, "l2")  # type: ignore[arg-type]


def test_methods_go_by_their_order() -> None:
    assert Methods(int8=True, prune=0.3, distill=True).names == ("distill", "prune", "int8")
    with pytest.raises(PlanError, match="nothing says how"):
        Methods()


def test_a_pupil_learns_from_the_softened_teacher_and_is_judged_by_labels(tmp_path: Path) -> None:
    """Hinton 2015, equation 1: softmax(z / T), here T = 2, mixed 7 to 3 with the label."""
    cohort = example_images(24).keeping(["image", "blob"])
    spec = {"name": "small_cnn", "image": 32, "width": 4, "batch": 8, "budget": {"epochs": 1}}
    teacher = catalogue.build(spec).fit(cohort, None, task=TASK, run=Run(tmp_path, seed=1))
    with torch.inference_mode():
        z = teacher.network()(torch.from_numpy(teacher.inputs(cohort)))
    expected = 0.7 * torch.softmax(z.double() / 2, dim=1).numpy() + 0.3 * np.eye(2)[TASK.truth(cohort)]
    assert np.abs(soft_targets(teacher, cohort, TASK) - expected).max() < 1e-6
    rows = np.arange(24)
    train, tune = cohort.take(rows[:16]), cohort.take(rows[16:])
    pupil = distilled(teacher, train, tune, task=TASK, run=Run(tmp_path, seed=1))
    assert type(pupil) is SmallCNN and pupil.learnt.progress.planned == 1
    (epoch,) = pupil.learnt.progress.history
    with torch.inference_mode():
        logits = pupil.network()(torch.from_numpy(pupil.inputs(tune)))
    hard = torch.nn.functional.cross_entropy(logits, torch.tensor(TASK.truth(tune).tolist()))
    assert epoch["tune_loss"] == pytest.approx(float(hard), abs=1e-5)


@pytest.fixture(scope="module")
def plain() -> OnnxNetwork:
    return exported(network("small_cnn"), "features", Pixels("image", 32, (0.45,), (0.1,)), TASK, {})


def test_eight_bits_are_unsigned_for_activations_and_signed_per_channel_for_weights(plain: OnnxNetwork) -> None:
    images = example_images(40)
    made = quantised(plain, images.keeping(["image"]), TASK.truth(images), 3)
    graph = onnx.load_from_string(made.served.graph).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    to_8 = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert to_8 and all(constants[node.input[2]].dtype == np.uint8 for node in to_8)
    weights = {
        node.output[0]: constants[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 8
    for node in convolutions:
        assert weights[node.input[1]].dtype == np.int8
    (answer,) = (node for node in graph.node if node.op_type == "Gemm")
    assert constants[answer.input[1]].dtype == np.float32
    again = quantised(plain, images.keeping(["image"]), TASK.truth(images), 3)
    assert again.served.graph == made.served.graph
    with pytest.raises(PlanError, match="int8 already"):
        quantised(made, images.keeping(["image"]), TASK.truth(images), 3)


def test_calibration_images_are_as_many_of_each_class() -> None:
    codes = np.array([0] * 100 + [1] * 5 + [-1] * 3)
    rows = balanced(codes, [f"r{i}" for i in range(108)], 2, seed=0)
    assert np.bincount(codes[rows]).tolist() == [5, 5]
    order = np.random.default_rng(0).permutation(108)
    other = balanced(codes[order], [f"r{i}" for i in order], 2, seed=0)
    assert sorted(order[other]) == sorted(rows)
    with pytest.raises(DataError, match="no image to calibrate"):
        balanced(np.zeros(4, dtype=np.int64), list("abcd"), 2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "small_cnn"},
        {"name": "resnet"},
        {"name": "resnet", "depth": 50, "width": 16},
        {"name": "densenet", "blocks": [3, 3, 3], "growth": 16},
        {"name": "efficientnet"},
        {"name": "mobilenet"},
        {"name": "vit", "depth": 2, "width": 48, "heads": 3},
        {"name": "swin", "width": 24, "depths": [1, 1, 1, 1]},
    ],
    ids=str,
)
def test_every_network_is_exported_with_its_map_and_computes_in_eight_bits(spec: Any, tmp_path: Path) -> None:
    """Exporters as of torch 2.13: none falls back to the older one."""
    model = catalogue.build({"image": 64, **spec})
    with seeded(0, threads=1):
        whole = model.build(3, 2).eval()
    pixels = Pixels("image", 64, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    made = exported(whole, model.target_layer(), pixels, TASK, {"model": spec["name"]})
    assert made.served.made["exporter"] == "dynamo" and made.has_maps
    images = example_images(12)
    x = made.inputs(images)
    with torch.inference_mode():
        assert np.abs(made.logits(x) - whole(torch.from_numpy(x)).numpy()).max() < 1e-4
    eight = quantised(made, images.keeping(["image"]), TASK.truth(images), 0)
    assert np.isfinite(eight.predict(images).probabilities).all()
    assert eight.heat_maps(images, np.zeros(12, dtype=np.int64)).shape[0] == 12
    assert len(eight.served.graph) < 0.6 * len(made.served.graph)
