"""Near-duplicate images, and the steps on images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bedside.cohort import Cohort, Field, MemoryFiles, Run
from bedside.cohort.manifest import manifests
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.intake.images import Images as ImageReader
from bedside.intake.pixels import describe
from bedside.prepare import steps
from bedside.prepare.arrays import Images, encode_png
from bedside.prepare.clean.duplicates import Duplicates
from bedside.prepare.clean.image_duplicates import band_passed, near_duplicates, perceptual_hash
from bedside.prepare.steps.image_statistics import STATISTICS, ImageStatistics, statistics
from bedside.prepare.steps.resize import Resize


def scene(seed: int, side: int = 120) -> NDArray[np.uint8]:
    """A smooth random scene with speckle, as an ultrasound has."""
    rng = np.random.default_rng(seed)
    broad = gaussian_filter(rng.normal(size=(side, side)), side / 10)
    fine = gaussian_filter(rng.normal(size=(side, side)), side / 60)
    mixed = broad / broad.std() + 0.6 * fine / fine.std()
    return np.clip(128 + 45 * mixed, 0, 255).astype(np.uint8)


def jpeg(array: NDArray[np.uint8], quality: int, size: int | None = None) -> bytes:
    image = Image.fromarray(array)
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=quality)
    return out.getvalue()


def cohort_of(files: list[bytes | None], labels: list[str] | None = None) -> Cohort:
    kept = MemoryFiles()
    digests = []
    for data in files:
        if data is not None:
            kept.put(data)
        digests.append(None if data is None else kept.put(describe(data)[0].to_bytes()))
    columns = {"image": digests, "label": labels or ["a"] * len(files)}
    return Cohort.of(columns, [Field("image", "image"), Field("label", "category", ("target",))]).with_files(kept)


def found(evidence: Evidence) -> dict[str, float | None]:
    return {item.metric: item.value for item in evidence.estimates}


@pytest.fixture(scope="module")
def copies() -> Cohort:
    """Thirty scenes; 3 thrice (scaled, re-compressed), 5 twice byte for byte, 7 again with an annotation."""
    files: list[bytes | None] = [encode_png(scene(i)) for i in range(30)]
    labels = ["a"] * 30
    files += [jpeg(scene(3), 40), jpeg(scene(3), 90, size=97), files[5]]
    marked = scene(7)
    marked[5:12, 5:40] = 255
    files += [jpeg(marked, 80), None]
    labels += ["a", "b", "a", "a", "a"]
    return cohort_of(files, labels)


def test_scaled_compressed_and_annotated_copies_are_found_and_nothing_else(copies: Cohort) -> None:
    twins, identical = near_duplicates(copies, "image", distance=10, correlation=0.6)
    groups = [set(np.flatnonzero(twins == number).tolist()) for number in range(twins.max() + 1)]
    assert sorted(groups, key=min) == [{3, 30, 31}, {5, 32}, {7, 33}]
    assert identical == 1


def test_groups_become_subjects_and_are_told(copies: Cohort) -> None:
    cohort, evidence = Duplicates("group").clean(copies)
    assert cohort.n_subjects == len(copies) - 4
    assert cohort.schema.identity == "cluster"
    assert cohort.files is copies.files
    told = found(evidence)
    assert told["clean_image_clusters"] == 3 and told["clean_images_in_clusters"] == 7
    assert told["clean_images_identical"] == 1 and told["clean_image_cluster_largest"] == 3
    assert told["clean_image_clusters_conflicting"] == 1 and told["clean_subjects_joined"] == 4
    assert [item.id for item in evidence.findings] == ["image_labels_conflict"]
    assert evidence.figures[0].columns == {"size": ["2", "3"], "clusters": [2, 1]}


def test_drop_keeps_one_of_each_that_agrees(copies: Cohort) -> None:
    cohort, evidence = Duplicates("drop").clean(copies)
    assert found(evidence)["clean_rows_dropped"] == 3
    assert len(cohort) == len(copies) - 3  # the copy of scene 3 with another label stays, in one subject with it
    assert cohort.n_subjects == len(cohort) - 1


def test_error_and_waive(copies: Cohort) -> None:
    with pytest.raises(DataError, match=r"4 row.*look like another image"):
        Duplicates("error").clean(copies)
    cohort, evidence = Duplicates("waive").clean(copies)
    assert cohort is copies
    assert "duplicates_waived" in [item.id for item in evidence.findings]
    clean, _ = Duplicates("error").clean(copies.take(np.arange(30)))
    assert len(clean) == 30


def test_the_order_of_rows_does_not_matter(copies: Cohort) -> None:
    order = np.random.default_rng(0).permutation(len(copies))
    straight, _ = near_duplicates(copies, "image", distance=10, correlation=0.6)
    mixed, _ = near_duplicates(copies.take(order), "image", distance=10, correlation=0.6)

    def pairs(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (numbers[:, None] == numbers[None]) & (numbers >= 0)

    np.testing.assert_array_equal(pairs(straight)[np.ix_(order, order)], pairs(mixed))


def test_all_identical_images_are_one_cluster_and_doubted() -> None:
    cohort, evidence = Duplicates().clean(cohort_of([encode_png(scene(0))] * 40))
    assert cohort.n_subjects == 1
    assert found(evidence)["clean_images_identical"] == 39
    assert "image_cluster_large" in [item.id for item in evidence.findings]


def test_even_images_are_joined_only_when_their_files_are_equal() -> None:
    shades = [encode_png(np.full((8, 8), value, dtype=np.uint8)) for value in (0, 90, 90, 200)]
    twins, identical = near_duplicates(cohort_of(list(shades)), "image", distance=10, correlation=0.6)
    assert twins.tolist() == [-1, 0, 0, -1] and identical == 1


def test_no_and_one_image() -> None:
    assert near_duplicates(cohort_of([]), "image", distance=10, correlation=0.6)[0].shape == (0,)
    assert near_duplicates(cohort_of([None]), "image", distance=10, correlation=0.6)[0].tolist() == [-1]
    assert near_duplicates(cohort_of([encode_png(scene(1))]), "image", distance=10, correlation=0.6)[0].tolist() == [-1]


def test_the_hash_holds_half_its_bits_and_the_band_has_length_one() -> None:
    thumbnail = (scene(4, 64) / 255).astype(np.float32)
    assert int(perceptual_hash(thumbnail[:32, :32])).bit_count() == 32  # signs about the median
    assert perceptual_hash(thumbnail[:32, :32] * 0.5) == perceptual_hash(thumbnail[:32, :32])
    band = band_passed(thumbnail)
    assert abs(float(np.linalg.norm(band)) - 1) < 1e-5 and abs(float(band.mean())) < 1e-6


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(PlanError, match="correlation"):
        Duplicates(correlation=2)
    with pytest.raises(PlanError, match="aspect"):
        Resize(aspect="crop")
    with pytest.raises(PlanError, match="image"):
        Resize(image=0)


@pytest.mark.slow
def test_breast_ultrasound_holds_the_duplicates_that_were_counted_before(shared_data: Path) -> None:
    # Oracle: 132–145 groups for correlations .9–.5, ~332 images with every pair compared, largest 7, 8 with
    # conflicting labels, 1 exact duplicate (measured on BUSI with an independent prototype).
    cohort = ImageReader(labels="labels.csv", target="label").read(shared_data / "image" / "busi")
    made, evidence = Duplicates().clean(cohort)
    told = found(evidence)
    assert told["clean_images_identical"] == 1
    assert told["clean_image_clusters"] == 145
    assert 320 <= (told["clean_images_in_clusters"] or 0) <= 335
    assert told["clean_image_cluster_largest"] == 7
    assert told["clean_image_clusters_conflicting"] == 8
    assert made.schema.identity == "cluster" and made.n_subjects < 605


def run(tmp_path: Path) -> Run:
    return Run(folder=tmp_path)


def test_resize_appends_an_operation_and_says_the_size(copies: Cohort, tmp_path: Path) -> None:
    cohort = copies.take(np.arange(34))
    step = Resize(image=[32, 48], aspect="stretch").fit(cohort, run=run(tmp_path))
    made = step.apply(cohort)
    assert {each.shape for each in manifests(made, "image").values()} == {(32, 48, 1)}
    assert Images(made).batch(range(34)).shape == (34, 32, 48, 1)
    assert step.apply(made).digest == made.digest  # what has the size is left as it is
    (tmp_path / "saved").mkdir()
    steps.save_all([step], tmp_path / "saved")
    (again,) = steps.load_all(tmp_path / "saved")
    assert again.apply(cohort).digest == made.digest


def test_statistics_are_what_they_say() -> None:
    flat = dict(zip(STATISTICS, statistics(np.full((40, 80), 0.5, dtype=np.float32)), strict=True))
    assert flat["mean"] == pytest.approx(0.5) and flat["sd"] == pytest.approx(0, abs=1e-6)
    assert flat["entropy"] == 0 and flat["gradient"] == pytest.approx(0, abs=1e-6)
    assert flat["aspect"] == 2 and flat["log_area"] == pytest.approx(np.log(3200))
    split = np.zeros((64, 64), dtype=np.float32)
    split[:, :32] = 1
    halves = dict(zip(STATISTICS, statistics(split), strict=True))
    assert halves["left_right"] == pytest.approx(1) and halves["top_bottom"] == pytest.approx(0)
    assert halves["entropy"] == pytest.approx(1)  # two equal bins are one bit
    assert halves["border_dark"] == pytest.approx(0.5)
    mirrored = dict(zip(STATISTICS, statistics(split[:, ::-1]), strict=True))
    assert mirrored["left_right"] == pytest.approx(-1)
    assert {key: mirrored[key] for key in STATISTICS if key != "left_right"} == pytest.approx(
        {key: halves[key] for key in STATISTICS if key != "left_right"}
    )


def test_statistics_take_the_place_of_the_image(copies: Cohort, tmp_path: Path) -> None:
    step = ImageStatistics().fit(copies, run=run(tmp_path))
    made = step.apply(copies)
    assert [item.name for item in made.schema.inputs] == [f"image.{each}" for each in STATISTICS]
    assert made["image.mean"].null_count() == 1  # the row without an image
    assert made["image.mean"][0] == pytest.approx(scene(0).mean() / 255, abs=2e-3)
    with pytest.raises(DataError, match="no input is an image"):
        ImageStatistics().fit(made, run=run(tmp_path))
    (tmp_path / "saved").mkdir()
    steps.save_all([step], tmp_path / "saved")
    assert steps.load_all(tmp_path / "saved")[0].apply(copies).digest == made.digest


def test_one_image_of_one_pixel_has_statistics(tmp_path: Path) -> None:
    cohort = cohort_of([encode_png(np.full((1, 1), 9, dtype=np.uint8))])
    made = ImageStatistics().fit(cohort, run=run(tmp_path)).apply(cohort)
    assert made["image.mean"][0] == pytest.approx(9 / 255)
    assert np.isfinite(
        made.frame.select(made.schema.keeping([n for n in made.schema.names if "." in n]).names).to_numpy()
    ).all()


# The dataset card -----------------------------------------------------------------------------------------------------


def test_marks_that_go_with_a_class_are_hinted_at_in_the_card() -> None:
    from bedside.evidence.glossary import text
    from bedside.prepare.card import describe
    from bedside.synth.phantom2d import simulate

    cohort = simulate(200, 2, size=48, shortcut=1.0)
    told = describe(cohort)
    marked = cohort["marker"].is_not_null().to_numpy()
    shares = {
        (each.at or {}).get("level"): each.value for each in told.estimates if each.metric == "image_corner_marks"
    }
    nodule = (cohort["finding"] == "nodule").to_numpy()
    assert shares == {
        None: pytest.approx(marked.mean()),
        "nodule": pytest.approx(marked[nodule].mean()),
        "none": pytest.approx(marked[~nodule].mean()),
    }
    (hint,) = [each for each in told.findings if each.id == "image_marks_differ"]
    assert (hint.values["most"], hint.values["least"]) == ("nodule", "none")
    assert "nodule" in text(hint.id, "en", **hint.values)
    plain = describe(simulate(60, 2, size=48))
    assert not [each for each in plain.findings if each.id == "image_marks_differ"]
    assert {e.value for e in plain.estimates if e.metric == "image_corner_marks"} == {0.0}


def test_a_black_border_and_brightness_are_what_they_say(tmp_path: Path) -> None:
    from bedside.intake.images import Images as Reader
    from bedside.prepare.card import describe

    for i in range(12):
        image = np.full((20, 20), 100, dtype=np.uint8)
        if i < 3:
            image[[0, -1]], image[:, [0, -1]] = 0, 0
        (tmp_path / f"{i:02d}.png").write_bytes(encode_png(image))
    told = {each.metric: each.value for each in describe(Reader().read(tmp_path)).estimates}
    assert told["image_black_border"] == pytest.approx(0.25) and told["image_corner_marks"] == 0
    expected = 100 / 255 * (9 + 3 * (18 * 18) / 400) / 12
    assert told["image_brightness"] == pytest.approx(expected, abs=1e-6)
