"""Files of a cohort: found by digest wherever they lie, carried into the store, forgotten with their subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bedside.cohort import Cohort, Field, FolderFiles, Manifest, MemoryFiles, Store, forget, sha256_hex
from bedside.cohort.manifest import manifests, objects_of, with_manifests
from bedside.errors import DataError, IntegrityError


def manifest_of(data: bytes) -> Manifest:
    return Manifest("image", (sha256_hex(data),), "image/png", (2, 2, 1))


def scans(contents: dict[str, bytes | None]) -> Cohort:
    """One row a subject, whose image has these bytes."""
    files = MemoryFiles()
    digests = []
    for data in contents.values():
        if data is not None:
            files.put(data)
        digests.append(None if data is None else files.put(manifest_of(data).to_bytes()))
    fields = [Field("image", "image"), Field("label", "category", roles=("target",))]
    columns = {"image": digests, "label": ["a"] * len(digests)}
    return Cohort.of(columns, fields, subject=list(contents)).with_files(files)


def test_a_manifest_is_canonical_json_and_reads_back() -> None:
    made = manifest_of(b"x").with_op({"op": "resize", "width": 8, "height": 4, "fit": "pad"}, (4, 8, 1))
    assert Manifest.from_bytes(made.to_bytes()) == made
    assert made.digest == sha256_hex(made.to_bytes())
    # format 1 as it was first written: a stored manifest must always read
    frozen = b'{"format":1,"items":["' + b"0" * 64 + b'"],"kind":"image","media":"image/png","ops":[],"shape":[2,3,1]}'
    assert Manifest.from_bytes(frozen) == Manifest("image", ("0" * 64,), "image/png", (2, 3, 1))
    assert Manifest.from_bytes(frozen).to_bytes() == frozen


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"[]", b'{"format": 1}', b'{"format": 2, "kind": "image"}', b"7"])
def test_other_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(DataError, match="manifest"):
        Manifest.from_bytes(data)


def test_a_folders_file_that_changed_after_it_was_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    files = FolderFiles({sha256_hex(b"one"): path})
    assert files.get(sha256_hex(b"one")) == b"one"
    assert files.has(files.put(b"aside")) and files.get(sha256_hex(b"aside")) == b"aside"
    path.write_bytes(b"two")
    with pytest.raises(IntegrityError, match="changed"):
        files.get(sha256_hex(b"one"))
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        files.get(sha256_hex(b"one"))
    with pytest.raises(IntegrityError, match="not at hand"):
        files.get("0" * 64)


def test_where_files_lie_is_no_content_and_follows_every_change() -> None:
    cohort = scans({"p": b"1", "q": b"2"})
    assert cohort.with_files(None).digest == cohort.digest
    for made in (
        cohort.take([1]),
        cohort.keeping(["image"]),
        cohort.with_columns({"image": cohort["image"]}),
        cohort.with_fields([Field("image", "image", label="scan")]),
    ):
        assert made.files is cohort.files


def test_a_store_takes_the_files_with_the_cohort_and_gives_them_back(tmp_path: Path) -> None:
    cohort = scans({"p": b"1", "q": b"2", "r": b"1", "s": None})
    store = Store(tmp_path)
    again = store.get_cohort(store.put_cohort(cohort))
    assert again.digest == cohort.digest
    assert again.files is store
    assert {each.items[0] for each in manifests(again, "image").values()} == {sha256_hex(b"1"), sha256_hex(b"2")}
    assert all(store.has(each) for each in objects_of(cohort))
    assert len(objects_of(cohort)) == 4


def test_a_field_that_names_no_manifest_is_refused_by_the_store(tmp_path: Path) -> None:
    cohort = scans({"p": b"1"})
    raw = cohort.with_columns({"image": cohort["image"].replace(cohort["image"][0], sha256_hex(b"1"))})
    with pytest.raises(IntegrityError, match="'image'"):
        Store(tmp_path).put_cohort(raw)
    lost = cohort.with_files(MemoryFiles())
    with pytest.raises(IntegrityError, match="not at hand"):
        Store(tmp_path).put_cohort(lost)


def test_an_operation_makes_a_new_manifest_of_the_same_files_and_writes_nothing_below(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cohort = store.get_cohort(store.put_cohort(scans({"p": b"1", "q": b"2"})))
    before = store.digests()
    op = {"op": "resize", "height": 8, "width": 8, "fit": "pad"}
    changed = {key: each.with_op(op, (8, 8, 1)) for key, each in manifests(cohort, "image").items()}
    made = with_manifests(cohort, "image", changed)
    assert store.digests() == before
    assert made.digest != cohort.digest
    assert [each.ops for each in manifests(made, "image").values()] == [(op,), (op,)]
    assert [each.items for each in manifests(made, "image").values()] == [
        each.items for each in manifests(cohort, "image").values()
    ]
    assert store.get_cohort(store.put_cohort(made)).digest == made.digest


def test_forgetting_a_subject_removes_images_that_are_nobody_elses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_cohort(scans({"p": b"own", "q": b"shared", "r": b"shared"}))
    forget(store, "p")
    assert not store.has(sha256_hex(b"own")) and not store.has(manifest_of(b"own").digest)
    forget(store, "q")
    assert store.has(sha256_hex(b"shared"))
    forget(store, "r")
    assert not store.has(sha256_hex(b"shared")) and not store.has(manifest_of(b"shared").digest)


def test_rows_are_taken_with_their_images() -> None:
    cohort = scans({"p": b"1", "q": b"2"})
    assert list(manifests(cohort.take(np.array([1])), "image").values()) == [manifest_of(b"2")]
