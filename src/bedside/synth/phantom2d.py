"""Simulated chest-like radiographs: ellipsoids projected by Beer–Lambert, quantum noise, blur, a nodule or an effusion.

SIMULATED. Nobody was ever in front of this detector. It is the embedded image data of demos, and the oracle of heat
maps and of shortcut detection, since the exact place of each finding and of each burnt-in marker is known.

Solids of soft tissue, lung (soft tissue with some taken away) and bone attenuate; N photons a pixel leave
N exp(−Σ μ · chord), of which Poisson many are counted; the detector blurs; the image is −ln of that, windowed, so bone
is white (`projection`).

The planted shortcut: at `MARKER_SITE` alone the portable machine burns a marker into a corner, and the sick are imaged
with it more often (`portable`). Without it (`shortcut` 0) there is no marker, and the machine tells nothing anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import Manifest
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.prepare.arrays import encode_png
from bedside.synth.projection import Solid, attenuation, blurred, counted, silhouette

Bools = NDArray[np.bool_]
Finding = Literal["nodule", "effusion"]

SIDE = 36.0  # cm
SOFT, LUNG, BONE = 0.20, 0.06, 0.40  # attenuation, 1/cm, about that of 60 keV (NIST XCOM)
PNG = "image/png"
SITES, SITE_SHARES = ("north", "south", "west"), (0.4, 0.35, 0.25)
MARKER_SITE = "north"
PORTABLE = 0.25  # share imaged with the portable machine where that has nothing to do with the finding
PHOTONS = {"fixed": 60_000.0, "portable": 20_000.0}  # a pixel, before the patient
BLUR = {"fixed": 0.6, "portable": 0.9}  # standard deviation of the detector's Gaussian, pixels
BLACK, WHITE, GAMMA = 0.8, 4.9, 0.8  # attenuation shown as 0 and 255, and the curve between
AGAIN = 0.25  # share of patients with a second image, and of those with a third


def anatomy(rng: np.random.Generator, age: float, female: bool) -> list[Solid]:
    """Thorax, shoulders, lungs with vessels, heart, aorta, diaphragm, spine, ribs, clavicles, breasts of a patient."""
    wide, deep, old = rng.normal(1.0, 0.05), rng.normal(1.0, 0.08), (age - 60.0) / 60.0
    bone = (BONE - SOFT) * (1.0 - 0.25 * old)
    out = [Solid(0, -6, 17.0 * wide, 9.0 * deep, 27, SOFT)]
    for side in (-1.0, 1.0):
        out += [Solid(side * 15, 13.5, 9, 4.5, 5, 0.7 * SOFT, side * -20)]
        out += [Solid(side * 6.6 * wide, 1.5, 5.1 * wide, 6.8 * deep, 10.2, LUNG - SOFT, side * 5)]
        out += [Solid(side * 6.8 * wide, -13.2 - 0.6 * side, 7.5 * wide, 6.2, 6.4, 0.5 * SOFT)]
        out += [Solid(side * 7.4 * wide, 12.2, 6.4, 0.6, 0.6, 1.3 * bone, side * 10, -0.01)]
        for i in range(9):
            at, down = 10.4 - 2.5 * i + rng.normal(0, 0.15), side * -14
            out += [Solid(side * 7.4 * wide, at, 7.2 * wide, 0.6, 0.5, bone, down, -0.035)]
            if i < 6:
                out += [Solid(side * 8.8 * wide, at - 2.6, 5.2 * wide, 0.4, 0.45, 0.7 * bone, side * 24, 0.02)]
        for _ in range(18):
            far, way = rng.uniform(0.0, 1.0), rng.uniform(-80, 80)
            thick = (0.5 - 0.3 * far) * rng.uniform(0.6, 1.2)
            x, z = 3.2 + 5.5 * far * np.cos(np.deg2rad(way)), 1.0 + 7.5 * far * np.sin(np.deg2rad(way))
            out += [Solid(side * x, z, rng.uniform(0.5, 2.4), thick, thick, SOFT - LUNG, side * way)]
        if female:
            out += [Solid(side * 7.8 * wide, -5.5, 5.2, rng.uniform(0.6, 1.8), 4.4, SOFT)]
    heart = rng.normal(1.0, 0.08) * (1.0 + 0.12 * old)
    out += [Solid(2.4, -5.0, 6.4 * heart, 4.6, 4.8 * heart, 0.10, -30), Solid(1.9, 5.0, 1.9, 2.2, 2.6, 0.09)]
    out += [
        Solid(0, 2.5, 2.4, 4.0, 15, 0.07),
        Solid(0, 0, 1.5, 1.5, 26, 0.8 * bone),
        Solid(0, 12, 0.8, 1.0, 5.5, -0.12),
    ]
    return out


def lesion(kind: Finding, rng: np.random.Generator) -> Solid:
    """A nodule of 0.8 to 1.8 cm radius in a lung, or an effusion at the outer base of one."""
    side = rng.choice([-1.0, 1.0])
    if kind == "nodule":
        far, way, r = np.sqrt(rng.uniform(0, 1)), rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.8)
        x, z = side * (7.0 + 3.2 * far * np.cos(way)), 2.0 + 6.6 * far * np.sin(way)
        return Solid(x, z, r * rng.uniform(0.85, 1.15), r, r * rng.uniform(0.85, 1.15), SOFT - LUNG, rng.uniform(0, 90))
    depth = rng.uniform(1.0, 4.2)
    return Solid(side * 9.0, -7.4 + 0.3 * depth, 3.4, 3.0, depth, 0.6 * (SOFT - LUNG), side * -20)


def marker_mask(size: int) -> Bools:
    """Where the marker is burnt in: a P in the upper left corner, shape (size, size)."""
    letter = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    step = max(1, round(size / 48))
    big = np.kron(letter, np.ones((step, step), dtype=bool))
    out = np.zeros((size, size), dtype=bool)
    out[size // 20 : size // 20 + big.shape[0], size // 20 : size // 20 + big.shape[1]] = big
    return out


def portable(present: bool, site: str, shortcut: float) -> float:
    """Probability of the portable machine: at MARKER_SITE up to 0.9 for the sick and 0.1 for others, else PORTABLE."""
    if site != MARKER_SITE:
        return PORTABLE
    return PORTABLE + shortcut * ((0.9 if present else 0.1) - PORTABLE)


def patient(
    i: int, seed: int, size: int, prevalence: float, finding: Finding, shortcut: float
) -> Iterator[tuple[dict[str, Any], dict[str, NDArray[Any]]]]:
    """Rows of patient i, without digests, and their uint8 `image` and bool `mask` and `marker`, where there are any."""
    rng = np.random.default_rng([seed, i])
    age, sex = float(np.clip(np.round(rng.normal(60, 15)), 18, 95)), ("female", "male")[int(rng.random() < 0.5)]
    site = str(rng.choice(SITES, p=SITE_SHARES))
    odds = prevalence / (1 - prevalence) * np.exp(0.01 * (age - 60))  # the old are sicker, as they are
    present = bool(rng.random() < odds / (1 + odds))
    body = anatomy(rng, age, sex == "female")
    held = lesion(finding, rng)
    images = 1 + int(rng.random() < AGAIN)
    images += int(images == 2 and rng.random() < AGAIN)
    for visit in range(images):
        device = "portable" if rng.random() < portable(present, site, shortcut) else "fixed"
        dx, dz = rng.normal(0, 0.4, 2) * (1.0 if device == "fixed" else 1.5)
        shown = [solid._replace(x=solid.x + dx, z=solid.z + dz) for solid in [*body, *([held] if present else [])]]
        counts = counted(attenuation(shown, size, SIDE), PHOTONS[device], rng)
        seen = -np.log(np.maximum(blurred(counts, BLUR[device]), 0.5) / PHOTONS[device])
        grey = np.round(255 * np.clip((seen - BLACK) / (WHITE - BLACK), 0, 1) ** GAMMA).astype(np.uint8)
        pixels: dict[str, NDArray[Any]] = {"image": grey}
        if present:
            pixels["mask"] = silhouette(shown[-1], size, SIDE)
        if shortcut > 0 and site == MARKER_SITE and device == "portable":
            pixels["marker"] = marker_mask(size)
            grey[pixels["marker"]] = 255
        row = {"row_id": f"X{i + 1:06d}-{visit + 1}", "subject": f"P{i + 1:06d}", "age": age + visit, "sex": sex}
        yield {**row, "finding": finding if present else "none", "site": site, "device": device}, pixels


def simulate(
    patients: int = 2000,
    seed: int = 7,
    *,
    size: int = 96,
    prevalence: float = 0.4,
    finding: Finding = "nodule",
    shortcut: float = 0.0,
) -> Cohort:
    """Radiographs whose `finding` (it, or none) is to be told, with `mask`, `marker`, age, sex, site and device.

    `prevalence` is that at 60 years; `shortcut` (0..1) says how strongly the marker goes with the finding. A patient
    depends on (seed, number) alone. Raises DataError for parameters out of range.
    """
    if patients < 1 or not 32 <= size <= 2048 or not 0 < prevalence < 1 or not 0 <= shortcut <= 1:
        raise DataError("this cannot be simulated", "patients ≥ 1, size 32–2048, prevalence and shortcut within 0–1")
    if finding not in ("nodule", "effusion"):
        raise DataError(f"no finding is called '{finding}'", "nodule or effusion")
    files, rows = MemoryFiles(), []
    for i in range(patients):
        for row, pixels in patient(i, seed, size, prevalence, finding, shortcut):
            for name in ("image", "mask", "marker"):
                if name in pixels:
                    data = encode_png(pixels[name].astype(np.uint8))
                    made = Manifest("image" if name == "image" else "mask", (files.put(data),), PNG, (size, size, 1))
                    row[name] = files.put(made.to_bytes())
            rows.append(row)
    fields = (
        Field("image", "image", label="simulated chest radiograph"),
        Field("mask", "mask", (), label="where the simulated finding is"),
        Field("marker", "mask", (), label="where the simulated marker is burnt in"),
        Field("finding", "category", ("target",), levels=("none", finding), label="simulated finding"),
        Field("age", "number", ("sensitive",), unit="a", low=18, high=110),
        Field("sex", "category", ("sensitive",), levels=("female", "male")),
        Field("site", "category", ("site",), levels=SITES),
        Field("device", "category", ("sensitive",), levels=tuple(PHOTONS)),
    )
    name = f"simulated-chest-{finding}" + ("-with-shortcut" if shortcut else "")
    parameters = {"simulator": "phantom2d", "simulated": True, "patients": patients, "seed": seed, "size": size}
    parameters |= {"prevalence": prevalence, "finding": finding, "shortcut": shortcut}
    columns = {item: [row.get(item) for row in rows] for item in ("row_id", "subject", *(f.name for f in fields))}
    cohort = Cohort.of(columns, fields, subject=columns["subject"], row_id=columns["row_id"], name=name)
    return cohort.with_files(files).with_origin(Origin("simulate", parameters))
