"""The networks of the catalogue: their published sizes, the conformance suite, and what they refuse.

Fast: the smallest of each, the rules that fit in this process. Slow: all rules, the smallest and the published ones.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.cohort.run import Run  # noqa: E402
from bedside.errors import BedsideError, PlanError  # noqa: E402
from bedside.models import catalogue  # noqa: E402
from bedside.models.conformance import IMAGE_TARGETS, SEED, Case  # noqa: E402
from bedside.models.conformance_images import RULES  # noqa: E402
from bedside.models.digest import folder_digest  # noqa: E402

COMMON = {"image": 32, "batch": 8}
TINY: dict[str, dict[str, Any]] = {
    "resnet": {"depth": 10, "width": 8, "budget": {"epochs": 6}},
    "densenet": {"blocks": [1, 1, 1], "growth": 8, "width": 8, "learning_rate": 3e-3, "budget": {"epochs": 8}},
    "efficientnet": {"width": 0.25, "depth": 0.1, "learning_rate": 1e-2, "dropout": 0.0, "budget": {"epochs": 14}},
    "mobilenet": {"width": 0.25, "depth": 0.1, "learning_rate": 1e-2, "budget": {"epochs": 14}},
    "vit": {"patch": 8, "width": 32, "depth": 2, "heads": 2, "learning_rate": 2e-3, "budget": {"epochs": 8}},
    "swin": {
        "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 2], "window": 4, "learning_rate": 4e-3,
        "budget": {"epochs": 10},
    },
}  # fmt: skip
FULL: dict[str, dict[str, Any]] = {name: {**COMMON, "budget": {"epochs": 8}} for name in TINY}
for _name in ("efficientnet", "mobilenet"):  # 48 images are few for their many normalisations
    FULL[_name] |= {"learning_rate": 1e-2, "dropout": 0.0, "budget": {"epochs": 16}}
QUICK = ("describes_itself", "beats_majority", "loads_equal", "same_seed_same_digest", "has_a_network")


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[tuple[str, str, str], Case] = {}

    def get(name: str, target: str, size: str = "tiny") -> Case:
        key = (name, target, size)
        if key not in made:
            parameters = {**COMMON, **TINY[name]} if size == "tiny" else FULL[name]
            made[key] = Case({"name": name, **parameters}, target, tmp_path_factory.mktemp("-".join(key)))
        return made[key]

    return get


@pytest.mark.parametrize("name", TINY)
def test_conforms_in_this_process(name: str, case_of: Any) -> None:
    for rule in QUICK:
        RULES[rule](case_of(name, "blob"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("name", "target", "size"),
    [(name, target, "tiny") for name in TINY for target in IMAGE_TARGETS] + [(name, "blob", "full") for name in TINY],
)
def test_conforms(name: str, target: str, size: str, rule: str, case_of: Any) -> None:
    RULES[rule](case_of(name, target, size))


@pytest.mark.parametrize("name", TINY)
def test_cancelled_and_resumed_it_ends_with_the_same_bytes(name: str, case_of: Any) -> None:
    case = case_of(name, "blob")
    folder = case.folder / "cancelled"
    folder.mkdir()
    asked = iter(range(1000))
    with pytest.raises(BedsideError, match="cancelled"):
        case.fit(case.train, run=Run(folder, seed=SEED, threads=1, cancelled=lambda: next(asked) == 15))
    resumed = case.saved("resumed", case.fit(case.train, run=Run(folder, seed=SEED, threads=1)))
    assert folder_digest(resumed) == folder_digest(case.saved("fitted", case.fitted))


# Weights of the encoder as published, from torchvision 0.21 and timm 1.0 (model without its last linear layer):
# resnet18/34/50, densenet121, mobilenet_v2, efficientnet_b0, swin_t; vit_small_patch16_224 less its class token and
# the position of it (2 × 384).
PUBLISHED = [
    ({"name": "resnet"}, 512, 11_176_512),
    ({"name": "resnet", "depth": 34}, 512, 21_284_672),
    ({"name": "resnet", "depth": 50}, 2048, 23_508_032),
    ({"name": "densenet"}, 1024, 6_953_856),
    ({"name": "mobilenet"}, 1280, 2_223_872),
    ({"name": "efficientnet"}, 1280, 4_007_548),
    ({"name": "vit"}, 384, 21_665_664 - 768),
    ({"name": "swin"}, 768, 27_519_354),
]


@pytest.mark.parametrize(("spec", "maps", "weights"), PUBLISHED)
def test_the_default_has_its_published_size(spec: dict[str, Any], maps: int, weights: int) -> None:
    model = catalogue.build({**spec, "image": 224})
    features, d = model.encoder(3)
    found = features.to("meta")(torch.empty(2, 3, 224, 224, device="meta"))  # shapes without numbers
    assert d == maps and found.shape == (2, maps, 224 // model.stride(), 224 // model.stride())
    assert sum(each.numel() for each in features.parameters()) == weights


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_and_the_last_map_is_all_that_the_head_sees(name: str, channels: int) -> None:
    model = catalogue.build({"name": name, **COMMON, **TINY[name]})
    network = model.build(channels, 3).eval()
    x = torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = network.get_submodule(model.target_layer())(x)
        linear = network.head[-1]
        assert maps.shape[2] == maps.shape[3] == 32 // model.stride()
        assert torch.allclose(network(x), maps.mean(dim=(2, 3)) @ linear.weight.T + linear.bias, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "resnet", "image": 16}, "image: 32 or more"),
        ({"name": "densenet", "image": 28}, "image: 32 or more"),
        ({"name": "vit", "image": 72}, "no whole patches of 16"),
        ({"name": "vit", "image": 64, "width": 32, "heads": 5}, "multiple of 5 heads"),
        ({"name": "swin", "image": 64, "depths": [2, 2]}, "four numbers"),
        ({"name": "swin", "image": 64, "heads": [5, 6, 12, 24]}, "no multiples of heads"),
        ({"name": "resnet", "depth": 20}, "one of 10, 18, 34, 50"),
        ({"name": "densenet", "blocks": []}, "one to six"),
        ({"name": "densenet", "blocks": [6, 0]}, "blocks is"),
        ({"name": "efficientnet", "width": 0.01}, "width is 0.01"),
    ],
)
def test_what_does_not_fit_is_told_before_training(wrong: dict[str, Any], told: str, case_of: Any) -> None:
    case = case_of("resnet", "blob")
    with pytest.raises(PlanError, match=told):
        case.fit(case.train, wrong)
