"""The reader `dicom`: folders, ZIPs, DICOMDIRs; volumes, images, clips; the right series; hostile input."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from tests.intake.dicom.conftest import one_slice
from typer.testing import CliRunner

from bedside.cli import app
from bedside.cohort import plugins
from bedside.cohort.manifest import manifest
from bedside.cohort.store import Store
from bedside.errors import BedsideError, DataError, IntegrityError
from bedside.intake.dicom import Dicom, decode_volume
from bedside.intake.dicom.choose import choose, rule_of
from bedside.intake.dicom.header import read_header
from bedside.intake.dicom.source import Entry, entries, member_bytes


def test_a_series_is_a_row_with_a_volume(series: Path) -> None:
    cohort = plugins.build("readers", "dicom").read(series)
    assert len(cohort) == 1 and cohort["row_id"].to_list() == ["1.2.3.4"] and cohort["subject"].to_list() == ["P1"]
    row = cohort.frame.row(0, named=True)
    assert (row["modality"], row["slices"], row["orientation"]) == ("CT", 6, "axial")
    assert row["spacing_between_slices"] == pytest.approx(2.5, abs=1e-5)
    found = manifest(cohort.files, row["volume"])
    assert found.shape == (6, 5, 7) and len(found.items) == 6
    volume = decode_volume(found, cohort.files)
    np.testing.assert_array_equal(volume[:, 0, 0], np.array([2, 4, 1, 6, 5, 3]) * 200 - 1000)  # by place, in HU


def dated(path: Path) -> Dataset:
    """The object of a file, with what a DICOMDIR asks of its records."""
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "A^B", "20240101", "120000", "1"
    dataset.AccessionNumber, dataset.SeriesNumber, dataset.StudyDescription = "1", 1, "x"
    return dataset


def test_a_zip_and_a_dicomdir_give_the_same_cohort(series: Path, tmp_path: Path) -> None:
    whole = Dicom().read(series)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in series.iterdir():
            archive.write(path, f"deep/er/{path.name}")
    packed = Dicom().read(tmp_path / "a.zip")
    assert packed.digest == whole.digest
    found = manifest(packed.files, packed["volume"][0])  # type: ignore[arg-type]
    assert decode_volume(found, packed.files).shape == (6, 5, 7)  # type: ignore[arg-type]
    files = FileSet()
    for path in sorted(series.iterdir()):
        files.add(dated(path))
    files.write(tmp_path / "media")
    listed = Dicom().read(tmp_path / "media" / "DICOMDIR")
    assert listed["slices"].to_list() == [6] and listed["row_id"].to_list() == whole["row_id"].to_list()


def enhanced() -> bytes:
    """Three frames of an enhanced object, with their places and rescale in functional groups, out of order."""

    def one(sequence: str, **values: object) -> Dataset:
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        outer = Dataset()
        setattr(outer, sequence, [item])
        return outer

    shared = one("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25])
    shared.update(one("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    shared.update(one("PixelValueTransformationSequence", RescaleSlope="3", RescaleIntercept="7"))
    frames = [one("PlanePositionSequence", ImagePositionPatient=[0, 0, z]) for z in (4, 0, 2)]
    pixels = np.repeat(np.arange(3, dtype="<i2"), 35)
    absent = dict.fromkeys(("RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImageOrientationPatient"))
    return one_slice(
        **absent,
        ImagePositionPatient=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        NumberOfFrames=3,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        PixelData=pixels.tobytes(),
    )


def test_frames_and_single_images(shared_data: Path, tmp_path: Path) -> None:
    for name in ("pydicom-data/emri_small.dcm", "pydicom/CT_small.dcm", "pydicom/SC_rgb_rle_2frame.dcm"):
        (tmp_path / Path(name).name).write_bytes((shared_data / "dicom" / name).read_bytes())
    (tmp_path / "enhanced.dcm").write_bytes(enhanced())
    cohort = Dicom().read(tmp_path)
    kinds = {kind: cohort[kind].drop_nulls().to_list() for kind in ("volume", "image", "video")}
    assert [len(each) for each in kinds.values()] == [1, 1, 2]
    found = manifest(cohort.files, kinds["volume"][0])  # type: ignore[arg-type]
    assert found.geometry is not None and found.geometry["frames"] == [1, 2, 0]
    volume = decode_volume(found, cohort.files)  # type: ignore[arg-type]
    assert volume[:, 0, 0].tolist() == [10, 13, 7] and found.geometry["spacing"] == [0.25, 0.5, 2]
    shapes = {manifest(cohort.files, each).shape for each in kinds["video"]}  # type: ignore[arg-type]
    assert shapes == {(2, 100, 100, 3), (10, 64, 64, 1)}  # the real enhanced MR says nothing of its frames' places


def test_all_of_the_corpus_goes_in_or_is_refused_with_its_reason(shared_data: Path) -> None:
    cohort, refused = Dicom(unreadable="quarantine").read_setting_aside(shared_data / "dicom")
    told = cohort.lineage[0].parameters["source"]
    items = sum(
        len(manifest(cohort.files, d).items) for k in ("volume", "image", "video") for d in cohort[k].drop_nulls()
    )  # type: ignore[arg-type]
    files = sum(1 for path in (shared_data / "dicom").rglob("*") if path.is_file())
    assert items + len(refused) + told["copies"] + told["passed_over"] == files
    assert all(each.why.what and each.why.way_out for each in refused)
    assert told["passed_over"] == sum(
        1 for p in (shared_data / "dicom").rglob("*") if p.is_file() and p.suffix != ".dcm"
    )


def test_refused_files_stop_unless_they_may_be_left_out(series: Path) -> None:
    (series / "9.dcm").write_bytes(one_slice(99, 9)[:-10])
    with pytest.raises(DataError, match=r"9\.dcm: the pixels are cut: 60 of 70 bytes"):
        Dicom().read(series)
    cohort, refused = Dicom(unreadable="quarantine").read_setting_aside(series)
    assert len(cohort) == 1 and [each.name for each in refused] == ["9.dcm"]


def test_a_gap_leaves_the_whole_series_out(series: Path) -> None:
    (series / "3.dcm").unlink()
    (series / "other.dcm").write_bytes(one_slice(0, 77, SeriesInstanceUID="1.2.3.5"))
    cohort, refused = Dicom(unreadable="quarantine").read_setting_aside(series)
    assert cohort["image"].null_count() == 0 and len(refused) == 5
    assert all("1 slices are missing" in each.why.what for each in refused)


def test_a_rule_picks_the_right_series_of_each_study() -> None:
    base = {"volume": "v", "modality": "CT", "orientation": "axial", "study": "s1", "slices": 80.0, "image_type": ""}
    rows = [
        {**base, "series": "1", "thickness": 5.0, "description": "Thorax 5.0"},
        {**base, "series": "2", "thickness": 1.0, "description": "Thorax 1.0"},
        {**base, "series": "3", "thickness": 0.5, "description": "Thorax MIP"},
        {**base, "series": "4", "thickness": 1.0, "description": "Thorax 1.0", "orientation": "coronal"},
        {**base, "series": "5", "thickness": 1.0, "description": "Thorax 1.0", "study": "s2"},
        {**base, "series": "6", "thickness": None, "description": "Thorax", "study": "s3"},
    ]
    assert [rows[i]["series"] for i in choose(rows, rule_of("thin_chest_ct"))] == ["2", "5"]
    assert [rows[i]["series"] for i in choose(rows, {"kernel": ["B30f"]})] == []
    with pytest.raises(DataError, match="no rule for series is called"):
        rule_of("thick")
    with pytest.raises(DataError, match="cannot say"):
        rule_of({"modalities": ["CT"]})


def test_the_command_line_takes_a_folder_in(series: Path, tmp_path: Path) -> None:
    (series / "9.dcm").write_bytes(one_slice(99, 9)[:-10])
    out, home = tmp_path / "cohort", tmp_path / "home"
    done = CliRunner().invoke(app, ["intake", str(series), "-o", str(out), "--home", str(home)])
    assert done.exit_code == 0, done.output
    assert "1 × the pixels are cut" in done.output and "P1" not in done.output
    store = Store(out / "store")
    (digest,) = store.cohorts()
    kept = store.get_cohort(digest)
    found = manifest(store, kept["volume"][0])
    assert decode_volume(found, store).shape == (6, 5, 7)
    assert len(list((home / "quarantine").glob("*.json"))) == 1 and (out / "report.html").is_file()


def test_a_file_changed_after_reading_is_told(series: Path) -> None:
    cohort = Dicom().read(series)
    found = manifest(cohort.files, cohort["volume"][0])  # type: ignore[arg-type]
    for path in series.iterdir():
        path.write_bytes(one_slice(1, 5))
    with pytest.raises(IntegrityError, match="was changed after it was read"):
        decode_volume(found, cohort.files)  # type: ignore[arg-type]


# -- hostile input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../out.dcm", "/etc/passwd", "a/../../b.dcm", "..\\b.dcm", "C:/b.dcm"])
def test_zips_with_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, one_slice())
    with pytest.raises(DataError, match="leaves the folder"):
        Dicom().read(tmp_path / "a.zip")


def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(10_000_000))
    data = path.read_bytes()
    at = data.rindex(struct.pack("<I", 10_000_000))
    path.write_bytes(data[:at] + struct.pack("<I", 0xFFFFFFF0) + data[at + 4 :])  # the directory lies: 4 GiB
    with pytest.raises(DataError, match="claims to unpack"):
        Entry(path, "a.dcm", "a.dcm").read()
    path.write_bytes(data[:at] + struct.pack("<I", 1000) + data[at + 4 :])  # and the other way
    with pytest.raises(DataError):
        Entry(path, "a.dcm", "a.dcm").read()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.dcm", bytes(50_000_000))
    with zipfile.ZipFile(path) as archive, pytest.raises(DataError, match="claims to unpack"):
        member_bytes(archive, archive.infolist()[0])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2147483647}, "claims 65535 × 65535 pixels × 2147483647"),
        ({"Rows": 65535}, "the pixels are cut"),
        ({"Rows": 0}, "holds nothing"),
        ({"NumberOfFrames": -3}, "holds nothing"),
        ({"PixelData": None}, "has no pixels"),
        ({"SeriesInstanceUID": None}, "no SeriesInstanceUID"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_allocated(values: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_header(one_slice(**values), "a.dcm")


def test_identifiers_that_are_paths_or_nul_or_long_stay_values(tmp_path: Path) -> None:
    data = one_slice(PatientID="../../../../tmp/x", SeriesInstanceUID="1.2")
    at = data.index(struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 6))
    hostile = data[:at] + struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 6) + b"../../" + data[at + 14 :]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(hostile)
    long = one_slice(1, 2, PatientID="x" * 60_000, SeriesInstanceUID="1.2.9", PatientName="a\0b" * 9000)
    (tmp_path / "in" / "b.dcm").write_bytes(long)
    cohort = Dicom().read(tmp_path / "in")
    assert len(cohort) == 2 and "../../../../tmp/x" in cohort["subject"].to_list()
    Store(tmp_path / "store").put_cohort(cohort)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "store"]


def test_links_that_leave_a_dicomdir_are_refused(series: Path, tmp_path: Path) -> None:
    files = FileSet()
    for path in sorted(series.iterdir()):
        files.add(dated(path))
    files.write(tmp_path / "media")
    index = tmp_path / "media" / "DICOMDIR"
    data = index.read_bytes()
    parts = next(each for each in files).FileID.split("/")
    joined = "\\".join(parts).encode()
    assert joined in data
    index.write_bytes(data.replace(joined, b"..\\..".ljust(len(joined), b"X")))
    with pytest.raises(DataError, match="leaves the folder"):
        entries(index)


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """A real file with bytes flipped, lengths overwritten, parts cut, doubled or swapped."""
    data = bytearray(seeds[int(rng.integers(len(seeds)))])
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(len(data))) if rng.random() < 0.3 else int(rng.integers(min(len(data), 2000)))
        kind = int(rng.integers(5))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF])))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 200))]
        elif kind == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 200))]
        else:
            data[at : at + 2] = rng.bytes(2)
        if not data:
            return b""
    return bytes(data)


def fuzz(count: int, seed: int, shared_data: Path) -> None:
    import resource
    import time

    from bedside.prepare.deidentify import Applier, Profile, Pseudonyms, deidentify

    paths = sorted((shared_data / "dicom").rglob("*.dcm"))
    seeds = [path.read_bytes() for path in paths if path.stat().st_size < 40_000]
    rng = np.random.default_rng(seed)
    applier = Applier(Profile("shift"), Pseudonyms(b"0123456789abcdef"))
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        data = mutated(rng, seeds)
        began = time.process_time()
        for work in (lambda data=data: deidentify(data, applier), lambda data=data: read_header(data, "a.dcm")):
            try:
                work()
            except BedsideError as error:
                assert error.what and error.way_out
        slowest = max(slowest, time.process_time() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert slowest < 10 and grown < 512, f"slowest {slowest:.1f} s, memory grew by {grown:.0f} MiB"


def test_a_hundred_mutated_files_are_read_or_refused(shared_data: Path) -> None:
    fuzz(100, 1, shared_data)


@pytest.mark.slow
@pytest.mark.soak
def test_many_mutated_files_are_read_or_refused(shared_data: Path) -> None:
    fuzz(100_000 if os.environ.get("BEDSIDE_SOAK") == "1" else 1000, 2, shared_data)
