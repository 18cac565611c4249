"""The residual risk is measured: planted identities, a re-scan of the output, gates; and the measure can fail."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from bedside.cli import app
from bedside.evidence.estimate import Evidence
from bedside.intake.dicom.source import Entry
from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.batch import deidentify_files, safe_name
from bedside.prepare.deidentify.evidence import judgements, planted_evidence
from bedside.prepare.deidentify.profile import CLEANS, RETAINS, Profile
from bedside.prepare.deidentify.pseudonyms import Pseudonyms
from bedside.prepare.deidentify.rescan import rescan

KEY = b"a key of thirty-two bytes for it"
ALL = {"place": "deid_place_all"}


@pytest.mark.parametrize("profile", [Profile(), Profile("full", RETAINS, CLEANS)], ids=["basic", "every option"])
def test_planted_identities_are_gone_and_the_rest_is_there(profile: Profile) -> None:
    evidence = planted_evidence(Applier(profile, Pseudonyms(KEY)))
    leak, right = (evidence.find(metric, at=ALL) for metric in ("deid_leak_rate", "deid_action_accuracy"))
    assert leak is not None and right is not None
    # None of 3689 is the least whose Clopper-Pearson bound is below 0.001.
    assert leak.value == 0 and leak.n_rows is not None and leak.n_rows > 3700
    assert right.value == 1 and right.n_rows is not None and right.n_rows > 10_000
    kept = evidence.find("deid_kept_share", at=ALL)
    assert kept is not None and kept.value == 1 and kept.n_rows is not None and kept.n_rows > 3000
    assert [each.verdict for each in judgements(evidence)] == ["pass", "pass"]


def test_the_measure_sees_what_an_applier_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    from bedside.prepare.deidentify.apply import _Work

    def forgetful(self: _Work, each: object, action: str, out: list[object]) -> None:
        out.append(self.data[each.start : each.end])  # type: ignore[attr-defined]  # everything is kept as it was

    monkeypatch.setattr(_Work, "_replace", forgetful)
    evidence = planted_evidence(Applier(Profile(), Pseudonyms(KEY)), patients=1)
    assert evidence.find("deid_leak_rate", at=ALL).value > 0.2  # type: ignore[union-attr, operator]
    assert [each.verdict for each in judgements(evidence)] == ["fail", "fail"]


def ct(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder / "Doe_Jane.dcm")
    return folder


def test_a_folder_from_the_command_line(tmp_path: Path) -> None:
    source = ct(tmp_path / "in")
    home = ["--home", str(tmp_path / "home")]
    (source / "notes.txt").write_text("no DICOM")
    (source / "cut.dcm").write_bytes((source / "Doe_Jane.dcm").read_bytes()[:3000])
    done = CliRunner().invoke(
        app,
        ["deidentify", str(source), "-o", str(tmp_path / "out"), *home, "--workers", "1"],
    )
    assert done.exit_code == 0, done.output
    assert "1 files of 1 patients" in done.output and "1 refused, 1 are no DICOM" in done.output
    (path,) = (tmp_path / "out" / "dicom").rglob("*.dcm")
    assert "Doe" not in str(path.relative_to(tmp_path / "out")) and b"CompressedSamples" not in path.read_bytes()
    evidence = Evidence.from_json(json.loads((tmp_path / "out" / "evidence.json").read_bytes()))
    assert evidence.find("deid_rescan_leak_rate").value == 0  # type: ignore[union-attr]
    assert len(list((tmp_path / "home" / "quarantine").glob("*.json"))) == 1
    told = (tmp_path / "out" / "report.html").read_text() + json.dumps(evidence.to_json())
    assert "1CT1" not in told and "Doe" not in told and "CompressedSamples" not in told
    again = CliRunner().invoke(app, ["deidentify", str(source), "-o", str(tmp_path / "again"), *home])
    assert again.exit_code == 0
    (same,) = (tmp_path / "again" / "dicom").rglob("*.dcm")
    assert same.read_bytes() == path.read_bytes()  # the key is the workspace's


def test_the_rescan_finds_what_was_left(tmp_path: Path) -> None:
    source = ct(tmp_path / "in") / "Doe_Jane.dcm"
    done = deidentify_files([Entry(source, source.name)], tmp_path / "out", Profile(), KEY)
    ((entry, after, _),) = done.sample
    assert not any(rescan(entry, after, Profile()))
    assert sum(rescan(entry, source, Profile())) > 5  # the old file in the new one's place


@pytest.mark.slow
def test_several_processes_do_what_one_does(tmp_path: Path) -> None:
    data = (ct(tmp_path / "in") / "Doe_Jane.dcm").read_bytes()
    uid = pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID.encode()
    for i in range(40):
        (tmp_path / "in" / f"{i}.dcm").write_bytes(data.replace(uid, uid[:-2] + f"{i + 10}".encode()))
    files = [Entry(path, path.name) for path in sorted((tmp_path / "in").iterdir())]
    seen: list[tuple[int, int]] = []
    many = deidentify_files(
        files, tmp_path / "many", Profile(), KEY, workers=2, progress=lambda done, total: seen.append((done, total))
    )
    one = deidentify_files(files, tmp_path / "one", Profile(), KEY)
    made = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.dcm")} for name in ("many", "one")]
    assert made[0] == made[1] and many.files == one.files == 41 and many.values == one.values
    assert seen == [(16, 41), (32, 41), (41, 41)]


def test_a_zip_with_hostile_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
    done = CliRunner().invoke(app, ["deidentify", str(path), "-o", str(tmp_path / "o"), "--home", str(tmp_path / "h")])
    assert done.exit_code != 0 and "leaves the folder" in str(done.exception)


def test_another_object_of_the_same_uid_is_refused_and_the_same_one_counted_once(tmp_path: Path) -> None:
    source = ct(tmp_path / "in") / "Doe_Jane.dcm"
    shutil.copy(source, source.with_name("copy.dcm"))
    data = source.read_bytes()
    source.with_name("other.dcm").write_bytes(data[:-5000] + b"\7\7" + data[-4998:])  # other pixels
    files = [Entry(path, path.name) for path in sorted(source.parent.iterdir())]
    done = deidentify_files(files, tmp_path / "out", Profile(), KEY)
    assert (done.files, done.duplicates, len(done.refused)) == (2, 1, 1)
    assert "same SOP Instance UID" in done.refused[0].why.what


def test_names_of_files_are_never_taken_from_data() -> None:
    for hostile in ("../../etc", "1.2/../3", "a\0b", "9" * 300, "..", "", "1.2.3\n"):
        name = safe_name(hostile)
        assert "/" not in name and ".." not in name and "\0" not in name and 0 < len(name) <= 64 and "\n" not in name
    assert safe_name("1.2.840.1") == "1.2.840.1"


def test_no_new_error_by_dciodvfy(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("BEDSIDE_PEERS") == "required":
            pytest.fail("dciodvfy is not installed (Debian package dicom3tools)")
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    for profile in (Profile(), Profile("full", RETAINS, CLEANS)):
        for name in ("CT_small.dcm", "MR_small.dcm", "examples_palette.dcm", "rtplan.dcm", "JPEG2000.dcm"):
            source = Path(str(get_testdata_file(name)))
            out = tmp_path / profile.dates
            done = deidentify_files([Entry(source, name)], out / name, profile, KEY)
            ((_, after, _),) = done.sample
            assert errors(after) <= errors(source), name


def errors(path: Path) -> set[str]:
    """The error lines of dciodvfy, which says `Error - …` for each."""
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return {line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")}
