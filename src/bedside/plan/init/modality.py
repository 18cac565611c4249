"""What kind of data lies at a path, told by names and first bytes: tables are read, the rest is named plainly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bedside.errors import DataError

MOST_FILES = 2000
_SUFFIXES = {
    "table": (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".txt", ".parquet", ".xlsx", ".xls", ".zip"),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "image": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"),
    "volume": (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"),
    "signal": (".hea", ".edf", ".bdf", ".mat"),
    "FHIR or JSON": (".json", ".ndjson"),
    "HL7 or XML": (".hl7", ".xml", ".cda"),
    "molecule or sequence": (".sdf", ".smi", ".mol", ".pdb", ".vcf", ".vcf.gz", ".fasta", ".fastq"),
}
_MAGIC = {b"\x89PNG": "image", b"\xff\xd8\xff": "image", b"II*\x00": "image", b"MM\x00*": "image", b"GIF8": "image"}
_LATER = "signals, notes, volumes and FHIR come later; what is measured on them can be given as a table"
_IMAGES = (
    "write a plan with `cohort: {read: images, path: FOLDER, labels: TABLE}`, as the recipe breast-ultrasound does"
)
_READ_BY_PLANS = ("image", "DICOM")


def refuse_no_table(path: Path) -> None:
    """Raise DataError, saying what it is, for a path that holds anything but one table."""
    if not path.exists():
        near = sorted(item.name for item in path.parent.iterdir())[:8] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file", f"there is: {', '.join(near)}" if near else "check the path")
    if path.is_dir():
        raise _folder(path)
    kind = kind_of(path)
    if kind not in ("table", "other"):
        raise DataError(f"{path} is a {kind} file; `init` reads tables so far", _way_out(kind))


def kind_of(path: Path) -> str:
    """The kind of a file: table, DICOM, image, volume, signal …, or other."""
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:] == b"DICM":
        return "DICOM"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return next((kind for kind, endings in _SUFFIXES.items() if path.name.lower().endswith(endings)), "other")


def _folder(path: Path) -> DataError:
    found = Counter(kind_of(file) for file in islice(_files(path), MOST_FILES))
    if not found:
        return DataError(f"{path} is an empty folder", "name a table: bedside init TABLE.csv")
    told = ", ".join(f"{count:,} {kind} files" for kind, count in found.most_common())
    told = told.replace("table files", "tables").replace("other files", "others")
    if sum(found.values()) == MOST_FILES:
        told += f" among the first {MOST_FILES:,}"
    main = found.most_common(1)[0][0]
    if "table" not in found:
        way_out = _way_out(main) if main != "other" else "name a table: bedside init TABLE.csv"
        return DataError(f"{path} is a folder ({told}); `init` reads tables so far", way_out)
    tables = [file.relative_to(path).as_posix() for file in _files(path) if kind_of(file) == "table"][:8]
    also = "" if main in ("table", "other") else f"; {_way_out(main)}"
    return DataError(f"{path} is a folder ({told})", f"name one table, such as {', '.join(tables)}{also}")


def _way_out(kind: str) -> str:
    return _IMAGES if kind in _READ_BY_PLANS else _LATER


def _files(path: Path) -> Iterator[Path]:
    for item in sorted(path.iterdir()):
        if item.name.startswith(".") or item.is_symlink():
            continue
        if item.is_dir():
            yield from _files(item)
        elif item.is_file():
            yield item
