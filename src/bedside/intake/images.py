"""Images: a folder of image files with a label table, or with a subfolder a class; a single file; a NumPy stack."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.files import Files, FolderFiles
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.intake.assemble import assemble, origin_of
from bedside.intake.declare import column_names
from bedside.intake.pixels import describe
from bedside.intake.source import locate
from bedside.intake.stacks import is_stack, read_stack
from bedside.intake.tables import Tables

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".ima", ".npy")
LARGEST = 1 << 30  # bytes of one file
MODE = Field("mode", "category", (), label="pixel mode")
FIELDS = (Field("image", "image"), Field("width", "number", ()), Field("height", "number", ()), MODE)


@dataclass(frozen=True)
class Images:
    """Reads images; each row is one file, its row id the path below the folder.

    `labels` is a table in the folder and `file` its column of paths (found when not given); only columns with a role
    (`target`, `subject`, `site`, `time`, `weight`, `sensitive`) and those named in `columns` or `fields` are read, and
    only the latter are inputs. Without `labels`, `target` names a field made of the first subfolder's name. A path to
    one file gives one row; a .npz file holds stacks (`train_images`, `train_labels` …) with the part in `part`.

    `window` (low, high) are stored pixel values that become 0 and 1. `damaged` says whether a file that cannot be read
    stops the reading ("stop") or is left out and told ("leave_out").
    """

    labels: str | None = None
    file: str | None = None
    target: str | None = None
    subject: str | None = None
    site: str | None = None
    time: str | None = None
    weight: str | None = None
    sensitive: Any = None
    fields: Any = None
    columns: Any = None
    missing: Any = None
    window: Sequence[float] | None = None
    damaged: str = "stop"

    name: ClassVar[str] = "images"
    paths: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.damaged not in ("stop", "leave_out"):
            raise DataError(f"damaged is {self.damaged!r}", "stop or leave_out")
        if self.window is not None:
            numbers = [each for each in self.window if isinstance(each, int | float) and not isinstance(each, bool)]
            if len(self.window) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
                raise DataError(f"window is {self.window!r}", "write [low, high] in stored pixel values")
        if self.labels is not None:
            _inside(self.labels, "labels")

    def read(self, path: Path | str) -> Cohort:
        """The cohort of a folder, of one image file, or of a stack."""
        place = Path(path)
        if place.is_file():
            if is_stack(place):
                return read_stack(place, self.target, self.window)
            return self._cohort(place.parent, [place.name], None, {"format": "file"})
        if not place.is_dir():
            locate(place)  # says what is there instead
        if self.labels is None:
            return self._unlabelled(place)
        return self._labelled(place, place / self.labels)

    def read_new(self, path: Path | str) -> Cohort:
        """Images to be answered: as `read`, but the label table may be absent and the outcome is not looked for."""
        place = Path(path)
        reader = replace(self, target=None)
        if self.labels is not None and not (place / self.labels).is_file():
            reader = replace(reader, labels=None)
        return reader.read(place)

    def _unlabelled(self, folder: Path) -> Cohort:
        names = [name for name in _listing(folder) if _looks_like_image(folder / name)]
        if not names:
            raise DataError(f"{folder}: no image lies in this folder", f"known are {', '.join(SUFFIXES)}")
        table = None
        if self.target is not None:
            flat = [name for name in names if "/" not in name]
            if flat:
                raise DataError(
                    f"{folder}: {len(flat)} images lie in no subfolder, such as {flat[0]}",
                    "give each class a subfolder, or name the label table with `labels`",
                )
            classes = pl.Series(self.target, [name.split("/")[0] for name in names], dtype=pl.String)
            table = ([Field(self.target, "category", ("target",))], pl.DataFrame([classes]), None)
        return self._cohort(folder, names, table, {"format": "folder"})

    def _labelled(self, folder: Path, path: Path) -> Cohort:
        if not path.is_file():
            raise DataError(f"{path}: there is no label table", "name it with `labels`, relative to the folder")
        column = self.file if self.file is not None else self._file_column(folder, path)
        asked = (*column_names("columns", self.columns), *_declared(self.fields))
        tables = Tables(
            fields={**_as_mapping(self.fields), column: {"kind": "text", "roles": []}},
            target=self.target,
            subject=self.subject,
            site=self.site,
            time=self.time,
            weight=self.weight,
            sensitive=self.sensitive,
            columns=[column, *asked],
            missing=self.missing,
        )
        read = tables.read(path)
        fields = [
            item if item.name in asked else replace(item, roles=tuple(r for r in item.roles if r != "input"))
            for item in read.schema.fields
            if item.name != column
        ]
        taken = sorted({item.name for item in fields} & {item.name for item in FIELDS})
        if taken:
            raise DataError(f"{path}: the columns {taken} are called like the image's own fields", "rename them")
        names = self._named(folder, path, read[column])
        subject = read["subject"] if read.schema.identity == "declared" else None
        frame = read.frame.select([item.name for item in fields])
        about = {"format": "folder", "labels": read.lineage[0].to_json(), "file": column}
        return self._cohort(folder, names, (fields, frame, subject), about)

    def _file_column(self, folder: Path, path: Path) -> str:
        """The column whose values most often name a file of the folder."""
        table = Tables().read(path)
        there = set(_listing(folder))
        texts = [item.name for item in table.schema.fields if item.kind in ("text", "category")]
        found = {name: int(table[name].is_in(list(there)).sum()) for name in texts}
        best = max(found, key=lambda name: found[name], default=None)
        if best is None or found[best] == 0:
            raise DataError(
                f"{path}: no column names files of {folder}",
                f"name it with `file`; its paths are relative to the folder; columns: {', '.join(texts[:20])}",
            )
        return best

    def _named(self, folder: Path, path: Path, values: pl.Series) -> list[str]:
        """The paths a column names, each below the folder, there, and named once (what is not there is told apart)."""
        if values.null_count():
            rows = values.is_null().arg_true()
            raise DataError(f"{path}: column '{values.name}' is empty in row {rows[0] + 1}", "leave such rows out")
        names = [_inside(value, f"{path}: column '{values.name}'") for value in values.to_list()]
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise DataError(f"{path}: column '{values.name}' names {twice} more than once", "keep one row a file")
        return names

    def _cohort(
        self,
        folder: Path,
        names: Sequence[str],
        table: tuple[list[Field], pl.DataFrame, pl.Series | None] | None,
        about: Mapping[str, Any],
    ) -> Cohort:
        paths: dict[str, Path] = {}
        manifests: list[bytes] = []
        rows: list[dict[str, Any]] = []
        refused: list[tuple[str, DataError]] = []
        for position, name in enumerate(names):
            try:
                made, mode = describe(_bytes_of(folder, name), self.window)
            except DataError as error:
                refused.append((name, error))
                continue
            paths[made.items[0]] = folder / name
            manifests.append(made.to_bytes())
            height, width = made.shape[:2]
            rows.append(
                {"position": position, "row_id": name, "image": made.digest}
                | {"width": float(width), "height": float(height), "mode": mode}
            )
        self._refuse(folder, names, refused)
        files: Files = FolderFiles(paths)
        for each in manifests:
            files.put(each)
        schema = {"position": pl.Int64, "width": pl.Float64, "height": pl.Float64}
        frame = pl.DataFrame(rows, schema_overrides=schema)
        fields, subject = list(FIELDS), None
        if table is not None:
            kept = frame["position"]
            fields += table[0]
            if table[0]:  # a table of no columns has no rows to take
                frame = frame.hstack(table[1][kept])
            if table[2] is not None:
                subject, frame = "subject", frame.with_columns(table[2][kept].alias("subject"))
        told = {"files": len(rows), "left_out": len(refused), "damaged": self.damaged, **about}
        told["window"] = None if self.window is None else [float(each) for each in self.window]
        digest = json_digest(dict(frame.select("row_id", "image").iter_rows()))
        origin = origin_of(self.name, told, {}, digest)
        made_of = assemble(str(folder), frame, fields, subject=subject, row_id="row_id", origin=origin)
        return made_of.with_files(files)

    def _refuse(self, folder: Path, names: Sequence[str], refused: Sequence[tuple[str, DataError]]) -> None:
        if not refused or (self.damaged == "leave_out" and len(refused) < len(names)):
            return
        told = "; ".join(f"{name}: {error.what}" for name, error in refused[:3])
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        if len(names) == 1:
            raise DataError(f"{folder / names[0]}: {refused[0][1].what}", refused[0][1].way_out)
        raise DataError(
            f"{folder}: {len(refused)} of {len(names)} images cannot be read: {told}{more}",
            "mend or remove them, or say `damaged: leave_out`",
        )


def _bytes_of(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError("the file is a link that leaves the folder", "copy it into the folder")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"the file has {size / 2**30:.1f} GiB", "images up to 1 GiB are read")
        return path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in _siblings(path)], n=1)
        raise DataError("there is no such file", f"did you mean {near[0]}?" if near else "check the path") from None
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", "check that you may read it") from None


def _siblings(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir()) if path.parent.is_dir() else []


def _inside(name: str, where: str) -> str:
    """A relative path that stays below its folder, written with slashes; raises DataError for any other."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts or ":" in path.parts[0]:
        raise DataError(f"{where}: the path {name[:80]!r} leaves the folder", "give paths relative to the folder")
    return path.as_posix()


def _listing(folder: Path) -> list[str]:
    """Relative paths of all files of a folder, sorted; hidden ones are passed over."""
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for item in folder.iterdir():
        if item.name.startswith("."):
            continue
        if item.is_dir() and not item.is_symlink():
            yield from _walk(item)
        elif item.is_file():
            yield item


def _looks_like_image(path: Path) -> bool:
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as stream:  # DICOM files often have no suffix
        return stream.read(132)[128:] == b"DICM"


def _as_mapping(fields: Any) -> dict[str, Any]:
    if fields is None:
        return {}
    if isinstance(fields, Mapping):
        return dict(fields)
    if isinstance(fields, Sequence) and all(isinstance(each, Mapping) and "name" in each for each in fields):
        return {each["name"]: {key: value for key, value in each.items() if key != "name"} for each in fields}
    raise DataError(f"cannot read fields {str(fields)[:80]!r}", "write {name: {kind: …, unit: …}}")


def _declared(fields: Any) -> list[str]:
    return list(_as_mapping(fields))
