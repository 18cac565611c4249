"""The chest phantom: projections against geometry, quanta against Poisson, masks exact, the shortcut as declared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from bedside.cohort import Cohort
from bedside.errors import DataError
from bedside.intake.images import Images as Reader
from bedside.prepare.arrays import Images, Masks
from bedside.synth import phantom2d as phantom
from bedside.synth.export import write_images
from bedside.synth.projection import Solid, attenuation, blurred, chords, counted, grid, silhouette

PATIENTS = 300


@pytest.fixture(scope="module")
def marked() -> Cohort:
    """Patients with the planted shortcut at its strongest."""
    return phantom.simulate(PATIENTS, 3, size=48, shortcut=1.0)


def test_a_beam_crosses_a_sphere_along_its_chord() -> None:
    # Elementary geometry: at distance d from the centre of a sphere of radius r, 2 √(r² − d²).
    ball = Solid(x=1.0, z=-2.0, a=3.0, b=3.0, c=3.0, mu=0.2)
    x, z = grid(97, 20.0)
    d2 = (x - 1.0) ** 2 + (z + 2.0) ** 2
    expected = 2 * np.sqrt(np.maximum(9.0 - d2, 0))
    np.testing.assert_allclose(chords(ball, x, z), expected, atol=1e-12)
    np.testing.assert_allclose(attenuation([ball, ball], 97, 20.0), 0.4 * expected, atol=1e-12)  # overlaps add
    np.testing.assert_array_equal(silhouette(ball, 97, 20.0), d2 < 9.0)


def test_a_turned_and_bent_ellipsoid_keeps_its_volume() -> None:
    # The integral of all chords over the detector is the volume, 4/3 π a b c; turning and shearing change none.
    for turned in (Solid(0, 0, 3, 2, 1, 1.0), Solid(0.3, -0.2, 3, 2, 1, 1.0, angle=35, bend=0.06)):
        size, side = 400, 12.0
        total = float(attenuation([turned], size, side).sum()) * (side / size) ** 2
        assert total == pytest.approx(4 / 3 * np.pi * 6, rel=2e-3)


def test_quanta_are_poisson() -> None:
    # Variance over mean is 1: (n − 1) s²/m is χ²(n − 1), n = 40 000, so within ± 4.5 √(2/n) but once in 10⁵.
    counts = counted(np.full((200, 200), 2.0), 5000.0, np.random.default_rng(0))
    mean = 5000 * np.exp(-2)
    assert abs(counts.mean() - mean) < 4.5 * np.sqrt(mean / counts.size)
    assert abs(counts.var(ddof=1) / counts.mean() - 1) < 4.5 * np.sqrt(2 / counts.size)


def test_the_blur_is_scipys_and_keeps_an_even_field() -> None:
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(1).normal(size=(30, 41))
    np.testing.assert_allclose(blurred(image, 0.9), gaussian_filter(image, 0.9, mode="nearest", radius=3), atol=1e-12)
    np.testing.assert_allclose(blurred(np.full((8, 8), 7.0), 0.6), 7.0)


def test_the_mask_is_where_the_image_of_the_finding_differs() -> None:
    rng = np.random.default_rng(5)
    body = phantom.anatomy(rng, 60, True)
    for kind in ("nodule", "effusion"):
        held = phantom.lesion(kind, rng)
        added = attenuation([*body, held], 96, phantom.SIDE) - attenuation(body, 96, phantom.SIDE)
        np.testing.assert_array_equal(added > 1e-9, silhouette(held, 96, phantom.SIDE))
        assert 4 <= silhouette(held, 96, phantom.SIDE).sum() <= 0.1 * 96**2


def test_every_finding_has_a_mask_and_nothing_else_has(marked: Cohort) -> None:
    masks = Masks(marked, "mask")
    assert [each is not None for each in masks] == (marked["finding"] == "nodule").to_list()
    for row in np.flatnonzero((marked["finding"] == "nodule").to_numpy())[:20]:
        assert masks[int(row)].any()


def test_the_marker_stands_at_its_site_alone_with_the_declared_probabilities(marked: Cohort) -> None:
    frame = marked.frame.with_columns(shown=pl.col("marker").is_not_null())
    assert frame.filter(pl.col("shown"))["site"].unique().to_list() == [phantom.MARKER_SITE]
    here = frame.filter(pl.col("site") == phantom.MARKER_SITE)
    assert (here["shown"] == (here["device"] == "portable")).all()
    for finding, p in (("nodule", 0.9), ("none", 0.1)):
        shown = here.filter(pl.col("finding") == finding).group_by("subject").first()["shown"]  # visits draw anew
        assert phantom.portable(finding == "nodule", phantom.MARKER_SITE, 1.0) == pytest.approx(p)
        assert binomtest(int(shown.sum()), len(shown), p).pvalue > 1e-5
    elsewhere = frame.filter(pl.col("site") != phantom.MARKER_SITE).group_by("subject").first()
    for finding in ("nodule", "none"):
        device = elsewhere.filter(pl.col("finding") == finding)["device"] == "portable"
        assert binomtest(int(device.sum()), len(device), phantom.PORTABLE).pvalue > 1e-5
    images, markers = Images(marked, "image"), Masks(marked, "marker")
    row = int(np.flatnonzero(frame["shown"].to_numpy())[0])
    assert (images[row][:, :, 0][markers[row]] == 1.0).all()


def test_without_the_shortcut_no_marker_and_the_machine_tells_nothing() -> None:
    plain = phantom.simulate(20, 3, size=48)
    assert plain["marker"].null_count() == len(plain)
    assert {phantom.portable(present, site, 0.0) for present in (True, False) for site in phantom.SITES} == {0.25}


def test_a_patient_depends_on_seed_and_number_alone() -> None:
    few, more = phantom.simulate(6, 11, size=48), phantom.simulate(12, 11, size=48)
    assert more.frame.head(len(few)).equals(few.frame)
    assert phantom.simulate(6, 11, size=48).digest == few.digest
    assert phantom.simulate(6, 12, size=48).digest != few.digest


def test_some_patients_come_again_and_prevalence_is_as_asked(marked: Cohort) -> None:
    visits = marked.frame.group_by("subject").len()["len"]
    assert len(visits) == PATIENTS and binomtest(int((visits > 1).sum()), PATIENTS, phantom.AGAIN).pvalue > 1e-5
    assert set(visits) == {1, 2, 3}
    sick = marked.frame.group_by("subject").agg(pl.col("finding").unique())["finding"]
    assert (sick.list.len() == 1).all()
    with_it = int((sick.list.first() == "nodule").sum())
    assert binomtest(with_it, PATIENTS, 0.4).pvalue > 1e-5


def test_it_says_that_it_is_simulated(marked: Cohort) -> None:
    assert marked.schema.name.startswith("simulated-")
    assert marked.lineage[0].action == "simulate" and marked.lineage[0].parameters["simulated"] is True
    assert "simulated" in (marked.schema["image"].label or "")


def test_the_exported_folder_reads_back(marked: Cohort, tmp_path: Path) -> None:
    rows = [*np.flatnonzero(marked["marker"].is_not_null().to_numpy())[:3].tolist(), 0, 1]
    small = marked.take(sorted(set(rows)))
    write_images(small, tmp_path, "SIMULATED")
    again = Reader(
        labels="labels.csv",
        file="image",
        target="finding",
        subject="subject",
        site="site",
        sensitive=["age", "sex", "device"],
        mask={"mask": "mask", "marker": "marker"},
    ).read(tmp_path)
    order = {name: i for i, name in enumerate(again["row_id"])}
    back = again.take([order[f"image/{name}.png"] for name in small["row_id"]])
    for field in ("subject", "finding", "age", "sex", "site", "device", "image", "mask", "marker"):
        assert back[field].to_list() == small[field].to_list(), field
    assert "SIMULATED" in (tmp_path / "README.txt").read_text()


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 8}, {"prevalence": 1.0}, {"shortcut": 2.0}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="cannot be simulated"):
        phantom.simulate(**{"patients": 1, **wrong})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no finding is called 'fracture'"):
        phantom.simulate(1, finding="fracture")  # type: ignore[arg-type]
