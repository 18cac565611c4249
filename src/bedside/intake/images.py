"""Images: a folder of image files with a label table, or with a subfolder a class; a single file; a NumPy stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.files import Files, FolderFiles
from bedside.cohort.manifest import Manifest
from bedside.cohort.quarantine import Refused
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError
from bedside.intake.assemble import assemble, origin_of
from bedside.intake.boxes import boxes_of, crops
from bedside.intake.declare import column_names
from bedside.intake.image_files import SUFFIXES, bytes_of, inside, listing, looks_like_image
from bedside.intake.masks import describe_mask, mask_fields, mask_paths, sources_of
from bedside.intake.pixels import describe
from bedside.intake.source import locate
from bedside.intake.stacks import is_stack, read_stack
from bedside.intake.tables import Tables

MODE = Field("mode", "category", (), label="pixel mode")
FIELDS = (Field("image", "image"), Field("width", "number", ()), Field("height", "number", ()), MODE)


@dataclass(frozen=True)
class _Table:
    """What a label table says of each named file, in order: fields, their columns, and the subject where it is told."""

    fields: list[Field]
    frame: pl.DataFrame
    subject: pl.Series | None = None


@dataclass(frozen=True)
class Images:
    """Reads images; each row is one file, its row id the path below the folder.

    `labels` is a table in the folder and `file` its column of paths (found when not given); only columns with a role
    (`target`, `subject`, `site`, `time`, `weight`, `sensitive`) and those named in `columns` or `fields` are read, and
    only the latter are inputs. Without `labels`, `target` names a field made of the first subfolder's name. A path to
    one file gives one row; a .npz file holds stacks (`train_images`, `train_labels` …) with the part in `part`.
    `target` may be a list: columns of the label table, or of a stack's labels.

    `mask` names a column of paths or a folder of files called like the images, which makes a field `mask` (kind "mask",
    no input, empty where an image has none); `{lesion: masks, marker: markers}` makes several.

    `boxes` names a folder of Pascal VOC files called like the images: each box is then a row, cut from its image, its
    class the `target`; boxes of one image are one subject.

    `window` (low, high) are stored pixel values that become 0 and 1. `unreadable` says whether a file that cannot
    be read stops the reading ("stop") or is left out, told, and put into the workspace's quarantine ("quarantine").
    """

    labels: str | None = None
    file: str | None = None
    target: str | Sequence[str] | None = None
    subject: str | None = None
    site: str | None = None
    time: str | None = None
    weight: str | None = None
    sensitive: Any = None
    fields: Any = None
    columns: Any = None
    missing: Any = None
    window: Sequence[float] | None = None
    mask: Any = None
    boxes: str | None = None
    unreadable: str = "stop"

    name: ClassVar[str] = "images"
    paths: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.unreadable not in ("stop", "quarantine"):
            raise DataError(f"unreadable is {self.unreadable!r}", "stop or quarantine")
        if self.window is not None:
            numbers = [each for each in self.window if isinstance(each, int | float) and not isinstance(each, bool)]
            if len(self.window) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
                raise DataError(f"window is {self.window!r}", "write [low, high] in stored pixel values")
        if self.labels is not None:
            inside(self.labels, "labels")
        sources_of(self.mask)
        if self.boxes is not None and (self.labels is not None or self.mask is not None or self.target is None):
            raise DataError("boxes have classes of their own", "name the field of their class with `target`, alone")

    def read(self, path: Path | str) -> Cohort:
        """The cohort of a folder, of one image file, or of a stack."""
        return self.read_setting_aside(path)[0]

    def read_setting_aside(self, path: Path | str) -> tuple[Cohort, Sequence[Refused]]:
        """As `read`, and the files that were left out."""
        place = Path(path)
        if place.is_file():
            if is_stack(place):
                if self.mask is not None:
                    raise DataError(f"{place}: a stack has no masks", "give images and masks as files")
                return read_stack(place, self.target, self.window), ()
            return self._cohort(place.parent, [place.name], None, {"format": "file"})
        if not place.is_dir():
            locate(place)  # says what is there instead
        if self.boxes is not None:
            return self._boxed(place, self.boxes)
        if self.labels is None:
            return self._unlabelled(place)
        return self._labelled(place, place / self.labels)

    def read_new(self, path: Path | str) -> Cohort:
        """Images to be answered: as `read`, but every file must be readable, the label table may be absent, and neither
        outcome nor masks are looked for."""
        place = Path(path)
        reader = replace(self, target=None, mask=None, boxes=None, unreadable="stop")
        if self.labels is not None and not (place / self.labels).is_file():
            reader = replace(reader, labels=None)
        return reader.read(place)

    def like(self, schema: Schema) -> dict[str, Any]:
        """What was given, but for the masks, which later images need not have, and for leaving any of them out."""
        names = [item.name for item in fields(self) if item.name not in ("mask", "unreadable")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _unlabelled(self, folder: Path) -> tuple[Cohort, Sequence[Refused]]:
        beside = tuple(f"{place.rstrip('/')}/" for place in sources_of(self.mask).values())
        names = [name for name in listing(folder) if looks_like_image(folder / name) and not name.startswith(beside)]
        if not names:
            raise DataError(f"{folder}: no image lies in this folder", f"known are {', '.join(SUFFIXES)}")
        table = None
        if self.target is not None:
            if not isinstance(self.target, str):
                raise DataError(
                    f"{folder}: subfolders name one class, and target is {list(self.target)}",
                    "name the label table with `labels`",
                )
            flat = [name for name in names if "/" not in name]
            if flat:
                raise DataError(
                    f"{folder}: {len(flat)} images lie in no subfolder, such as {flat[0]}",
                    "give each class a subfolder, or name the label table with `labels`",
                )
            classes = pl.Series(self.target, [name.split("/")[0] for name in names], dtype=pl.String)
            table = _Table([Field(self.target, "category", ("target",))], pl.DataFrame([classes]))
        masks = {field: mask_paths(folder, place, names, None) for field, place in sources_of(self.mask).items()}
        return self._cohort(folder, names, table, {"format": "folder"}, masks)

    def _boxed(self, folder: Path, place: str) -> tuple[Cohort, Sequence[Refused]]:
        """A row for each box."""
        names = [n for n in listing(folder) if looks_like_image(folder / n) and not n.startswith(f"{place}/")]
        if not names:
            raise DataError(f"{folder}: no image lies in this folder", f"known are {', '.join(SUFFIXES)}")
        paths: dict[str, Path] = {}
        made: list[Manifest] = []
        rows: list[dict[str, Any]] = []
        refused: list[Refused] = []
        for name in names:
            try:
                image, mode = describe(bytes_of(folder, name), self.window)
                found = boxes_of(folder, place, name)
                cut = crops(image, found, name)
            except DataError as error:
                refused.append(Refused(folder / name, name, None, error))
                continue
            paths[image.items[0]] = folder / name
            made += cut
            for i, (box, each) in enumerate(zip(found, cut, strict=True)):
                row = {"row_id": f"{name}#{i + 1}", "subject": name, "image": each.digest, str(self.target): box.label}
                rows.append(row | {"height": float(each.shape[0]), "width": float(each.shape[1]), "mode": mode})
        self._refuse(folder, names, refused)
        if not rows:
            raise DataError(f"{folder}: no image has a box", f"look into '{place}'")
        files: Files = FolderFiles(paths)
        for each in made:
            files.put(each.to_bytes())
        fields = [*FIELDS, Field(str(self.target), "category", ("target",))]
        told = {"format": "boxes", "files": len(paths), "boxes": len(rows), "left_out": len(refused)}
        told |= {
            "unreadable": self.unreadable,
            "window": None if self.window is None else list(map(float, self.window)),
        }
        frame = pl.DataFrame(rows)
        origin = origin_of(self.name, told, {}, json_digest(dict(frame.select("row_id", "image").iter_rows())))
        cohort = assemble(str(folder), frame, fields, subject="subject", row_id="row_id", origin=origin)
        cohort = replace(cohort, schema=replace(cohort.schema, identity="cluster"))  # images are known, patients not
        return cohort.with_files(files), refused

    def _labelled(self, folder: Path, path: Path) -> tuple[Cohort, Sequence[Refused]]:
        if not path.is_file():
            raise DataError(f"{path}: there is no label table", "name it with `labels`, relative to the folder")
        column = self.file if self.file is not None else self._file_column(folder, path)
        asked = (*column_names("columns", self.columns), *_declared(self.fields))
        masked = list(sources_of(self.mask).values())
        if masked:
            there = Tables().read(path).schema.names
            masked = [place for place in masked if place in there]
        tables = Tables(
            fields={**_as_mapping(self.fields), **{each: {"kind": "text", "roles": []} for each in (column, *masked)}},
            target=self.target,
            subject=self.subject,
            site=self.site,
            time=self.time,
            weight=self.weight,
            sensitive=self.sensitive,
            columns=[column, *masked, *asked],
            missing=self.missing,
        )
        read = tables.read(path)
        fields = [
            item if item.name in asked else replace(item, roles=tuple(r for r in item.roles if r != "input"))
            for item in read.schema.fields
            if item.name not in (column, *masked)
        ]
        own = {*(item.name for item in FIELDS), *sources_of(self.mask)}
        taken = sorted({item.name for item in fields} & own)
        if taken:
            raise DataError(f"{path}: the columns {taken} are called like the image's own fields", "rename them")
        names = self._named(folder, path, read[column])
        subject = read["subject"] if read.schema.identity == "declared" else None
        frame = read.frame.select([item.name for item in fields])
        about = {"format": "folder", "labels": read.lineage[0].to_json(), "file": column}
        masks = {field: mask_paths(folder, place, names, read.frame) for field, place in sources_of(self.mask).items()}
        return self._cohort(folder, names, _Table(fields, frame, subject), about, masks)

    def _file_column(self, folder: Path, path: Path) -> str:
        """The column whose values most often name a file of the folder."""
        table = Tables().read(path)
        there = set(listing(folder))
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
        names = [inside(value, f"{path}: column '{values.name}'") for value in values.to_list()]
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise DataError(f"{path}: column '{values.name}' names {twice} more than once", "keep one row a file")
        return names

    def _cohort(
        self,
        folder: Path,
        names: Sequence[str],
        table: _Table | None,
        about: Mapping[str, Any],
        masks: Mapping[str, Sequence[str | None]] | None = None,
    ) -> tuple[Cohort, Sequence[Refused]]:
        masks = {} if masks is None else masks
        paths: dict[str, Path] = {}
        manifests: list[bytes] = []
        rows: list[dict[str, Any]] = []
        refused: list[Refused] = []
        for position, name in enumerate(names):
            read = name
            try:
                made, mode = describe(bytes_of(folder, name), self.window)
                beside: dict[str, tuple[str, Manifest]] = {}
                for field, places in masks.items():
                    place = places[position]
                    if place is not None:
                        read = place
                        beside[field] = place, describe_mask(bytes_of(folder, place), made)
            except DataError as error:
                whose = None if table is None or table.subject is None else table.subject[position]
                refused.append(Refused(folder / read, read, whose, error))
                continue
            for place, each in ((name, made), *beside.values()):
                paths[each.items[0]] = folder / place
                manifests.append(each.to_bytes())
            height, width = made.shape[:2]
            rows.append(
                {"position": position, "row_id": name, "image": made.digest}
                | {"width": float(width), "height": float(height), "mode": mode}
                | {field: beside[field][1].digest if field in beside else None for field in masks}
            )
        self._refuse(folder, names, refused)
        files: Files = FolderFiles(paths)
        for data in manifests:
            files.put(data)
        schema = {"position": pl.Int64, "width": pl.Float64, "height": pl.Float64, **dict.fromkeys(masks, pl.String)}
        frame = pl.DataFrame(rows, schema_overrides=schema)
        fields, subject = [*FIELDS, *mask_fields(list(masks))], None
        if table is not None:
            kept = frame["position"]
            fields += table.fields
            if table.fields:  # a table of no columns has no rows to take
                frame = frame.hstack(table.frame[kept])
            if table.subject is not None:
                subject, frame = "subject", frame.with_columns(table.subject[kept].alias("subject"))
        told = {"files": len(rows), "left_out": len(refused), "unreadable": self.unreadable, **about}
        told["window"] = None if self.window is None else [float(each) for each in self.window]
        if masks:
            told["masks"] = {field: int(frame[field].is_not_null().sum()) for field in masks}
        digest = json_digest(dict(frame.select("row_id", "image").iter_rows()))
        origin = origin_of(self.name, told, {}, digest)
        made_of = assemble(str(folder), frame, fields, subject=subject, row_id="row_id", origin=origin)
        return made_of.with_files(files), refused

    def _refuse(self, folder: Path, names: Sequence[str], refused: Sequence[Refused]) -> None:
        if not refused or (self.unreadable == "quarantine" and len(refused) < len(names)):
            return
        told = "; ".join(f"{each.name}: {each.why.what}" for each in refused[:3])
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        if len(names) == 1:
            raise DataError(f"{folder / names[0]}: {refused[0].why.what}", refused[0].why.way_out)
        raise DataError(
            f"{folder}: {len(refused)} of {len(names)} images cannot be read: {told}{more}",
            "mend or remove them, or say `unreadable: quarantine`",
        )


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
