"""How image models are trained: losses, augmentation by modality, mixup, stages of transfer, pixels kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.cohort.cohort import Cohort  # noqa: E402
from bedside.cohort.run import Run  # noqa: E402
from bedside.errors import PlanError  # noqa: E402
from bedside.models import catalogue  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.imaging.augment import SETS, Augment, mixed_shares, mixup  # noqa: E402
from bedside.models.imaging.losses import Loss, cross_entropy, focal, label_smoothing  # noqa: E402
from bedside.models.imaging.pixels import Pixels  # noqa: E402
from bedside.models.imaging.squares import EMPTY, FULL, PIXELS, Squares, whole  # noqa: E402
from bedside.models.imaging.stages import Stages  # noqa: E402
from bedside.models.task import Classify  # noqa: E402

SMALL = {"name": "small_cnn", "image": 32, "width": 4, "batch": 8, "budget": {"epochs": 4}}
BLOB = Classify("blob", ("no", "yes"), "yes")
IDS = [f"r{i}" for i in range(6)]


def blobs(n: int = 24) -> Cohort:
    return example_images(n).keeping(["image", "blob"])


def fit(folder: Path, run: Run | None = None, **parameters: Any) -> Any:
    model = catalogue.build({**SMALL, **parameters})
    return model.fit(blobs(), None, task=BLOB, run=Run(folder, seed=3) if run is None else run)


def numbers() -> tuple[Any, Any]:
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=drawn), torch.randint(0, 3, (6,), generator=drawn)


# -- losses -------------------------------------------------------------------------------------------------------


def test_losses_equal_torchs() -> None:
    from torch.nn.functional import cross_entropy as theirs
    from torch.nn.functional import one_hot

    logits, y = numbers()
    t = one_hot(y, 3).float()
    assert torch.allclose(cross_entropy(logits, t), theirs(logits, y, reduction="none"), atol=1e-6)
    smoothed = theirs(logits, y, reduction="none", label_smoothing=0.1)
    assert torch.allclose(label_smoothing(logits, t, 0.1), smoothed, atol=1e-6)
    p = logits.softmax(1)[torch.arange(6), y]
    assert torch.allclose(focal(logits, t, 2.0), -((1 - p) ** 2) * p.log(), atol=1e-6)  # Lin 2017, equation 4
    assert torch.allclose(focal(logits, t, 0.0), cross_entropy(logits, t), atol=1e-5)


def test_focal_of_a_certain_prediction_is_finite_and_so_is_its_slope() -> None:
    logits = torch.tensor([[60.0, -60.0], [0.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.5)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()


def test_a_weight_of_two_is_the_row_twice() -> None:
    logits, y = numbers()
    t, w = torch.eye(3)[y], torch.tensor([2.0, 1, 1, 1, 1, 1])
    for loss in (Loss.of("cross_entropy"), Loss.of({"label_smoothing": 0.1}), Loss.of({"focal": 1.5})):
        twice = loss(torch.cat([logits, logits[:1]]), torch.cat([t, t[:1]]), torch.ones(7))
        assert loss(logits, t, w) * 6 == pytest.approx(float(twice) * 7, rel=1e-6)


@pytest.mark.parametrize("wrong", ["hinge", {"focal": -1}, {"label_smoothing": 0.6}, {"focal": True}, 2, {}])
def test_a_loss_that_is_not_known_is_told(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="loss"):
        fit(tmp_path, loss=wrong)


# -- augmentation -------------------------------------------------------------------------------------------------


def test_flips_only_where_the_anatomy_allows_it() -> None:
    assert {name for name, each in SETS.items() if each.flip} == {"ultrasound", "microscopy", "photo"}
    assert {name for name, each in SETS.items() if each.flip_vertical} == {"microscopy"}
    assert SETS["chest_xray"].rotate <= 10


def test_augmentation_is_named_switched_off_or_changed() -> None:
    assert Augment.of("none") is None and Augment.of(False) is None and Augment.of(True) == SETS["general"]
    assert Augment.of({"chest_xray": {"rotate": 2}}) == Augment(shift=0.05, scale=0.1, rotate=2)
    for wrong in ("x-ray", {"chest_xray": {"turn": 2}}, {"photo": {"rotate": 400}}, {"photo": {"flip": 1}}, 3, {}):
        with pytest.raises(PlanError, match="augment"):
            Augment.of(wrong)


# -- mixup --------------------------------------------------------------------------------------------------------


def test_the_loss_of_mixed_rows_is_the_mix_of_their_losses() -> None:
    logits, y = numbers()
    t, w = torch.eye(3)[y], torch.linspace(0.5, 1.5, 6)
    shares = torch.from_numpy(mixed_shares(IDS, 0.4, 1, 0)).float()
    x, mixed, whole_weight = mixup(torch.arange(6.0)[:, None, None, None], t, w, shares)
    assert torch.allclose(x[:, 0, 0, 0], shares * torch.arange(6.0) + (1 - shares) * torch.arange(6.0).roll(1))
    for loss in (Loss.of("cross_entropy"), Loss.of({"label_smoothing": 0.1}), Loss.of({"focal": 2})):
        apart = loss(logits, t, shares * w) + loss(logits, t.roll(1, 0), (1 - shares) * w.roll(1))
        assert float(loss(logits, mixed, whole_weight)) == pytest.approx(float(apart), rel=1e-5)


def test_shares_are_of_a_beta_distribution_and_of_the_row_alone() -> None:
    from scipy.stats import beta, kstest

    ids = [f"r{i}" for i in range(2000)]
    shares = mixed_shares(ids, 0.4, 1, 0)
    assert shares.min() >= 0.5
    # max(s, 1 − s) of s ~ Beta(α, α) has the distribution 2 F(s) − 1; a fixed seed, so the p-value is exact.
    assert kstest(shares, lambda s: 2 * beta.cdf(s, 0.4, 0.4) - 1).pvalue > 0.01
    assert (mixed_shares(ids[3:5], 0.4, 1, 0) == shares[3:5]).all()
    assert (mixed_shares(ids, 0.4, 1, 1) != shares).any()


@pytest.mark.parametrize(
    "parameters",
    [{"mixup": 0.4, "augment": "photo"}, {"loss": {"focal": 2}, "augment": "none"}, {"precision": "bf16-mixed"}],
)
def test_every_way_of_training_repeats_itself(parameters: dict[str, Any], tmp_path: Path) -> None:
    first = fit(tmp_path, **parameters)
    assert first.state() == fit(tmp_path, **parameters).state()
    assert first.state()[1] != fit(tmp_path).state()[1]  # and is not the usual way


def test_more_gpus_than_there_are_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="devices is 2"):
        fit(tmp_path, devices=2)
    with pytest.raises(PlanError, match="device is 'tpu'"):
        fit(tmp_path, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(PlanError, match="there are 0 to train on"):
            fit(tmp_path, device="cuda")
    with pytest.raises(PlanError, match="precision"):
        fit(tmp_path, precision="16-mixed")


# -- stages -------------------------------------------------------------------------------------------------------


def test_stages_free_the_head_then_the_last_block_then_all() -> None:
    model = catalogue.build({**SMALL})
    network = model.build(1, 2)
    stages = Stages.of({"head": 2, "last_block": 1, "rate": 0.1}, ("9", "10"))

    def learning() -> set[str]:
        return {
            name.split(".")[1] for name, each in network.features.named_parameters("features") if each.requires_grad
        }

    for epoch, free in ((0, set()), (1, set()), (2, {"9", "10"}), (3, None)):
        stages.enter(network, epoch)
        expected = {name for name, _ in network.features.named_children()} - {"2", "5", "8"} if free is None else free
        assert learning() == expected
        assert all(each.requires_grad for each in network.head.parameters())
        # What does not learn keeps its statistics of normalisation too.
        assert {name for name, each in network.features.named_children() if each.training} >= expected
        assert network.features[0].training is (free is None)
    shares = {group["share"] for group in stages.groups(network, 0.01)}
    assert shares == {0.1, 1.0}


# -- pixels on disk -----------------------------------------------------------------------------------------------


def test_squares_are_whole_numbers_and_one_channel_when_all_are_equal() -> None:
    grey = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1)
    grey[0, 0] = np.nan
    made = whole(np.repeat(grey, 3, axis=2))
    assert made.shape == (1, 3, 4) and made.dtype == np.uint16
    assert made[0, 0, 0] == EMPTY and made[0, -1, -1] == FULL
    assert np.nanmax(np.abs(made[0] / FULL - grey[:, :, 0])[1:]) < 1 / FULL  # finer than 16-bit pixels can tell
    colour = np.stack([grey[:, :, 0], grey[:, :, 0], 1 - grey[:, :, 0]], axis=2)
    assert whole(colour).shape == (3, 3, 4)


def test_an_image_is_decoded_once_and_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    cohort = blobs(4)
    made = [Squares(cohort, "image", 32, tmp_path)[i] for i in range(4)]
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 4 and all(path.stat().st_size == 8 + 2 * 32 * 32 for path in files)
    for data in (b"", files[0].read_bytes()[:-1], b"\xff" + files[0].read_bytes()[1:]):
        files[0].write_bytes(data)
        assert all((Squares(cohort, "image", 32, tmp_path)[i] == made[i]).all() for i in range(4))
    assert all((Squares(cohort, "image", 32)[i] == made[i]).all() for i in range(4))
    files[0].write_bytes(files[1].read_bytes())  # whole, so it is believed: nothing is decoded again
    assert sum((Squares(cohort, "image", 32, tmp_path)[i] == made[i]).all() for i in range(4)) == 3


def test_mean_and_spread_are_those_of_the_covered_pixels() -> None:
    squares = Squares(blobs(6), "image", 48)
    pixels = Pixels.learnt(squares, "image", None)
    every = np.stack([squares[i] for i in range(6)]).astype(np.float64) / FULL
    assert pixels.mean[0] == pytest.approx(every.mean(), abs=1e-12)
    assert pixels.spread[0] == pytest.approx(every.std(), abs=1e-12)


def test_training_keeps_pixels_in_the_runs_cache_or_leaves_nothing(tmp_path: Path) -> None:
    own = fit(tmp_path / "a")
    assert not (tmp_path / "a" / PIXELS).exists()
    for _ in range(2):  # the second time from what is kept
        shared = fit(tmp_path / "b", run=Run(tmp_path / "b", seed=3, cache=tmp_path / "cache"))
        assert shared.state() == own.state()
    assert len([path for path in (tmp_path / "cache" / PIXELS).rglob("*") if path.is_file()]) == 24
