"""Decoders are C libraries: a file that crashes one costs a process of its own, and is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.intake.dicom.test_reader import mutated

from bedside.errors import DataError
from bedside.intake.dicom import Dicom
from bedside.intake.dicom.probe import Probe, shared
from bedside.intake.dicom.quiet import quiet
from bedside.intake.pixels import describe

JPEG = Path(str(get_testdata_file("JPEG2000.dcm", download=False)))


def test_a_crash_is_an_error_and_the_next_file_is_read() -> None:
    data = JPEG.read_bytes()
    with Probe() as probe:
        assert probe.check(data) == (1024, 256)
        assert probe._child is not None
        probe._child.kill()
        with pytest.raises(DataError, match="crash their decoder"):
            probe.check(data)
        assert probe.check(data) == (1024, 256)
        with pytest.raises(DataError, match="cannot be decoded"):
            probe.check(data[:2000])


def test_a_decoder_that_takes_too_long_is_ended() -> None:
    with Probe(seconds=0.0) as probe, pytest.raises(DataError, match="take it too long"):
        probe.check(JPEG.read_bytes())


def test_a_single_image_is_probed_before_it_is_decoded_here() -> None:
    data = JPEG.read_bytes()
    made, _ = describe(data)
    assert made.shape[:2] == (1024, 256)
    child = shared()._child
    assert child is not None and child.poll() is None
    child.kill()  # as a hostile file would
    with pytest.raises(DataError, match="crash their decoder"):
        describe(data)
    assert describe(data)[0] == made


def test_cut_frames_are_refused_when_they_come_in(tmp_path: Path) -> None:
    with quiet():
        dataset = pydicom.dcmread(JPEG)
        dataset.PixelData = dataset.PixelData[:4000] + b"\xfe\xff\xdd\xe0\0\0\0\0"
        dataset.Rows = 512
        stream = io.BytesIO()
        dataset.save_as(stream)
    (tmp_path / "a.dcm").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"a\.dcm: the pixels"):
        Dicom().read(tmp_path)


@pytest.mark.slow
def test_mutated_compressed_pixels_are_decoded_or_refused(shared_data: Path) -> None:
    seeds = []
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        with quiet():
            try:
                syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
            except (AttributeError, ValueError, pydicom.errors.InvalidDicomError):
                continue
        if syntax.is_compressed and path.stat().st_size < 100_000:
            seeds.append(path.read_bytes())
    rng, refused = np.random.default_rng(1), 0
    with Probe() as probe:
        for _ in range(200):
            data = bytearray(mutated(rng, seeds))
            for at in rng.integers(len(data), size=3) if data else ():
                data[at] ^= 1 << int(rng.integers(8))
            try:
                probe.check(bytes(data))
            except DataError:
                refused += 1
    assert 0 < refused < 200
