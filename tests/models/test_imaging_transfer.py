"""Pretrained weights: what is refused, what the file must hold, transfer in stages, and the step `embed`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402

from bedside.cohort.cohort import Cohort  # noqa: E402
from bedside.cohort.files import MemoryFiles  # noqa: E402
from bedside.cohort.run import Run  # noqa: E402
from bedside.cohort.schema import Field  # noqa: E402
from bedside.errors import BedsideError, DataError, IntegrityError, PlanError  # noqa: E402
from bedside.intake.pixels import describe  # noqa: E402
from bedside.models import catalogue  # noqa: E402
from bedside.models.digest import folder_digest  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.pipeline import Pipeline  # noqa: E402
from bedside.models.task import Classify  # noqa: E402
from bedside.prepare.arrays import encode_png  # noqa: E402

NETWORK = {"name": "small_cnn", "image": 32, "width": 4}
TRAINING = {"batch": 8, "budget": {"epochs": 5}}
BLOB = Classify("blob", ("no", "yes"), "yes")


def blobs(n: int = 36, seed: int = 0) -> Cohort:
    return example_images(n, seed=seed).keeping(["image", "blob"])


def fit(folder: Path, cohort: Cohort | None = None, run: Run | None = None, **parameters: Any) -> Any:
    model = catalogue.build({**NETWORK, **TRAINING, **parameters})
    cohort = blobs() if cohort is None else cohort
    return model.fit(cohort, None, task=BLOB, run=Run(folder, seed=3) if run is None else run)


def declared(path: Path) -> dict[str, str]:
    return {"file": str(path), "licence": "CC0-1.0", "digest": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """network.safetensors of a network that has seen other images of the same kind."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "saved").mkdir()
    model = fit(folder, blobs(90, seed=9), budget={"epochs": 12})
    model.save(folder / "saved")
    return folder / "saved" / "network.safetensors"


# -- the file -----------------------------------------------------------------------------------------------------


def test_a_pickle_is_refused_by_its_name_and_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(PlanError, match=r"encoder\.pth' are a pickle"):
        fit(tmp_path, weights=declared(path))
    renamed = path.rename(tmp_path / "encoder.safetensors")
    with pytest.raises(PlanError, match="are a pickle"):
        fit(tmp_path, weights=declared(renamed))


def test_licence_and_digest_must_be_declared_and_be_true(trained: Path, tmp_path: Path) -> None:
    whole = declared(trained)
    for wrong, error, told in (
        ({**whole, "licence": " "}, PlanError, "licence"),
        ({key: whole[key] for key in ("file", "licence")}, PlanError, "sha256sum"),
        ({**whole, "digest": "0" * 64}, IntegrityError, "digest"),
        ({**whole, "file": str(tmp_path / "gone.safetensors")}, DataError, "cannot be read"),
        ({**whole, "url": "x"}, PlanError, "cannot be read"),
        (str(trained), PlanError, "cannot be read"),
    ):
        with pytest.raises(error, match=told):
            fit(tmp_path, weights=wrong)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="no safetensors"):
        fit(tmp_path, weights=declared(broken))


def test_names_and_shapes_are_strict_and_another_head_is_left_out(trained: Path, tmp_path: Path) -> None:
    tensors = load_file(trained)
    encoder = {name.removeprefix("features."): each for name, each in tensors.items() if name.startswith("features.")}
    torchs = {**encoder, "fc.weight": torch.zeros(1000, 32)}
    for name, changed, told in (
        ("missing", {key: each for key, each in encoder.items() if key != "0.0.weight"}, "0.0.weight is missing"),
        ("more", {**encoder, "extra": torch.zeros(1)}, "extra does not belong"),
        (
            "shape",
            {**encoder, "0.0.weight": torch.zeros(4, 3, 5, 5)},
            r"0.0.weight is \(4, 3, 5, 5\), not \(4, 1, 5, 5\)",
        ),
    ):
        save_file(changed, tmp_path / f"{name}.safetensors")
        with pytest.raises(DataError, match=told):
            fit(tmp_path, weights=declared(tmp_path / f"{name}.safetensors"))
    save_file(torchs, tmp_path / "torchs.safetensors")
    one = fit(tmp_path, weights=declared(tmp_path / "torchs.safetensors"))
    assert one.state() == fit(tmp_path, weights=declared(trained)).state()


def test_a_resnet_takes_the_names_of_torchvision(tmp_path: Path) -> None:
    network = {"name": "resnet", "width": 8, "image": 32}
    encoder, _ = catalogue.build(network).encoder(3)
    names = set(encoder.state_dict())
    # As torchvision.models.resnet18().state_dict() has them.
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer4.1.bn2.bias"} <= names
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_mean"} <= names
    assert "layer2.0.downsample.0.bias" not in names and len(names) == 120  # 122 less fc.weight and fc.bias


# -- transfer -----------------------------------------------------------------------------------------------------


def test_the_head_learns_first_and_the_encoder_stays_as_it_was(trained: Path, tmp_path: Path) -> None:
    given = load_file(trained)
    model = fit(tmp_path, weights=declared(trained), transfer={"head": 5})
    for name, tensor in model.network().state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, given[name]) is name.startswith("features.")
    freed = fit(tmp_path, weights=declared(trained), transfer={"head": 2, "last_block": 3}).network().state_dict()
    moved = {
        name.split(".")[1] for name in freed if name.endswith("weight") and not torch.equal(freed[name], given[name])
    }
    assert moved == {"9", "10", "3"}  # the last convolutions, and the head's linear layer


def test_transfer_resumes_from_every_stage(trained: Path, tmp_path: Path) -> None:
    parameters = {"weights": declared(trained), "transfer": {"head": 1, "last_block": 2, "rate": 0.3}}
    whole = fit(tmp_path, **parameters)
    batches = 5
    for stop in (1.5, 3.5, 4.5):
        asked = iter(range(1000))
        folder = tmp_path / f"{stop}"
        folder.mkdir()
        with pytest.raises(BedsideError, match="cancelled"):
            fit(folder, run=Run(folder, seed=3, cancelled=lambda a=asked, s=stop: next(a) >= s * batches), **parameters)
        assert fit(folder, **parameters).state() == whole.state()


def test_minutes_are_counted_in_epochs_in_which_all_learns(trained: Path, tmp_path: Path) -> None:
    parameters = {"weights": declared(trained), "transfer": {"head": 2, "last_block": 1}}
    model = fit(tmp_path, budget={"minutes": 1e-5}, **parameters)
    assert model.spent() == {"budget": {"epochs": 4}}  # three before the first that could be timed
    again = fit(tmp_path, **{**parameters, **model.spent()})
    assert again.state()[0]["planned"] == 4


def test_pretrained_weights_are_told_and_the_saved_model_needs_no_file(trained: Path, tmp_path: Path) -> None:
    copied = tmp_path / "encoder.safetensors"
    copied.write_bytes(trained.read_bytes())
    model = fit(tmp_path, weights=declared(copied))
    found = {item.id: item for item in model.findings()}["network_pretrained"]
    assert found.values["licence"] == "CC0-1.0" and found.values["digest"] == declared(copied)["digest"]
    assert found.values["file"] == "encoder.safetensors"  # not where it lay
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    expected = model.predict(blobs()).probabilities
    copied.unlink()
    assert (type(model).load(tmp_path / "saved").predict(blobs()).probabilities == expected).all()
    with pytest.raises(PlanError, match="transfer is for pretrained"):
        fit(tmp_path, transfer={"head": 2})
    with pytest.raises(PlanError, match="transfer"):
        fit(tmp_path, weights=declared(trained), transfer={"heads": 2})


# -- embed --------------------------------------------------------------------------------------------------------


def test_a_frozen_encoder_makes_numbers_for_a_model_of_tables(trained: Path, tmp_path: Path) -> None:
    steps = [{"embed": {"model": NETWORK, "weights": declared(trained)}}, "scale"]
    train, test = blobs(30), blobs(60, seed=5)

    def fitted() -> Pipeline:
        pipeline = Pipeline("logistic", steps=steps, calibration="none", threshold=0.5)
        return pipeline.fit(train, None, None, task=BLOB, run=Run(tmp_path, seed=1))

    pipeline = fitted()
    prepared = pipeline.prepare(test)
    assert [item.name for item in prepared.schema.inputs] == [f"image.e{i}" for i in range(32)]
    truth = BLOB.truth(test)
    score = pipeline.predict(test).score
    assert (score[truth == 1].mean() - score[truth == 0].mean()) > 0.5
    folders = []
    for name, each in (("a", pipeline), ("b", fitted())):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        each.save(folders[-1])
    assert folder_digest(folders[0]) == folder_digest(folders[1])
    loaded = Pipeline.load(folders[0])
    assert (loaded.predict(test).score == score).all()
    alone = loaded.predict(test.take(np.array([7]))).score
    assert abs(alone[0] - score[7]) < 1e-6
    assert "network_pretrained" in {item.id for item in loaded.findings()}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"embed": {"model": NETWORK}}, "no weights"),
        ({"embed": {"model": "logistic", "weights": {"file": "x.safetensors"}}}, "no network for images"),
        ({"embed": {"model": {**NETWORK, "image": 8}, "weights": {"file": "x.safetensors"}}}, "image"),
    ],
)
def test_embed_tells_what_it_lacks(step: Any, told: str, tmp_path: Path) -> None:
    pipeline = Pipeline("logistic", steps=[step], calibration="none", threshold=0.5)
    with pytest.raises(PlanError, match=told):
        pipeline.fit(blobs(12), None, None, task=BLOB, run=Run(tmp_path, seed=1))


# -- what it is good for ------------------------------------------------------------------------------------------


def chests(n: int, seed: int, sided: bool = False, side: int = 48) -> Cohort:
    """Two dark ovals on a bright ground, unlike in every image, with noise; in two of three a faint round shadow.

    `shadow` is no or yes, or with `sided` none, left or right.
    """
    rng = np.random.default_rng(seed)
    at = (np.arange(side) + 0.5) / side
    files, digests, found = MemoryFiles(), [], rng.permutation(np.arange(n) % 3)
    for kind in found:
        image = np.full((side, side), rng.uniform(140, 180))
        for x in (0.3, 0.7):
            a, b, x, y = rng.uniform(0.1, 0.18), rng.uniform(0.25, 0.4), x + rng.normal(0, 0.03), rng.uniform(0.4, 0.6)
            image -= 35 * (1 - np.tanh(10 * (((at[None] - x) / a) ** 2 + ((at[:, None] - y) / b) ** 2 - 1)))
        if kind:
            x, y = (0.3 if kind == 1 else 0.7) + rng.normal(0, 0.05), rng.uniform(0.35, 0.65)
            image += 45 * np.exp(-((at[None] - x) ** 2 + (at[:, None] - y) ** 2) / (2 * 0.05**2))
        data = encode_png(np.clip(image + rng.normal(0, 14, image.shape), 0, 255).astype(np.uint8))
        files.put(data)
        digests.append(files.put(describe(data)[0].to_bytes()))
    names = np.array(["none", "left", "right"] if sided else ["no", "yes", "yes"])
    fields = [Field("image", "image"), Field("shadow", "category", ("target",))]
    return replace(Cohort.of({"image": digests, "shadow": names[found]}, fields), files=files)


@pytest.mark.slow
def test_on_few_images_probe_and_transfer_beat_training_from_nothing(tmp_path: Path) -> None:
    """An encoder that learnt on 600 images to tell sides, put to 24 images of another question, thrice."""
    sides, shadow = Classify("shadow", ("left", "none", "right")), Classify("shadow", ("no", "yes"), "yes")
    network = {"name": "small_cnn", "image": 48, "width": 8}
    (tmp_path / "saved").mkdir()
    model = catalogue.build({**network, "batch": 16, "budget": {"epochs": 16}})
    model.fit(chests(600, 1, sided=True), None, task=sides, run=Run(tmp_path, seed=1)).save(tmp_path / "saved")
    weights = declared(tmp_path / "saved" / "network.safetensors")
    common = {**network, "batch": 8, "budget": {"epochs": 16}}
    specs: dict[str, tuple[Any, list[Any]]] = {
        "nothing": (common, []),
        "transfer": ({**common, "weights": weights}, []),
        "probe": ("logistic", [{"embed": {"model": network, "weights": weights}}, "scale"]),
    }
    test = chests(300, 77)
    truth, found = shadow.truth(test), {name: [] for name in specs}
    for seed in (10, 11, 12):
        for name, (spec, steps) in specs.items():
            pipeline = Pipeline(spec, steps=steps, calibration="none", threshold=0.5)
            pipeline.fit(chests(24, seed), None, None, task=shadow, run=Run(tmp_path, seed=seed))
            found[name].append(auc(pipeline.predict(test).score, truth))
    assert np.mean(found["nothing"]) < 0.75, found
    assert np.mean(found["probe"]) > np.mean(found["nothing"]) + 0.15, found
    assert np.mean(found["transfer"]) > np.mean(found["nothing"]) + 0.15, found


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    return float((score[truth == 1][:, None] > score[truth == 0][None]).mean())
