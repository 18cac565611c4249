"""Image models: the conformance suite on blobs, and what the loop, the pixels and chance promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra imaging is not installed")

from bedside.cohort.cohort import Cohort  # noqa: E402
from bedside.cohort.run import Run  # noqa: E402
from bedside.cohort.schema import Field  # noqa: E402
from bedside.errors import BedsideError, DataError, IntegrityError, PlanError  # noqa: E402
from bedside.models import catalogue  # noqa: E402
from bedside.models.conformance import IMAGE_TARGETS, Case  # noqa: E402
from bedside.models.conformance_images import RULES  # noqa: E402
from bedside.models.example_images import example_images  # noqa: E402
from bedside.models.imaging.augment import SETS, Augment  # noqa: E402
from bedside.models.imaging.checkpoint import CHECKPOINT  # noqa: E402
from bedside.models.imaging.loop import Budget  # noqa: E402
from bedside.models.imaging.pixels import Pixels  # noqa: E402
from bedside.models.imaging.squares import Squares, square  # noqa: E402
from bedside.models.seeded import reseed, seeded, shuffled, uniforms  # noqa: E402
from bedside.models.task import Classify  # noqa: E402

SMALL = {"name": "small_cnn", "image": 32, "width": 4, "batch": 8, "budget": {"epochs": 8}}
BLOB = Classify("blob", ("no", "yes"), "yes")


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Case] = {}

    def get(target: str) -> Case:
        if target not in made:
            made[target] = Case(SMALL, target, tmp_path_factory.mktemp(target))
        return made[target]

    return get


def cases() -> list[Any]:
    """Every rule on every target; several labels are put to the quick ones here, and to those that start processes in
    make test-slow."""
    slow = ("loads_in_a_fresh_process", "killing_changes_nothing")
    return [
        pytest.param(target, rule, marks=(pytest.mark.slow,) if target == "marks" and rule in slow else ())
        for target in IMAGE_TARGETS
        for rule in RULES
    ]


@pytest.mark.parametrize(("target", "rule"), cases())
def test_conforms(target: str, rule: str, case_of: Any) -> None:
    RULES[rule](case_of(target))


def blobs(n: int = 24) -> Cohort:
    cohort = example_images(n)
    return cohort.keeping(["image", "blob"])


def fit(cohort: Cohort, folder: Path, tune: Cohort | None = None, run: Run | None = None, **parameters: Any) -> Any:
    model = catalogue.build({**SMALL, **parameters})
    return model.fit(cohort, tune, task=BLOB, run=Run(folder, seed=3) if run is None else run)


# -- chance -------------------------------------------------------------------------------------------------------


def test_numbers_from_a_hash_are_uniform_and_decided_by_their_parts() -> None:
    drawn = np.array([uniforms(7, 1, "augment", 0, f"r{i}") for i in range(2000)])
    assert drawn.min() >= 0 and drawn.max() < 1
    # Mean of 14 000 uniforms: standard error 1/sqrt(12 · 14 000) = 0.0024, so 0.011 is 4.5 of them.
    assert abs(drawn.mean() - 0.5) < 0.011
    assert (uniforms(3, 1, "a") == uniforms(7, 1, "a")[:3]).all()
    assert (uniforms(3, 1, "a") != uniforms(3, "1", "a")).all()  # a number is not its text
    with pytest.raises(ValueError, match="1 to 8"):
        uniforms(9, 1)


def test_the_order_of_an_epoch_is_of_ids_not_of_places() -> None:
    ids = [f"r{i}" for i in range(50)]
    order = [ids[i] for i in shuffled(ids, 7, "order", 0)]
    back = ids[::-1]
    assert [back[i] for i in shuffled(back, 7, "order", 0)] == order
    assert [ids[i] for i in shuffled(ids, 7, "order", 1)] != order


def test_seeding_leaves_torch_as_it_was() -> None:
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with seeded(1, threads=1):
        first = torch.rand(3)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        reseed(1)
        assert (torch.rand(3) == first).all()
    assert (torch.get_rng_state() == state).all() and torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


# -- pixels -------------------------------------------------------------------------------------------------------


def test_a_picture_keeps_its_shape_in_the_square() -> None:
    image = np.full((20, 40, 1), 0.7, dtype=np.float32)
    made = square(image, 32)
    covered = ~np.isnan(made[:, :, 0])
    assert covered.sum(axis=0).tolist() == [16] * 32  # 40 × 20 becomes 32 × 16, centred
    assert covered[8:24].all() and np.allclose(made[covered], 0.7)


def test_inputs_are_standardised_by_train_and_uncovered_pixels_are_its_mean() -> None:
    cohort = blobs()
    squares = Squares(cohort, "image", 32)
    pixels = Pixels.learnt(squares, "image", None)
    x = pixels.taken(squares, range(24))
    assert x.shape == (24, 1, 32, 32) and abs(float(x.mean())) < 1e-4 and float(x.std()) == pytest.approx(1, abs=1e-3)
    assert (pixels.inputs(cohort) == x).all()
    assert Pixels.from_json(json.loads(json.dumps(pixels.to_json()))) == pixels
    assert pixels.pictures(x).min() >= 0 and pixels.pictures(x).max() <= 1


def test_other_inputs_beside_the_image_are_refused() -> None:
    cohort = example_images(12).keeping(["image", "blob", "x"])
    cohort = cohort.with_fields([Field("x", "number")])
    with pytest.raises(DataError, match="select"):
        fit(cohort, Path())


def test_no_augmentation_within_zero_limits_and_a_mirror_is_a_mirror() -> None:
    squares = Squares(blobs(8), "image", 32)
    x = torch.from_numpy(Pixels.learnt(squares, "image", None).taken(squares, range(8)))
    ids = [f"r{i}" for i in range(8)]
    still = Augment(flip=False, shift=0, scale=0, rotate=0, brightness=0, contrast=0)
    assert torch.allclose(still(x, ids, 1, 0), x, atol=1e-5)
    flipped = replace(still, flip=True)(x, ids, 1, 0)
    mirrored = np.array([uniforms(7, 1, "augment", 0, name)[2] < 0.5 for name in ids])
    assert 0 < mirrored.sum() < 8
    for i in range(8):
        assert torch.allclose(flipped[i], x[i].flip(-1) if mirrored[i] else x[i], atol=1e-5)
    upside_down = replace(still, flip_vertical=True)(x, ids, 1, 0)
    turned = np.array([uniforms(8, 1, "augment", 0, name)[7] < 0.5 for name in ids])
    assert 0 < turned.sum() < 8
    for i in range(8):
        assert torch.allclose(upside_down[i], x[i].flip(-2) if turned[i] else x[i], atol=1e-5)
    full = SETS["microscopy"]
    assert torch.equal(full(x, ids, 1, 2)[3:4], full(x[3:4], ids[3:4], 1, 2))  # a row's own, whoever is beside it
    assert not torch.equal(full(x, ids, 1, 2), full(x, ids, 1, 3))


# -- the loop -----------------------------------------------------------------------------------------------------


def test_minutes_become_epochs_once() -> None:
    run = Run(Path(), budget_minutes=2.0)
    assert Budget.of(None, run, 40).planned(seconds=3.0) == 40  # 120 s at 3 s an epoch
    assert Budget.of(None, replace(run, budget_minutes=None), 40).planned() == 40
    assert Budget.of({"minutes": 0.5}, run, 40).planned() is None
    assert Budget.of({"minutes": 0.5}, run, 40).planned(seconds=100.0) == 1
    for wrong in (15, {"hours": 1}, {"epochs": 0}, {"epochs": 2.5}, {"minutes": float("nan")}, {"epochs": True}):
        with pytest.raises(PlanError, match="budget"):
            Budget.of(wrong, run, 40)


def test_a_budget_in_minutes_is_spent_and_its_epochs_are_stored(tmp_path: Path) -> None:
    model = fit(blobs(), tmp_path, budget={"minutes": 0.01})
    planned = model.state()[0]["planned"]
    assert planned >= 1 and len(model.state()[0]["history"]) == planned
    # Its epochs repeat it to the byte: the timed epoch, and what warms it up, leave no trace.
    assert model.spent() == {"budget": {"epochs": planned}}
    assert fit(blobs(), tmp_path, **model.spent()).state() == model.state()
    assert fit(blobs(), tmp_path, budget=None).spent() == {}


def test_the_best_epoch_on_the_search_part_is_kept_and_training_stops_early(tmp_path: Path) -> None:
    cohort = blobs(48)
    upside_down = cohort.take(np.arange(32, 48))  # its labels swapped: the better train, the worse this
    swapped = upside_down.frame["blob"].replace_strict({"yes": "no", "no": "yes"})
    upside_down = upside_down.derive(upside_down.frame.with_columns(swapped.alias("blob")))
    model = fit(cohort.take(np.arange(32)), tmp_path, upside_down, budget={"epochs": 40})
    losses = [row["tune_loss"] for row in model.state()[0]["history"]]
    assert len(losses) < 40 and model.state()[0]["best"] == int(np.argmin(losses)) + 1
    curve = model.learning_curve()
    assert curve.id == "learning_curve" and set(curve.columns["series"]) == {"train_loss", "tune_loss"}


def test_progress_is_told_and_a_cancelled_fit_goes_on_where_it_was(tmp_path: Path) -> None:
    told: list[float] = []
    whole = fit(blobs(), tmp_path / "a", run=Run(_made(tmp_path / "a"), report=lambda done, _: told.append(done)))
    assert told == [pytest.approx((i + 1) / 8) for i in range(8)]
    asked = iter(range(100))
    folder = _made(tmp_path / "b")
    with pytest.raises(BedsideError, match="cancelled"):
        fit(blobs(), folder, run=Run(folder, cancelled=lambda: next(asked) == 7))
    assert (folder / CHECKPOINT).exists()
    told.clear()
    resumed = fit(blobs(), folder, run=Run(folder, report=lambda done, _: told.append(done)))
    assert len(told) == 6  # two of eight epochs were done
    assert not (folder / CHECKPOINT).exists()
    assert resumed.state() == whole.state()


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_left_aside(tmp_path: Path) -> None:
    asked = iter(range(100))
    with pytest.raises(BedsideError, match="cancelled"):
        fit(blobs(), tmp_path, run=Run(tmp_path, cancelled=lambda: next(asked) == 7))
    other = fit(blobs(), tmp_path, learning_rate=1e-3)
    assert other.state() == fit(blobs(), _made(tmp_path / "clean"), learning_rate=1e-3).state()
    (tmp_path / CHECKPOINT).write_bytes(b"\xff" * 100)
    assert fit(blobs(), tmp_path, learning_rate=1e-3).state() == other.state()


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(BedsideError, match="lower learning_rate"):
        fit(blobs(), tmp_path, learning_rate=10.0, decay=10.0, budget={"epochs": 60})


def test_class_weights_move_the_probabilities(tmp_path: Path) -> None:
    cohort = blobs(36)
    plain = fit(cohort, tmp_path).predict(cohort).score.mean()
    weighted = fit(cohort, tmp_path, class_weight={"yes": 8.0}).predict(cohort).score.mean()
    assert weighted > plain


@pytest.mark.parametrize("wrong", [{"image": 4}, {"batch": 1}, {"loss": {"focal": -1}}, {"width": 0}, {"dropout": 1.0}])
def test_parameters_out_of_range_are_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=next(iter(wrong))):
        fit(blobs(), tmp_path, **wrong)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = fit(blobs(), tmp_path, budget={"epochs": 1})
    state, files = model.state()
    other = catalogue.build({**SMALL, "width": 6})
    with pytest.raises(IntegrityError, match="weights"):
        other.restore(state, files)
    with pytest.raises(IntegrityError, match="weights"):
        catalogue.build(SMALL).restore(state, {"network.safetensors": b"\x00" * 40})


def test_nothing_is_pickled(tmp_path: Path) -> None:
    folder = _made(tmp_path / "saved")
    fit(blobs(), tmp_path, budget={"epochs": 1}).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "network.safetensors"]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
