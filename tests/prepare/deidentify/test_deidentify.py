"""De-identification of DICOM objects: what goes, what stays byte for byte, what is mapped, and odd files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from bedside.errors import DataError
from bedside.intake.dicom.quiet import quiet
from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.document import _normalised, deidentify, inflated
from bedside.prepare.deidentify.elements import Encoding, Odd, Walker
from bedside.prepare.deidentify.profile import Profile
from bedside.prepare.deidentify.pseudonyms import Pseudonyms
from bedside.prepare.deidentify.values import cleaned, pattern_of, shifted

KEY = b"a key of thirty-two bytes for it"
BASIC = Applier(Profile(), Pseudonyms(KEY))
SHIFT = Applier(Profile("shift"), Pseudonyms(KEY))


def made(**values: Any) -> Dataset:
    """A small CT of Maximilian Mustermann."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.3.6.1.4.1.9999.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.3.6.1.4.1.9999.2", "1.3.6.1.4.1.9999.3"
    dataset.PatientName, dataset.PatientID = "Mustermann^Maximilian", "MRN-774411"
    dataset.PatientBirthDate, dataset.StudyDate, dataset.Modality = "19510409", "20240229", "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.add_new(0x7FE00010, "OW", np.arange(16, dtype="<u2").tobytes())
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def saved(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    stream = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(stream, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return stream.getvalue()


def new(data: bytes, applier: Applier = BASIC) -> Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify(data, applier).to_bytes()))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_identity_goes_and_pixels_stay(syntax: str) -> None:
    before = made()
    data = b"Mustermann".ljust(128) + saved(before, syntax)[128:]
    out = deidentify(data, BASIC).to_bytes()
    after = pydicom.dcmread(io.BytesIO(out))
    assert b"Mustermann" not in out and b"774411" not in out and b"9999" not in out and out[:128] == bytes(128)
    assert after.PixelData == before.PixelData and after.PatientIdentityRemoved == "YES"
    assert after.PatientID == BASIC.pseudonyms.patient(b"id:MRN-774411") and after.PatientBirthDate == ""
    assert [item.CodeValue for item in after.DeidentificationMethodCodeSequence] == ["113100"]
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID


def test_one_patient_is_one_pseudonym_and_keeps_the_intervals_between_dates() -> None:
    first, second = new(saved(made()), SHIFT), new(saved(made(StudyDate="20240307", Modality="MR")), SHIFT)
    assert first.PatientID == second.PatientID and first.StudyInstanceUID == second.StudyInstanceUID
    days = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (first.StudyDate, second.StudyDate)]
    assert days[1] - days[0] == np.timedelta64(7, "D") and first.StudyDate != "20240229"
    other = Applier(Profile("shift"), Pseudonyms(b"another key of thirty-two bytes.."))
    assert new(saved(made()), other).PatientID != first.PatientID


def test_what_is_nested_and_private_is_found() -> None:
    dataset = made()
    item, deep = Dataset(), Dataset()
    deep.PatientName, deep.ReferencedSOPInstanceUID = "Mustermann^M", "1.3.6.1.4.1.9999.1"
    deep.private_block(0x0011, "MAKER", create=True).add_new(1, "LO", "Mustermann")
    item.ReferencedSeriesSequence = [deep]
    dataset.ReferencedSeriesSequence = [item]
    dataset.private_block(0x0019, "MAKER", create=True).add_new(1, "SQ", [deep])
    dataset.LUTExplanation = "made for MUSTERMANN"
    data = saved(dataset)
    out = deidentify(data, BASIC).to_bytes()
    assert b"ustermann" not in out and b"MUSTERMANN" not in out and b"MAKER" not in out
    after = pydicom.dcmread(io.BytesIO(out))
    inner = after.ReferencedSeriesSequence[0].ReferencedSeriesSequence[0]
    assert inner.ReferencedSOPInstanceUID == after.SOPInstanceUID  # references still hold


def test_safe_private_attributes_are_kept_on_request_if_they_are_numbers() -> None:
    dataset = made()
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "CS", "MUSTERMANN")
    block.add_new(0x08, "LO", "IMAGE NUM 4")
    keeping = Applier(Profile(retain=("safe_private",)), Pseudonyms(KEY))
    after = new(saved(dataset), keeping)
    assert after.private_block(0x0019, "SIEMENS MR HEADER")[0x0C].value == 1000
    assert [each.tag.element for each in after if each.tag.group == 0x0019] == [0x0010, 0x100C]
    assert list(after.keys()) == sorted(after.keys())


def un_sequence(data: bytes) -> bytes:
    """ReferencedSeriesSequence written as UN of defined length, the trap of a careless gateway."""
    at = data.index(struct.pack("<HH2s", 0x0008, 0x1115, b"SQ"))
    return data[: at + 4] + b"UN" + data[at + 6 :]


def with_nested_name() -> Dataset:
    item = Dataset()
    item.PatientName = "Mustermann^M"
    return made(ReferencedSeriesSequence=[item])


def misdeclared() -> bytes:
    """The same, with the file meta's group length put right."""
    body = saved(with_nested_name(), ImplicitVRLittleEndian)
    explicit = saved(made())
    start = body.index(struct.pack("<HHI", 0x0008, 0x0016, 26))
    stop = explicit.index(struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 26))
    return explicit[:stop] + body[start:]


def without_prefix() -> bytes:
    data = saved(with_nested_name())
    return data[data.index(struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 26)) :]


@pytest.mark.parametrize("odd", [lambda: un_sequence(saved(with_nested_name())), misdeclared, without_prefix])
def test_odd_files_go_the_slow_way_and_leak_nothing(odd: Callable[[], bytes]) -> None:
    data = odd()
    assert b"Mustermann" in data
    found = deidentify(data, BASIC)
    assert found.slow and b"Mustermann" not in found.to_bytes()
    assert pydicom.dcmread(io.BytesIO(found.to_bytes())).PixelData == made().PixelData


def test_big_endian_objects() -> None:
    data = Path(str(get_testdata_file("MR_small_bigendian.dcm"))).read_bytes()
    before, after = pydicom.dcmread(io.BytesIO(data)), new(data)
    assert after.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert after.PixelData == before.PixelData and after.Rows == before.Rows
    assert after.PatientName != before.PatientName


def test_the_slow_and_the_fast_path_make_the_same_data_set(shared_data: Path) -> None:
    compared = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        data = path.read_bytes()
        if len(data) > 300_000:
            continue
        try:
            fast = deidentify(data, SHIFT)
        except DataError:
            continue
        if fast.slow:
            continue
        body, encoding, _ = _normalised(memoryview(data))
        slow = SHIFT.apply(body, Walker(body, encoding).walk(), encoding, strict=False)
        left = pydicom.dcmread(io.BytesIO(fast.to_bytes()))
        raw = io.BytesIO(b"".join(slow.parts))
        right = pydicom.dcmread(raw, force=True) if not encoding.big else None
        if right is None:
            continue
        assert list(left.keys()) == list(right.keys()), path.name
        for tag in left.keys():  # noqa: SIM118  # iterating a Dataset gives elements
            if str(left[tag].VR) != "SQ":
                assert left[tag].value == right[tag].value or tag == 0x7FE00010, (path.name, tag)
        compared += 1
    assert compared > 80


def test_files_of_the_corpus_keep_nothing_that_names_the_patient(shared_data: Path) -> None:
    done = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        try:
            out = deidentify(path.read_bytes(), BASIC)
        except DataError as error:
            assert error.way_out, path.name
            continue
        with quiet():
            before = pydicom.dcmread(path, force=True)
        after = pydicom.dcmread(io.BytesIO(out.to_bytes()))
        assert not [each for each in after.iterall() if each.tag.is_private]
        if before.get("PatientID"):
            assert after.PatientID == out.pseudonym != before.PatientID
        assert after.get("PixelData") == before.get("PixelData") or out.slow, path.name
        done += 1
    assert done == 136


def test_dates_and_descriptions() -> None:
    assert shifted(b"20240301", "DA", 1) == b"20240229"
    assert shifted(b"20240301\\19991231", "DA", 365) == b"20230302\\19981231"
    assert shifted(b"20240301120000.5+0100 ", "DT", 1) == b"20240229120000.5+0100"
    assert shifted(b"202403", "DT", 31) == b"202401"
    assert shifted(b"2024", "DT", 1) == b"2023"
    assert shifted(b"20240230", "DA", 1) == shifted(b"Smith", "DA", 1) == b""
    own = pattern_of([b"Mustermann", b"MRN-774411", b"Max"])
    for text, expected in (
        (b"T2 FLAIR AX", b"T2 FLAIR AX"),
        (b"Head mustermann T1", b"Head T1"),
        (b"seen by Dr. Who on 2024-02-29 ok", b"seen by on ok"),
        (b"patient Anna Maria Lind, knee", b"knee"),
        (b"call +44 20 7946 0018 a.b@c.org", b"call"),
        (b"no 774411223 chest", b"no chest"),
        (b"visit 12 March 2020", b"visit"),
        ("Müller Kopf".encode("latin-1"), b""),
    ):
        assert cleaned(text, own) == expected


def test_a_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    from bedside.errors import BedsideError
    from bedside.prepare.deidentify.pseudonyms import KEY_FILE, load_or_create

    key = load_or_create(tmp_path / "keys")
    assert len(key) == 32 and load_or_create(tmp_path / "keys") == key
    file = tmp_path / "keys" / KEY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(BedsideError, match="can be read by others"):
        load_or_create(tmp_path / "keys")


def test_hostile_lengths_nests_and_bombs_are_refused() -> None:
    data = saved(made())
    with pytest.raises(DataError, match="reaches past the end"):
        deidentify(data[:-5], BASIC)
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    lying = data[: at + 6] + b"\xff\xff" + data[at + 8 :]
    with pytest.raises(DataError, match="reaches past the end"):
        deidentify(lying, BASIC)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(50_000_000)) + bomb.flush()
    with pytest.raises(DataError, match="unpacks to more than"):
        inflated(packed, most=1_000_000)
    nest = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF)
    deep = data[: data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))]
    deep += struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + nest * 5000
    with pytest.raises(DataError, match="nested deeper"):
        deidentify(deep, BASIC)
    with pytest.raises(DataError):
        deidentify(b"", BASIC)
    with pytest.raises(Odd):
        Walker(memoryview(b"\x08\0\x05\0??\x02\0ab"), Encoding()).walk()


def test_an_error_never_says_a_value() -> None:
    data = saved(made()).replace(b"MRN-774411", b"MRN-77\xff\xfe11")
    for cut in range(200, len(data), 97):
        try:
            deidentify(data[:cut], BASIC)
        except DataError as error:
            assert "Muster" not in str(error) and "MRN" not in str(error)
