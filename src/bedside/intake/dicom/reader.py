"""The reader `dicom`: a folder, ZIP or DICOMDIR of objects as a cohort of series and single images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest, sha256_hex
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import Manifest
from bedside.cohort.quarantine import Refused
from bedside.cohort.schema import Field, Kind
from bedside.errors import DataError, IntegrityError
from bedside.intake.assemble import assemble, origin_of
from bedside.intake.dicom.choose import choose, rule_of
from bedside.intake.dicom.geometry import REPAIRS, stack
from bedside.intake.dicom.header import Header, read_header
from bedside.intake.dicom.probe import Probe
from bedside.intake.dicom.source import Entry, entries, is_candidate
from bedside.intake.pixels import DICOM, describe

_PLAIN: tuple[tuple[str, Kind, tuple[str, ...], str | None], ...] = (
    ("modality", "category", (), None),
    ("body_part", "category", (), None),
    ("manufacturer", "category", (), None),
    ("scanner", "category", (), None),
    ("kernel", "category", (), None),
    ("sex", "category", ("sensitive",), None),
    ("age", "number", ("sensitive",), "a"),
    ("study", "text", (), None),
    ("slices", "number", (), "1"),
    ("rows", "number", (), "1"),
    ("columns", "number", (), "1"),
    ("spacing_between_rows", "number", (), "mm"),
    ("spacing_between_columns", "number", (), "mm"),
    ("spacing_between_slices", "number", (), "mm"),
    ("thickness", "number", (), "mm"),
    ("orientation", "category", (), None),
)
_PLANES = ("sagittal", "coronal", "axial")


class EntryFiles(MemoryFiles):
    """Files where they lie, in folders or ZIPs (`places`: digest → entry); what is put is kept in memory."""

    def __init__(self, places: Mapping[str, Entry]) -> None:
        super().__init__()
        self._places = dict(places)

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, verified."""
        if digest in self._held or digest not in self._places:
            return super().get(digest)
        entry = self._places[digest]
        try:
            data = entry.read()
        except DataError as error:
            raise IntegrityError(f"{entry.name}: {error.what}", "read the data again") from None
        if sha256_hex(data) != digest:
            raise IntegrityError(f"{entry.name} was changed after it was read", "read the data again")
        return data

    def has(self, digest: str) -> bool:
        """Whether the digest is one of the source's, or was put."""
        return digest in self._places or super().has(digest)


@dataclass(frozen=True)
class Dicom:
    """Reads DICOM images. A series whose slices make a stack is a row with a `volume`; every other object of one frame
    is a row with an `image`, an object of frames without geometry a row with a `video`.

    `series` is a rule that picks one row a study (a name of `series_rules.json`, or written out). `repair` names what a
    geometry check may mend: orientation, duplicates, tilt. `unreadable` says whether a file or series that cannot be
    read stops the reading ("stop") or is left out with its reason ("quarantine").
    """

    series: Any = None
    repair: Sequence[str] = ()
    unreadable: str = "stop"

    name: ClassVar[str] = "dicom"
    paths: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.unreadable not in ("stop", "quarantine"):
            raise DataError(f"unreadable is {self.unreadable!r}", "stop or quarantine")
        unknown = sorted(set(self.repair) - set(REPAIRS))
        if unknown:
            raise DataError(f"repair cannot be {', '.join(unknown)}", f"any of {', '.join(REPAIRS)}")
        if self.series is not None:
            rule_of(self.series)

    def read(self, path: Path | str) -> Cohort:
        """The cohort of a folder, ZIP, DICOMDIR or file."""
        return self.read_setting_aside(path)[0]

    def read_setting_aside(self, path: Path | str) -> tuple[Cohort, Sequence[Refused]]:
        """As `read`, and what was left out."""
        return self.read_watched(path, lambda _done, _all: None)

    def like(self, schema: Any) -> dict[str, Any]:
        """What was given, but for leaving any out."""
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "unreadable"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}

    def read_watched(self, path: Path | str, progress: Callable[[int, int], None]) -> tuple[Cohort, Sequence[Refused]]:
        """As `read_setting_aside`; `progress(done, all)` is called for each file."""
        found = entries(path)
        refused: list[Refused] = []
        by_series: dict[str, list[Header]] = defaultdict(list)
        places: dict[str, Entry] = {}
        passed_over = copies = 0
        for position, entry in enumerate(found, start=1):
            progress(position, len(found))
            if not is_candidate(entry):
                passed_over += 1
                continue
            try:
                header = read_header(entry.read(), entry.name)
            except DataError as error:
                refused.append(Refused(entry.path, entry.name, None, error))
                continue
            if header.digest in places:
                copies += 1
                continue
            places[header.digest] = entry
            by_series[header.series].append(header)
        files = EntryFiles(places)
        rows: list[dict[str, Any]] = []
        repaired = 0
        with Probe() as probe:
            for members in by_series.values():
                made, fixed, left = _Series(members, files, tuple(self.repair), probe).rows()
                rows += made
                repaired += fixed
                refused += [Refused(places[h.digest].path, h.name, h.patient or None, error) for h, error in left]
        told = {
            "format": "dicom",
            "files": len(places),
            "copies": copies,
            "passed_over": passed_over,
            "refused": len(refused),
            "repaired_series": repaired,
            "without_patient_id": sum(not row["declared"] for row in rows),
        }
        if refused and (self.unreadable == "stop" or not rows):
            first = "; ".join(f"{each.name}: {each.why.what}" for each in refused[:3])
            raise DataError(
                f"{path}: {len(refused)} of {len(found) - passed_over} files cannot be read: {first}",
                refused[0].why.way_out if len(refused) == 1 else "remove them, or say `unreadable: quarantine`",
            )
        if not rows:
            raise DataError(f"{path}: no DICOM file is in it", "name a folder, ZIP or DICOMDIR of DICOM files")
        rows.sort(key=lambda row: (row["subject"], row["study"], row["number"], row["row_id"]))
        if self.series is not None:
            kept = choose(rows, rule_of(self.series))
            told["left_by_rule"] = len(rows) - len(kept)
            rows = [rows[position] for position in kept]
            if not rows:
                raise DataError(f"{path}: no series fits the rule", "look at the series with `bedside cohort show`")
        return self._cohort(str(path), rows, files, told), refused

    def _cohort(self, label: str, rows: list[dict[str, Any]], files: EntryFiles, told: Mapping[str, Any]) -> Cohort:
        kinds: tuple[Kind, ...] = ("volume", "image", "video")
        used = [kind for kind in kinds if any(row.get(kind) is not None for row in rows)]
        declared = [Field(kind, kind) for kind in used]
        declared += [Field(name, kind, roles, unit=unit) for name, kind, roles, unit in _PLAIN]  # type: ignore[arg-type]
        types = {item.name: pl.Float64 if item.kind == "number" else pl.String for item in declared}
        columns = {"row_id": pl.String, "subject": pl.String, **types}
        frame = pl.DataFrame(
            {
                name: pl.Series(name, [row.get(name) for row in rows], dtype=kind, strict=False)
                for name, kind in columns.items()
            }
        )
        digest = json_digest({row["row_id"]: [row.get(kind) for kind in kinds] for row in rows})
        parameters = {"series": self.series, "repair": list(self.repair)}
        origin = origin_of(self.name, told, parameters, digest)
        made = assemble(label, frame, declared, subject="subject", row_id="row_id", origin=origin)
        return made.with_files(files)


class _Series:
    """The objects of one series."""

    def __init__(self, members: list[Header], files: EntryFiles, repair: tuple[str, ...], probe: Probe) -> None:
        self.members = sorted(members, key=lambda each: (each.number, each.instance, each.digest))
        self.files = files
        self.repair = repair
        self.probe = probe
        self.left: list[tuple[Header, DataError]] = []

    def rows(self) -> tuple[list[dict[str, Any]], int, list[tuple[Header, DataError]]]:
        """Its rows, how many of its stacks were repaired, and the objects left out with the reason."""
        self._refuse_same_instance()
        made: list[dict[str, Any]] = []
        repaired = 0
        slices = [each for each in self.members if each.frames == 1 and each.positions and each.samples == 1]
        stacked = len(slices) > 1
        if stacked:
            try:
                row, fixed = self._volume(slices)
                made.append(row)
                repaired += fixed
            except DataError as error:
                self.left += [(each, error) for each in slices]
        for each in self.members:
            if stacked and each in slices:
                continue
            try:
                made.append(self._alone(each))
            except DataError as error:
                self.left.append((each, error))
        return made, repaired, self.left

    def _refuse_same_instance(self) -> None:
        counts: dict[str, int] = defaultdict(int)
        for each in self.members:
            counts[each.instance] += 1
        error = DataError("another object has the same SOP Instance UID", "find out which of them is right")
        self.left += [(each, error) for each in self.members if counts[each.instance] > 1]
        self.members = [each for each in self.members if counts[each.instance] == 1]

    def _volume(self, slices: list[Header]) -> tuple[dict[str, Any], bool]:
        shapes = {(each.rows, each.columns, each.spacing) for each in slices}
        if len(shapes) > 1:
            raise DataError(
                f"slices of {len(shapes)} sizes or spacings in one series", "split the series, or resample it"
            )
        found = stack(
            [each.positions[0] for each in slices],
            [each.orientations[0] for each in slices],
            slices[0].spacing,
            [each.digest for each in slices],
            repair=self.repair,
        )
        ordered = [slices[i] for i in found.order]
        self._check_pixels(ordered)
        geometry = {"affine": found.affine.tolist(), "spacing": list(found.spacing), "space": "LPS"}
        if found.repaired:
            geometry["repaired"] = list(found.repaired)
        shape = (len(ordered), ordered[0].rows, ordered[0].columns)
        manifest = Manifest("volume", tuple(each.digest for each in ordered), DICOM, shape, geometry=geometry)
        self.files.put(manifest.to_bytes())
        row = _row(ordered[0], ordered[0].series, len(ordered), _plane(found.affine[:3, 2]))
        return {**row, "volume": manifest.digest, "spacing_between_slices": found.spacing[2]}, bool(found.repaired)

    def _alone(self, each: Header) -> dict[str, Any]:
        self._check_pixels([each])
        if each.frames == 1:
            manifest, _ = describe(self.files.get(each.digest))
            self.files.put(manifest.to_bytes())
            normal = _normal(each)
            return {
                **_row(each, each.instance, 1, None if normal is None else _plane(normal)),
                "image": manifest.digest,
            }
        if each.positions and each.samples == 1:
            return self._frames(each)
        shape = (each.frames, each.rows, each.columns, each.samples)
        manifest = Manifest("video", (each.digest,), DICOM, shape)
        self.files.put(manifest.to_bytes())
        return {**_row(each, each.instance, each.frames, None), "video": manifest.digest}

    def _frames(self, each: Header) -> dict[str, Any]:
        contents = [f"{each.digest}:{frame}" for frame in range(each.frames)]
        found = stack(each.positions, each.orientations, each.spacing, contents, repair=self.repair)
        geometry: dict[str, Any] = {
            "affine": found.affine.tolist(),
            "spacing": list(found.spacing),
            "space": "LPS",
            "frames": list(found.order),
        }
        if found.repaired:
            geometry["repaired"] = list(found.repaired)
        shape = (len(found.order), each.rows, each.columns)
        manifest = Manifest("volume", (each.digest,), DICOM, shape, geometry=geometry)
        self.files.put(manifest.to_bytes())
        row = _row(each, each.instance, len(found.order), _plane(found.affine[:3, 2]))
        return {**row, "volume": manifest.digest, "spacing_between_slices": found.spacing[2]}

    def _check_pixels(self, slices: Sequence[Header]) -> None:
        """Compressed frames are decoded once, elsewhere: their header tells nothing of whether they are whole."""
        for each in slices:
            if not each.compressed:
                continue
            shape = tuple(size for size in self.probe.check(self.files.get(each.digest)) if size != 1)
            told = tuple(size for size in (each.frames, each.rows, each.columns, each.samples) if size != 1)
            if shape != told:
                raise DataError(
                    f"the pixels decode to {shape}, the header says {told}", "fetch the file again from its source"
                )


def _row(header: Header, row_id: str, slices: int, plane: str | None) -> dict[str, Any]:
    between = (None, None) if header.spacing is None else header.spacing
    return {
        **header.told,
        "row_id": row_id,
        "subject": header.patient or f"study {header.study}",
        "declared": bool(header.patient),
        "study": header.study,
        "series": header.series,
        "number": header.number,
        "modality": header.modality or None,
        "slices": float(slices),
        "rows": float(header.rows),
        "columns": float(header.columns),
        "spacing_between_rows": between[0],
        "spacing_between_columns": between[1],
        "orientation": plane,
    }


def _normal(header: Header) -> tuple[float, ...] | None:
    if not header.orientations:
        return None
    a, b = header.orientations[0][:3], header.orientations[0][3:]
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _plane(normal: Any) -> str:
    """The plane whose normal is nearest."""
    sizes = [abs(float(each)) for each in normal]
    return _PLANES[sizes.index(max(sizes))]
