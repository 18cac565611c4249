"""Ways of making heat maps: right by hand, equal to captum's, mirrored with the image, flat when nothing is decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from torch import nn  # noqa: E402

from bedside.checks.explain.attribution import IntegratedGradients, Occlusion  # noqa: E402
from bedside.checks.explain.cam import GradCAM, GradCAMPlusPlus, ScoreCAM  # noqa: E402
from bedside.checks.explain.heat_maps import METHODS  # noqa: E402
from bedside.checks.explain.maps import randomised  # noqa: E402
from bedside.checks.explain.saliency import Saliency, forward, scores  # noqa: E402
from bedside.cohort import plugins  # noqa: E402
from bedside.errors import PlanError  # noqa: E402
from bedside.models.seeded import seeded, with_threads  # noqa: E402


def two_layers() -> nn.Module:
    """One 1 × 1 convolution into two maps (x and −x), ReLU, global mean, one linear layer to two logits."""
    features = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("head", head)
    features[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    head[2].weight.data = torch.tensor([[0.0, 1.0], [3.0, 0.5]])
    return network.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with with_threads(1):
        yield


def convolutional(channels: int = 1, classes: int = 3, *, symmetric: bool = False) -> nn.Module:
    """Two convolutions with random weights (their own mirror images when `symmetric`), mean, linear."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolutions = [nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)]
        last = nn.Linear(6, classes)
    for each in convolutions if symmetric else []:
        each.weight.data = 0.5 * (each.weight.data + each.weight.data.flip(-1))
    network = nn.Sequential()
    layers = [convolutions[0], nn.ReLU(), nn.MaxPool2d(2), convolutions[1], nn.ReLU()]
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last))
    return network.eval().requires_grad_(False)


def images(n: int = 5, channels: int = 1, side: int = 24) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, channels, side, side)).astype(np.float32)


CLASSES = np.array([0, 1, 2, 0, 1])

# With A1 = relu(x), A2 = relu(-x) and m their means over the 4 cells, class 1: s = z1 − (z0 + z1)/2 = 1.5 m1 − .25 m2,
# so ∂s/∂A1 = .375 and ∂s/∂A2 = −.0625 in every cell; for class 0 the opposite.
#   Grad-CAM: ReLU(.375 A1 − .0625 A2).
#   Grad-CAM++: class 1: α1 = 1 / (2 + .375 · ΣA1) = 1/2.5625, w1 = 4 · .375 α1, w2 = 0 (its gradient is below 0);
#   class 0: α2 = 1 / (2 + .0625 · 2), w2 = 4 · .0625 α2, w1 = 0.
#   Score-CAM: masks A1 / 1 and A2 / 2; x under the first is (1, 0, .25, 0), s = 1.5 · .3125; under the second
#   (0, −2, 0, 0), s = −.25 · .5; s(0) = 0.
BY_HAND = [
    (GradCAM(), 1, [[0.375, 0.0], [0.1875, 0.0]]),
    (GradCAM(), 0, [[0.0, 0.125], [0.0, 0.0]]),
    (GradCAMPlusPlus(), 1, [[1.5 / 2.5625, 0.0], [0.75 / 2.5625, 0.0]]),
    (GradCAMPlusPlus(), 0, [[0.0, 0.5 / 2.125], [0.0, 0.0]]),
    (ScoreCAM(), 1, [[0.46875, 0.0], [0.234375, 0.0]]),
    (ScoreCAM(), 0, [[0.0, 0.25], [0.0, 0.0]]),
]


@pytest.mark.parametrize(("method", "of", "wanted"), BY_HAND)
def test_a_map_by_hand(method: Saliency, of: int, wanted: list[list[float]]) -> None:
    x = np.array([[[[1.0, -2.0], [0.5, 0.0]]]], dtype=np.float32)
    assert method.maps(two_layers(), "features", x, np.array([of])) == pytest.approx(np.array([wanted]), abs=1e-7)


@pytest.fixture(scope="module")
def captum() -> Any:
    return pytest.importorskip("captum.attr", reason="captum is not installed")


def explained(network: nn.Module) -> Any:
    """The score as captum asks it: of all steps of all images in one batch."""
    return lambda x: scores(network(x), torch.from_numpy(CLASSES).repeat(len(x) // len(CLASSES)))


def test_integrated_gradients_are_captums_and_complete(captum: Any) -> None:
    network, x = convolutional(3), images(channels=3)
    given = torch.from_numpy(x).double()
    wide = convolutional(3).double()
    theirs = captum.IntegratedGradients(explained(wide)).attribute(given, 0 * given, n_steps=IntegratedGradients.STEPS)
    ours = IntegratedGradients().attributions(network, x, CLASSES)
    assert ours == pytest.approx(theirs.detach().numpy(), abs=1e-6)
    # Completeness (Sundararajan 2017), to the integral's precision where the network is smooth.
    smooth = nn.Sequential(
        *(nn.Tanh() if isinstance(each, nn.ReLU) else each for each in network.features), network.head
    )
    gained = forward(smooth, x, CLASSES) - forward(smooth, np.zeros_like(x), CLASSES)
    ours = IntegratedGradients().attributions(smooth, x, CLASSES)
    assert np.abs(gained).min() > 1e-3 and ours.sum(axis=(1, 2, 3)) == pytest.approx(gained, abs=1e-6)


def test_grad_cam_is_captums(captum: Any) -> None:
    network, x = convolutional(), images()
    layer = captum.LayerGradCam(explained(network), network.features)
    theirs = layer.attribute(torch.from_numpy(x).requires_grad_(True), relu_attributions=True)[:, 0].detach().numpy()
    assert GradCAM().maps(network, "features", x, CLASSES) == pytest.approx(theirs, abs=1e-6)


def test_occlusion_is_captums(captum: Any) -> None:
    """At 24 pixels a cell has two, a window four; captum spreads a window's fall over its pixels in the same way."""
    network, x = convolutional(), images()
    windows = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 2, 2), "baselines": 0}
    theirs = captum.Occlusion(explained(network)).attribute(torch.from_numpy(x), **windows)[:, 0].numpy()
    by_cell = theirs.reshape(5, 12, 2, 12, 2).mean(axis=(2, 4))
    assert Occlusion().maps(network, "features", x, CLASSES) == pytest.approx(np.maximum(by_cell, 0), abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_mirrored_image_has_a_mirrored_map(name: str) -> None:
    """Exactly so for a network whose kernels are their own mirror image."""
    network, x, method = convolutional(symmetric=True), images(), METHODS[name]()
    here = method.maps(network, "features", x, CLASSES)
    there = method.maps(network, "features", np.ascontiguousarray(x[..., ::-1]), CLASSES)
    # 24 pixels make cells of one and of two for integrated gradients, which are not their own mirror image.
    if name == "integrated_gradients":
        each = method.attributions(network, x, CLASSES)
        other = method.attributions(network, np.ascontiguousarray(x[..., ::-1]), CLASSES)
        here, there = each.sum(axis=1), other.sum(axis=1)
    assert here.max() > 0 and there[..., ::-1] == pytest.approx(here, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_network_that_decides_nothing_has_a_flat_map(name: str) -> None:
    network = convolutional()
    network.head[2].weight.data.zero_()
    assert np.abs(METHODS[name]().maps(network, "features", images(), CLASSES)).max() == 0


@pytest.mark.parametrize("name", METHODS)
def test_many_images_are_explained_as_each_alone(name: str) -> None:
    x, classes, method = images(35, side=8), np.arange(35) % 2, METHODS[name]()
    whole = method.maps(convolutional(), "features", x, classes)
    alone = [method.maps(convolutional(), "features", x[i : i + 1], classes[i : i + 1]) for i in (0, 31, 32, 34)]
    assert whole[[0, 31, 32, 34]] == pytest.approx(np.concatenate(alone), abs=1e-6)


def test_a_class_is_explained_apart_from_the_others() -> None:
    """Images whose left half speaks for class 0 and right half for class 1 have each class's heat on its own side."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 3, bias=False)).eval().requires_grad_(False)
    weight = torch.zeros(3, 24, 24)
    weight[0, :, :12], weight[1, :, 12:] = 1.0, 1.0
    network[1].weight.data = weight.flatten(1)
    x = np.ones((2, 1, 24, 24), dtype=np.float32)
    for method in (Occlusion(), IntegratedGradients()):
        left, right = method.maps(network, "", x, np.array([0, 1]))
        middle = left.shape[1] // 2
        assert left[:, : middle - 1].min() > 0 and left[:, middle + 1 :].max() == 0
        assert right[:, middle + 1 :].min() > 0 and right[:, : middle - 1].max() == 0


def test_what_depends_on_one_pixel_is_found_there() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 2, bias=False)).eval().requires_grad_(False)
    weight = torch.zeros(2, 24, 24)
    weight[1, 10, 17] = 5.0
    network[1].weight.data = weight.flatten(1)
    x = np.abs(images(1))
    for method, cells in ((Occlusion(), 12), (IntegratedGradients(), 16)):
        (found,) = method.maps(network, "", x, np.array([1]))
        row, column = np.unravel_index(found.argmax(), found.shape)
        bounds = np.round(np.linspace(0, 24, cells + 1))
        assert bounds[row] <= 10 < bounds[row + 1] and bounds[column] <= 17 < bounds[column + 1]


class Tokens(nn.Module):
    """The same network as `convolutional`, its last map given as tokens (n, places, features) after a class token."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        inner = convolutional()
        self.before, self.last, self.tokens, self.extra = inner.features, inner.head[2], nn.Identity(), extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        laid = self.before(x).flatten(2).transpose(1, 2)
        token = laid.new_zeros(len(laid), self.extra, laid.shape[2])
        return self.last(self.tokens(torch.cat([token, laid], dim=1))[:, self.extra :].mean(dim=1))


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_plus_plus", "score_cam"])
@pytest.mark.parametrize("extra", [0, 1])
def test_tokens_are_laid_out_as_the_map_they_are(name: str, extra: int) -> None:
    method, x = METHODS[name](), images(side=16)
    tokens = Tokens(extra).eval().requires_grad_(False)
    found = method.maps(tokens, "tokens", x, CLASSES)
    assert found == pytest.approx(method.maps(convolutional(), "features", x, CLASSES), abs=1e-6)


@pytest.mark.parametrize("layer", ["head", "nowhere"])
def test_a_network_without_a_map_is_refused(layer: str) -> None:
    with pytest.raises(PlanError, match=r"no map|no layer") as refused:
        GradCAM().maps(convolutional(), layer, images(), CLASSES)
    assert "occlusion" in str(refused.value)


def test_passes_are_counted_as_they_are_made() -> None:
    for name, cls in METHODS.items():
        network, x, method, made = convolutional(), images(1), cls(), []
        said = method.passes(network, "features", x)
        network.head.register_forward_hook(lambda _m, given, _o, made=made: made.append(len(given[0])))
        method.maps(network, "features", x, CLASSES[:1])
        backward = {"score_cam": 0, "occlusion": 0}.get(name, 2)
        assert said == pytest.approx(sum(made) * (1 + backward), abs=1), name


def test_a_cascade_forgets_from_the_output_down() -> None:
    network = convolutional()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    changed = {}
    for share in (0.3, 0.6, 1.0):
        state = randomised(network, 3, share).state_dict()
        changed[share] = {
            name.split(".")[0] + name.split(".")[1] for name in state if not state[name].equal(before[name])
        }
    assert changed[0.3] == {"head2"} and changed[0.6] == {"head2", "features3"}
    assert changed[1.0] == {"head2", "features3", "features0"}
    assert all(network.state_dict()[name].equal(each) for name, each in before.items())
    same, again = (randomised(network, 3).state_dict() for _ in range(2))
    assert all(same[name].equal(again[name]) for name in same)


def test_weights_that_no_layer_can_make_anew_are_put_in_another_order() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.arange(24.0).reshape(2, 12))

    found = randomised(Bare(), 0).position
    assert not found.equal(Bare().position) and found.flatten().sort().values.equal(torch.arange(24.0))


NETWORKS: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 4},
    "resnet": {"depth": 10, "width": 8},
    "densenet": {"blocks": [1, 1, 1], "growth": 8, "width": 8},
    "efficientnet": {"width": 0.25, "depth": 0.1},
    "mobilenet": {"width": 0.25, "depth": 0.1},
    "vit": {"patch": 8, "width": 32, "depth": 2, "heads": 2},
    "swin": {"width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 2], "window": 4},
}


def test_no_network_of_the_catalogue_is_forgotten() -> None:
    known = plugins.catalogue("models")
    assert {name for name in known if plugins.load("models", name).modality == "image"} == set(NETWORKS)


SLOW = [pytest.param(name, 1 + 2 * (i % 2), marks=pytest.mark.slow) for i, name in enumerate(NETWORKS) if i]


@pytest.mark.parametrize(("name", "channels"), [("small_cnn", 3), *SLOW])
def test_every_network_of_the_catalogue_has_every_map(name: str, channels: int) -> None:
    """Of three classes, grey or colour."""
    model = plugins.build("models", {"name": name, "image": 64, **NETWORKS[name]})
    with seeded(3, threads=1):
        network = model.build(channels, 3).requires_grad_(False)
        for _ in range(20):  # so that batch normalisation has seen images, and the signal does not fade
            network(torch.from_numpy(images(4, channels, side=64)))
    x = np.repeat(images(1, channels, side=64), 3, axis=0)
    for method, cls in METHODS.items():
        found = cls().maps(network.eval(), model.target_layer(), x, np.arange(3))
        assert found.ndim == 3 and np.isfinite(found).all() and found.min() >= 0, method
        assert len({each.tobytes() for each in found}) > 1, method
