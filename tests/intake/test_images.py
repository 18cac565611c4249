"""The reader `images`: folders, label tables, single files and stacks; what cannot be read is named."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from bedside.cohort import Store
from bedside.cohort.manifest import manifests
from bedside.errors import DataError, IntegrityError
from bedside.intake.images import Images


def picture(path: Path, seed: int, shape: tuple[int, ...] = (6, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(path)


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images in two subfolders, and a label table."""
    rows = []
    for i, name in enumerate(("benign/a.png", "benign/b.png", "malignant/c.png", "malignant/d.jpg")):
        picture(tmp_path / name, i)
        kind = name.split("/")[0]
        rows.append({"file": name, "label": kind, "patient": f"p{i // 2}", "sex": "fm"[i % 2], "age": 40 + i})
    table(tmp_path / "labels.csv", rows)
    return tmp_path


def test_a_folder_with_a_label_table(folder: Path) -> None:
    cohort = Images(labels="labels.csv", target="label", subject="patient", sensitive="sex").read(folder)
    assert cohort["row_id"].to_list() == ["benign/a.png", "benign/b.png", "malignant/c.png", "malignant/d.jpg"]
    assert cohort["subject"].to_list() == ["p0", "p0", "p1", "p1"]
    assert cohort.schema.identity == "declared"
    assert cohort.schema.names == ["image", "width", "height", "mode", "label", "sex"]
    assert [item.name for item in cohort.schema.inputs] == ["image"]  # a sensitive column is no input unasked
    assert cohort["label"].to_list() == ["benign"] * 2 + ["malignant"] * 2
    assert cohort["width"].to_list() == [9.0] * 4 and cohort["height"].to_list() == [6.0] * 4
    shapes = {each.shape for each in manifests(cohort, "image").values()}
    assert shapes == {(6, 9, 1)}


def test_a_column_is_an_input_when_it_is_named(folder: Path) -> None:
    cohort = Images(labels="labels.csv", target="label", fields={"age": {"kind": "number", "unit": "a"}}).read(folder)
    assert [item.name for item in cohort.schema.inputs] == ["image", "age"]
    assert cohort.schema["age"].unit == "a"
    assert cohort.schema.identity == "row"


def test_a_subfolder_a_class(folder: Path) -> None:
    cohort = Images(target="class").read(folder)
    assert dict(zip(cohort["row_id"], cohort["class"], strict=True)) == {
        "benign/a.png": "benign",
        "benign/b.png": "benign",
        "malignant/c.png": "malignant",
        "malignant/d.jpg": "malignant",
    }
    picture(folder / "stray.png", 9)
    with pytest.raises(DataError, match=r"stray\.png"):
        Images(target="class").read(folder)
    assert len(Images().read(folder)) == 5


def test_the_same_content_has_the_same_digest_wherever_it_lies(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("copy")
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            (other / path.relative_to(folder)).parent.mkdir(exist_ok=True)
            (other / path.relative_to(folder)).write_bytes(path.read_bytes())
    first, second = (Images(labels="labels.csv", target="label").read(each) for each in (folder, other))
    assert first.digest == second.digest
    assert first.lineage == second.lineage


def test_the_store_needs_the_folder_no_more(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    cohort = Images(labels="labels.csv", target="label").read(folder)
    digest = store.put_cohort(cohort)
    (folder / "benign/a.png").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="changed after"):
        [cohort.files.get(each.items[0]) for each in manifests(cohort, "image").values()]  # type: ignore[union-attr]
    again = store.get_cohort(digest)
    for each in manifests(again, "image").values():
        assert store.get(each.items[0])


def test_one_file_is_one_row(folder: Path) -> None:
    reader = Images(labels="labels.csv", target="label")
    cohort = reader.read_new(folder / "benign" / "a.png")
    assert cohort["row_id"].to_list() == ["a.png"]
    assert cohort.schema.names == ["image", "width", "height", "mode"]
    whole = reader.read(folder)
    assert cohort["image"][0] == whole["image"][0]


def test_new_images_may_come_without_labels(folder: Path) -> None:
    reader = Images(labels="labels.csv", target="label", sensitive="sex")
    assert reader.read_new(folder / "malignant")["row_id"].to_list() == ["c.png", "d.jpg"]
    assert reader.read_new(folder).schema.names == ["image", "width", "height", "mode", "sex"]
    with pytest.raises(DataError, match=r"labels\.csv"):
        reader.read(folder / "malignant")


def test_a_damaged_image_stops_the_reading_or_is_left_out_and_told(folder: Path) -> None:
    (folder / "benign" / "b.png").write_bytes(b"")
    (folder / "malignant" / "d.jpg").write_bytes((folder / "malignant" / "d.jpg").read_bytes()[:200])
    with pytest.raises(DataError, match=r"2 of 4 images.*b\.png: the file is empty"):
        Images(labels="labels.csv", target="label").read(folder)
    cohort = Images(labels="labels.csv", target="label", subject="patient", unreadable="quarantine").read(folder)
    assert cohort["row_id"].to_list() == ["benign/a.png", "malignant/c.png"]
    assert cohort["subject"].to_list() == ["p0", "p1"]
    assert cohort["label"].to_list() == ["benign", "malignant"]
    assert cohort.lineage[0].parameters["source"]["left_out"] == 2
    for name in ("benign/a.png", "malignant/c.png"):
        (folder / name).write_bytes(b"no")
    with pytest.raises(DataError, match="4 of 4"):
        Images(labels="labels.csv", target="label", unreadable="quarantine").read(folder)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../b.png", "C:\\x.png", ""])
def test_a_path_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    table(folder / "labels.csv", [{"file": "benign/a.png", "label": "x"}, {"file": name, "label": "y"}])
    with pytest.raises(DataError, match=r"leaves the folder|is empty"):
        Images(labels="labels.csv", file="file", target="label").read(folder)


def test_a_link_that_leaves_the_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "s.png"
    picture(secret, 1)
    (folder / "benign" / "link.png").symlink_to(secret)
    with pytest.raises(DataError, match="link"):
        Images(target="class").read(folder)


def test_what_is_wrong_with_a_label_table_is_said(folder: Path) -> None:
    labels = folder / "labels.csv"
    table(labels, [{"file": "benign/a.png", "label": "x"}, {"file": "benign/aa.png", "label": "y"}])
    with pytest.raises(DataError, match=r"benign/aa\.png: there is no such file"):
        Images(labels="labels.csv", target="label").read(folder)
    table(labels, [{"file": "benign/a.png", "label": "x"}, {"file": "benign/a.png", "label": "y"}])
    with pytest.raises(DataError, match="more than once"):
        Images(labels="labels.csv", target="label").read(folder)
    table(labels, [{"scan": "a", "label": "x"}, {"scan": "b", "label": "y"}])
    with pytest.raises(DataError, match="no column names files"):
        Images(labels="labels.csv", target="label").read(folder)
    with pytest.raises(DataError, match="no column 'lable'"):
        Images(labels="labels.csv", file="scan", target="lable").read(folder)
    with pytest.raises(DataError, match="leaves the folder"):
        Images(labels="../labels.csv")
    with pytest.raises(DataError, match="window"):
        Images(window=[5, 5])
    with pytest.raises(DataError, match="unreadable"):
        Images(unreadable="ignore")


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image"):
        Images().read(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        Images().read(tmp_path / "absent")


def test_a_stack_of_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (n, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(n)[:, None] % 2
    np.savez(tmp_path / "stack.npz", **arrays)
    cohort = Images(target="label").read(tmp_path / "stack.npz")
    assert len(cohort) == 10
    train = cohort.frame.filter(pl.col("part") == "train")
    assert train["label"].to_list() == ["0", "1", "0", "1", "0"]
    from bedside.prepare.arrays import Images as Arrays

    row = cohort["row_id"].to_list().index("train_000003")
    np.testing.assert_allclose(Arrays(cohort)[row][:, :, 0] * 255, arrays["train_images"][3], atol=1e-4)
    np.savez(tmp_path / "bad.npz", train_images=arrays["train_images"], train_labels=np.zeros((5, 14)))
    with pytest.raises(DataError, match="one label an image"):
        Images(target="label").read(tmp_path / "bad.npz")
    np.savez(tmp_path / "objects.npz", images=np.array([object()], dtype=object))
    with pytest.raises(DataError, match="without objects"):
        Images().read(tmp_path / "objects.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "stack.npz").read_bytes()[:300])
    with pytest.raises(DataError):
        Images().read(tmp_path / "cut.npz")


@pytest.mark.slow
def test_real_folders(shared_data: Path) -> None:
    busi = Images(labels="labels.csv", target="label").read(shared_data / "image" / "busi")
    assert busi["label"].value_counts().sort("label")["count"].to_list() == [437, 210, 133]
    covid = Images(labels="metadata.csv", target="finding", subject="patientid").read(
        shared_data / "cxr" / "covid_chestxray_cc"
    )
    assert len(covid) == 120 and covid.n_subjects == 67
    cells, refused = Images(boxes="Annotations", target="cell").read_setting_aside(shared_data / "image" / "bccd")
    # as counted in the files with grep: <name>…</name>
    assert dict(cells["cell"].value_counts().iter_rows()) == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert cells.n_subjects == 364 and not refused


def mask(path: Path, shape: tuple[int, int] = (6, 9), value: int = 1) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = np.zeros(shape, dtype=np.uint8)
    marked[1:3, 2:5] = value
    Image.fromarray(marked).save(path)
    return marked > 0


def test_masks_come_from_a_folder_or_a_column(folder: Path) -> None:
    from bedside.prepare.arrays import Masks

    expected = mask(folder / "lesions" / "malignant" / "c.png")
    mask(folder / "lesions" / "malignant" / "d.png", value=255)  # its image is a .jpg
    mask(folder / "marks" / "one.png")
    rows = [
        {"file": name, "label": name.split("/")[0], "mark": "marks/one.png" if name.endswith("a.png") else ""}
        for name in ("benign/a.png", "benign/b.png", "malignant/c.png", "malignant/d.jpg")
    ]
    table(folder / "labels.csv", rows)
    cohort = Images(labels="labels.csv", target="label", mask={"lesion": "lesions", "marker": "mark"}).read(folder)
    assert [(cohort.schema[name].kind, cohort.schema[name].roles) for name in ("lesion", "marker")] == [
        ("mask", ())
    ] * 2
    assert [item.name for item in cohort.schema.inputs] == ["image"]
    lesions, marks = Masks(cohort, "lesion"), Masks(cohort, "marker")
    assert [each is None for each in lesions] == [True, True, False, False]
    assert [each is None for each in marks] == [False, True, True, True]
    for each in (lesions[2], lesions[3], marks[0]):
        assert each is not None and each.dtype == bool
        np.testing.assert_array_equal(each, expected)
    one = Images(target="class", mask="lesions").read(folder)  # a subfolder a class: the masks are no class
    assert set(one["class"]) == {"benign", "malignant", "marks"} and one.schema["mask"].kind == "mask"
    assert Images(labels="labels.csv", target="label", mask="lesions").read_new(folder).schema.names == [
        "image",
        "width",
        "height",
        "mode",
    ]
    assert "mask" not in Images(labels="labels.csv", mask="lesions").like(cohort.schema)


def test_a_mask_that_does_not_fit_is_refused(folder: Path) -> None:
    reader = Images(labels="labels.csv", target="label", mask="lesions")
    with pytest.raises(DataError, match="'lesions' is no column and no folder"):
        reader.read(folder)
    mask(folder / "lesions" / "other.png")
    with pytest.raises(DataError, match="called like an image"):
        reader.read(folder)
    mask(folder / "lesions" / "benign" / "a.png", shape=(6, 8))
    with pytest.raises(DataError, match=r"lesions/benign/a\.png: mask and image differ in size: 8 × 6 and 9 × 6"):
        reader.read(folder)
    (folder / "lesions" / "benign" / "a.png").unlink()
    picture(folder / "lesions" / "benign" / "a.jpg", 1)
    with pytest.raises(DataError, match="JPEG is not exact"):
        reader.read(folder)
    with pytest.raises(DataError, match="mask is"):
        Images(mask=3)


VOC = "<annotation><filename>{name}</filename>{objects}</annotation>"
CORNERS = "<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>"
OBJECT = "<object><name>{label}</name><bndbox>" + CORNERS + "</bndbox></object>"


def boxes(path: Path, *found: tuple[str, int, int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(*corners, label=label) for label, *corners in found)
    path.write_text(VOC.format(name=path.stem, objects=objects))


def test_each_box_is_a_row_cut_from_its_image(folder: Path) -> None:
    from bedside.prepare.arrays import Images as Arrays

    for name in ("b", "c", "d"):
        boxes(folder / "voc" / f"{name}.xml", ("red", 1, 1, 9, 6))
    boxes(folder / "voc" / "a.xml", ("white", 2, 1, 4, 2), ("red", 8, 5, 20, 20))  # the second leaves the image
    cohort = Images(target="cell", boxes="voc").read(folder)
    assert len(cohort) == 5 and cohort.schema.identity == "cluster" and cohort.n_subjects == 4
    assert cohort["row_id"].to_list()[:2] == ["benign/a.png#1", "benign/a.png#2"]
    assert cohort["cell"].to_list() == ["white", "red", "red", "red", "red"]
    whole = np.asarray(Image.open(folder / "benign/a.png")) / np.float32(255)
    arrays = Arrays(cohort)
    np.testing.assert_array_equal(arrays[0][:, :, 0], whole[0:2, 1:4])  # VOC counts from 1, ends included
    np.testing.assert_array_equal(arrays[1][:, :, 0], whole[4:6, 7:9])
    assert Images(target="cell", boxes="voc").read_new(folder / "benign" / "a.png")["width"].to_list() == [9.0]


def test_boxes_that_cannot_be_read_are_named(folder: Path) -> None:
    reader = Images(target="cell", boxes="voc")
    for name in ("a", "b", "c"):
        boxes(folder / "voc" / f"{name}.xml", ("red", 1, 1, 3, 3))
    with pytest.raises(DataError, match=r"d\.jpg: there is no d\.xml"):
        reader.read(folder)
    for text, told in (
        ("no xml", "is no XML"),
        ("<annotation><object><name>x</name></object></annotation>", "lacks its name or box"),
        ('<!DOCTYPE a [<!ENTITY e "ha">]><annotation>&e;</annotation>', "declares entities"),
        (VOC.format(name="d", objects=OBJECT.format(30, 1, 40, 3, label="red")), "holds no pixel"),
    ):
        (folder / "voc" / "d.xml").write_text(text)
        with pytest.raises(DataError, match=told):
            reader.read(folder)
        kept, refused = Images(target="cell", boxes="voc", unreadable="quarantine").read_setting_aside(folder)
        assert len(kept) == 3 and [each.name for each in refused] == ["malignant/d.jpg"]
    with pytest.raises(DataError, match="classes of their own"):
        Images(boxes="voc")


def test_images_of_every_kind_are_read_beside_those_that_cannot_be(tmp_path: Path) -> None:
    import zlib

    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(grey.astype(np.uint16) * 1000).save(tmp_path / "sixteen.png")
    Image.fromarray(grey > 20).save(tmp_path / "one_bit.png")
    Image.fromarray(np.stack([grey, grey * 2, grey], axis=2)).save(tmp_path / "colour.png")
    Image.fromarray(grey).save(tmp_path / "grey.jpg")
    png = (tmp_path / "colour.png").read_bytes()
    header = png[12:16] + (30_000).to_bytes(4, "big") * 2 + png[24:29]  # says 30 000 × 30 000
    (tmp_path / "vast.png").write_bytes(png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "grey.jpg").read_bytes()[:-200])
    cohort, refused = Images(unreadable="quarantine").read_setting_aside(tmp_path)
    modes = dict(zip(cohort["row_id"], cohort["mode"], strict=True))
    assert modes == {"colour.png": "RGB", "grey.jpg": "L", "one_bit.png": "1", "sixteen.png": "I;16"}
    assert {each.name: each.why.what for each in refused}.keys() == {"vast.png", "empty.png", "cut.jpg"}
    assert "pixels" in next(each.why.what for each in refused if each.name == "vast.png")
    assert all(each.why.way_out for each in refused)
