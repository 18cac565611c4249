"""Arrays: files decoded exactly, operations replayed exactly, hostile bytes refused by name."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bedside.cohort import Cohort, Field, MemoryFiles
from bedside.errors import DataError
from bedside.intake.pixels import DICOM, NPY, decode, describe, media_of
from bedside.prepare.arrays import Images, encode_png, grey, inner_size, load, replay, resized

RAMP = (np.arange(12, dtype=np.uint8) * 20).reshape(3, 4)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def cohort_of(*files: bytes | None, window: tuple[float, float] | None = None) -> Cohort:
    kept = MemoryFiles()
    digests = []
    for data in files:
        if data is None:
            digests.append(None)
            continue
        kept.put(data)
        digests.append(kept.put(describe(data, window)[0].to_bytes()))
    return Cohort.of({"image": digests}, [Field("image", "image")]).with_files(kept)


def dicom(array: np.ndarray[Any, Any], **tags: Any) -> bytes:
    """A secondary capture object of 16-bit grey pixels."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Rows, made.Columns, made.SamplesPerPixel = *array.shape, 1
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = array.astype("<u2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()


def test_whole_numbers_become_shares_of_their_range() -> None:
    for data in (encode_png(RAMP), npy(RAMP), file_of(Image.fromarray(RAMP), "TIFF")):
        (array,) = Images(cohort_of(data))
        assert array.shape == (3, 4, 1) and array.dtype == np.float32
        np.testing.assert_array_equal(array[:, :, 0], RAMP.astype(np.float32) / 255)
    wide = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    for data in (npy(wide), file_of(Image.fromarray(wide))):  # a 16-bit PNG
        np.testing.assert_allclose(Images(cohort_of(data))[0][:, :, 0], RAMP / 255, atol=1e-6)
    one_bit = Image.fromarray(RAMP > 100)
    np.testing.assert_array_equal(Images(cohort_of(file_of(one_bit)))[0][:, :, 0], (RAMP > 100).astype(np.float32))


def test_colour_stays_colour_and_grey_stored_as_colour_is_grey() -> None:
    colour = np.stack([RAMP, RAMP[::-1], RAMP * 0], axis=2)
    images = Images(cohort_of(encode_png(colour), encode_png(np.stack([RAMP] * 3, axis=2))))
    assert images.channels == 3
    assert [images.shape(0), images.shape(1)] == [(3, 4, 3), (3, 4, 1)]
    np.testing.assert_allclose(images[1][:, :, 0], RAMP / 255, atol=1e-6)
    as_grey = Images(images_cohort := cohort_of(encode_png(colour)), channels=1)
    # ITU-R BT.601: Y = 0.299 R + 0.587 G + 0.114 B
    np.testing.assert_allclose(as_grey[0][:, :, 0], (0.299 * RAMP + 0.587 * RAMP[::-1]) / 255, atol=1e-6)
    assert Images(images_cohort, channels=3)[0].shape == Images(cohort_of(encode_png(RAMP)), channels=3)[0].shape


def test_transparency_palette_and_orientation() -> None:
    rgba = Image.fromarray(np.dstack([RAMP, RAMP, RAMP, RAMP * 0]), "RGBA")
    np.testing.assert_allclose(Images(cohort_of(file_of(rgba)))[0][:, :, 0], RAMP / 255, atol=1e-6)
    palette = Image.fromarray(RAMP).convert("P")
    np.testing.assert_allclose(Images(cohort_of(file_of(palette)))[0][:, :, 0], RAMP / 255, atol=1e-6)
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise
    data = file_of(Image.fromarray(RAMP), "PNG", exif=turned)
    np.testing.assert_allclose(Images(cohort_of(data))[0][:, :, 0], np.rot90(RAMP, -1) / 255, atol=1e-6)


def test_dicom_is_rescaled_windowed_and_inverted() -> None:
    stored = np.array([[0, 1000], [1024, 2048]], dtype=np.uint16)
    plain = Images(cohort_of(dicom(stored)))[0][:, :, 0]
    np.testing.assert_allclose(plain, stored / 2048, atol=1e-6)
    # PS3.3 C.11.2.1.2: y = (x − (c − 0.5)) / (w − 1) + 0.5, on values after the modality rescale
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}
    windowed = Images(cohort_of(dicom(stored, **tags)))[0][:, :, 0]
    expected = np.clip((stored.astype(float) - 1024 - 39.5) / 399 + 0.5, 0, 1)
    np.testing.assert_allclose(windowed, expected, atol=1e-6)
    inverted = Images(cohort_of(dicom(stored, PhotometricInterpretation="MONOCHROME1", **tags)))[0][:, :, 0]
    np.testing.assert_allclose(inverted, 1 - expected, atol=1e-6)


def test_a_window_is_in_stored_values_and_floats_need_one() -> None:
    twelve_bit = (RAMP.astype(np.uint16) * 16).astype(np.uint16)
    array = Images(cohort_of(file_of(Image.fromarray(twelve_bit)), window=(0, 4080)))[0]
    np.testing.assert_allclose(array[:, :, 0], RAMP / 255, atol=1e-5)
    floats = npy(RAMP.astype(np.float32) - 100)
    np.testing.assert_allclose(Images(cohort_of(floats, window=(-100, 155)))[0][:, :, 0], RAMP / 255, atol=1e-6)
    with pytest.raises(DataError, match="window"):
        describe(floats)


def test_resizing_stretches_or_pads() -> None:
    wide = np.ones((10, 40, 1), dtype=np.float32)
    assert resized(wide, 20, 20).min() == 1
    padded = resized(wide, 20, 20, "pad")
    assert inner_size(10, 40, 20, 20) == (5, 20)
    assert padded.shape == (20, 20, 1)
    np.testing.assert_array_equal(np.flatnonzero(padded[:, 0, 0]), np.arange(7, 12))
    # with anti-aliasing the mean is kept: a fine chequered board becomes even grey
    board = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)[:, :, None]
    np.testing.assert_allclose(resized(board, 8, 8), 0.5, atol=0.02)


def test_a_mirrored_image_gives_the_mirrored_array() -> None:
    rng = np.random.default_rng(1)
    image = rng.random((30, 50, 1)).astype(np.float32)
    for fit in ("stretch", "pad"):
        straight = resized(image, 16, 16, fit)
        np.testing.assert_allclose(resized(image[:, ::-1], 16, 16, fit), straight[:, ::-1], atol=1e-6)


def test_ops_are_replayed_in_order_and_unknown_ones_refused() -> None:
    array = decode(encode_png(RAMP), "image/png")
    ops = [{"op": "window", "low": 0.0, "high": 0.5}, {"op": "invert"}]
    np.testing.assert_allclose(replay(array, ops), 1 - np.clip(array * 2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(replay(array, ops[::-1]), np.clip((1 - array) * 2, 0, 1), atol=1e-6)
    with pytest.raises(DataError, match="'blur'"):
        replay(array, [{"op": "blur"}])
    assert grey(array) is array


def test_a_batch_has_one_shape() -> None:
    images = Images(cohort_of(encode_png(RAMP), encode_png(RAMP.T), encode_png(RAMP[::-1])), keep=1 << 20)
    assert images.batch([0, 2]).shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(images.batch([2])[0], images[2])
    with pytest.raises(DataError, match="resize"):
        images.batch([0, 1])


def test_a_row_without_an_image_is_named() -> None:
    with pytest.raises(DataError, match="row 2 has no image"):
        Images(cohort_of(encode_png(RAMP), None))[1]


def test_a_manifest_that_lies_about_the_shape_is_refused() -> None:
    data = encode_png(RAMP)
    files = MemoryFiles()
    files.put(data)
    made = describe(data)[0]
    np.testing.assert_array_equal(load(made, files)[:, :, 0], RAMP.astype(np.float32) / 255)
    with pytest.raises(DataError, match="shape"):
        load(made.with_op({"op": "invert"}, (4, 3, 1)), files)


PNG = encode_png(RAMP)
JPEG = file_of(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)), "JPEG")
HEADER = PNG[12:16] + (30_000).to_bytes(4, "big") * 2 + PNG[24:29]  # says 30 000 × 30 000
HUGE = PNG[:12] + HEADER + zlib.crc32(HEADER).to_bytes(4, "big") + PNG[33:]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"hello, world", "no image"),
        (PNG[:40], "damaged"),
        (JPEG[:600], "damaged"),
        (JPEG[: len(JPEG) // 2], "damaged"),
        (HUGE, "pixels"),
        (npy(RAMP)[:-3], "truncated"),
        (npy(np.zeros((2, 2, 2, 2))), "no image"),
        (npy(np.zeros((4,), dtype=np.uint8)), "no image"),
        (npy(np.full((2, 2), np.nan)), "finite"),
        (dicom(RAMP.astype(np.uint16), PixelData=None), "no pixels"),
        (dicom(RAMP.astype(np.uint16), NumberOfFrames=2), "frames"),
        (dicom(RAMP.astype(np.uint16), Rows=65535, Columns=65535), "pixels"),
        (dicom(RAMP.astype(np.uint16), Rows=300), "damaged"),
        (dicom(RAMP.astype(np.uint16))[:140], "no pixels|damaged"),
        (dicom(RAMP.astype(np.uint16), PhotometricInterpretation="PALETTE COLOR"), "PALETTE|damaged"),
        (file_of(Image.fromarray(RAMP), "TIFF", save_all=True, append_images=[Image.fromarray(RAMP)]), "2 images"),
    ],
)
def test_what_is_no_single_image_is_refused_in_words(data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        describe(data)


def test_bytes_broken_anywhere_are_read_or_refused_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    good = [PNG, JPEG, npy(RAMP), dicom(RAMP.astype(np.uint16)), file_of(Image.fromarray(RAMP), "TIFF")]
    for _ in range(200):
        data = bytearray(good[rng.integers(len(good))])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            describe(bytes(data))
        except DataError as error:
            assert error.what and error.way_out


def test_media_types_are_told_by_content() -> None:
    assert [media_of(each) for each in (PNG, JPEG, npy(RAMP), dicom(RAMP.astype(np.uint16)))] == [
        "image/png",
        "image/jpeg",
        NPY,
        DICOM,
    ]
