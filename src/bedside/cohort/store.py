"""Store: bytes and cohorts by their digest, in a folder or on any fsspec URL.

    objects/ab/abcd…            the bytes whose SHA-256 is abcd…
    cohorts/<digest>/<manifest> a marker: the cohort with this logical digest is described by that manifest object
    erasing/<digest>            what an erasure still has to remove; finished by `sweep` if it was interrupted
    tmp/                        files being written

A manifest (`format` 1) names the Parquet objects of table and events, the schema and the lineage. The same content
reached by two ways has one cohort digest and two manifests.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from bedside.cohort.atomic import explained, temporary_file
from bedside.cohort.blobs import FolderBlobs, blobs_at
from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.cohort.manifest import file_fields, objects_of
from bedside.cohort.schema import Schema
from bedside.errors import BedsideError, DataError, IntegrityError

FORMAT = 1
ROW_GROUP = 131_072

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
_BATCH, _BATCH_BYTES = 256, 64 << 20  # open files, and bytes held in memory, of a bulk put


class Store:
    """Content-addressed bytes at a URL (a path, `file://`, `memory://`, `s3://` …).

    A local write is durable when the call returns, and kill −9 at any point leaves nothing half there; every read is
    checked against its digest. Raises IntegrityError for bytes that are missing or not what their digest says, and
    BedsideError when the place cannot be written.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._blobs = blobs_at(url)

    def __repr__(self) -> str:
        return f"Store({self._blobs.path('')!r})"

    # -- bytes ---------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Keep bytes; returns their digest. A damaged object of the same digest is replaced."""
        digest = sha256_hex(data)
        if not self._is_whole(digest):
            self._blobs.write(_object(digest), data)
        return digest

    def put_all(self, items: Iterable[bytes]) -> list[str]:
        """Keep many bytes at a fraction of the cost of `put`; returns their digests in order.

        What the store has already is not written again, nor verified. All are durable when the call returns.
        """
        digests: list[str] = []
        batch: dict[str, bytes] = {}
        size = 0
        for data in items:
            digest = sha256_hex(data)
            digests.append(digest)
            if digest not in batch and not self.has(digest):
                batch[digest] = data
                size += len(data)
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                self._write_batch(batch)
                batch, size = {}, 0
        self._write_batch(batch)
        return digests

    def _write_batch(self, batch: Mapping[str, bytes]) -> None:
        if batch:
            self._blobs.write_all([(_object(digest), data) for digest, data in batch.items()])

    def put_file(self, path: Path | str) -> str:
        """Keep the bytes of a local file, streamed; returns their digest."""
        path = Path(path)
        try:
            source = path.open("rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", "check the path") from error
        with source:
            if not isinstance(self._blobs, FolderBlobs):
                digest = _hash(source)
                self._blobs.write_file(_object(digest), path)
                return digest
            state = hashlib.sha256()
            with explained(self.url), temporary_file(self._blobs.aside) as aside:
                with aside.open("wb") as target:
                    while block := source.read(_BLOCK):
                        state.update(block)
                        target.write(block)
                self._blobs.write_file(_object(state.hexdigest()), aside)
            return state.hexdigest()

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, verified."""
        with self.open(digest) as stream:
            return stream.read()

    def open(self, digest: str) -> BinaryIO:
        """A stream at the start of the bytes of a digest, verified before it is handed out."""
        try:
            stream = self._blobs.open(_object(digest))
        except FileNotFoundError:
            raise IntegrityError(f"object {digest} is not in the store {self.url}", "run again what makes it") from None
        except OSError as error:
            raise BedsideError(f"{self.path_of(digest)} cannot be read: {error}", "check disk and rights") from error
        if _hash(stream) != digest:
            stream.close()
            raise IntegrityError(
                f"object {digest} in the store {self.url} was changed or damaged: its bytes have another digest",
                "restore it from a backup, or delete it and run again what makes it",
            )
        stream.seek(0)
        return stream

    def peek(self, digest: str, size: int) -> bytes:
        """The first bytes of an object that is here, not verified."""
        return self._blobs.head(_object(digest), size)

    def has(self, digest: str) -> bool:
        """Whether there is an object of this digest (its bytes are verified when read)."""
        return self._blobs.exists(_object(digest))

    def path_of(self, digest: str) -> str:
        """Where the bytes of a digest lie: a file's path, or a URL. Reading it there skips the verification."""
        return self._blobs.path(_object(digest))

    def delete(self, digest: str) -> None:
        """Remove an object; no error when it is not there."""
        self._blobs.remove(_object(digest))

    def digests(self) -> list[str]:
        """The digests of all objects, sorted."""
        found = (name.rsplit("/", 1)[1] for name in self._blobs.names("objects"))
        return sorted(name for name in found if _DIGEST.fullmatch(name))

    def put_json(self, value: Any) -> str:
        """Keep a JSON value as canonical JSON; returns its digest."""
        return self.put(canonical_json(value))

    def get_json(self, digest: str) -> Any:
        """The JSON value of a digest, verified."""
        return json.loads(self.get(digest))

    # -- cohorts -------------------------------------------------------------------------------------------------

    def put_cohort(self, cohort: Cohort) -> str:
        """Keep a cohort, with the files that its file-like fields name; returns its logical digest (`cohort.digest`).

        The files are there before the cohort is; a cohort that knows no files (`files` is None) brings none.
        """
        if cohort.files is not None and cohort.files is not self:
            named = set(_manifests_of(cohort))
            lacking = [each for each in objects_of(cohort) if not self.has(each)]
            for manifests in (False, True):  # a manifest that is here has its files here, also after a power cut
                self.put_all(cohort.files.get(each) for each in lacking if (each in named) == manifests)
        known = self._manifests(cohort.digest)
        whole = next((m for m in known.values() if all(self.has(item) for item in _parts_of(m))), None)
        if whole is not None:
            table, events = whole["table"], whole["events"]
        else:
            table = self._put_frame(cohort.frame)
            events = None if cohort.events is None else self._put_frame(cohort.events)
        manifest = self.put_json(
            {
                "format": FORMAT,
                "digest": cohort.digest,
                "rows": len(cohort),
                "schema": cohort.schema.to_json(),
                "table": table,
                "events": events,
                "lineage": [origin.to_json() for origin in cohort.lineage],
            }
        )
        self._blobs.write(f"{_folder(cohort.digest)}/{manifest}", b"1\n")
        return cohort.digest

    def get_cohort(self, digest: str, *, check: bool = True) -> Cohort:
        """The cohort of a logical digest. `check=False` verifies the bytes but does not recompute that digest."""
        manifests = self._manifests(digest)
        if not manifests:
            raise IntegrityError(f"cohort {digest} is not in the store {self.url}", "run again what makes it")
        manifest = manifests[min(manifests)]
        cohort = Cohort(
            Schema.from_json(manifest["schema"]),
            self._get_frame(manifest["table"]),
            None if manifest["events"] is None else self._get_frame(manifest["events"]),
            tuple(Origin.from_json(item) for item in manifest["lineage"]),
            files=self,
        )
        if not check:
            cohort.__dict__["digest"] = digest  # the cached property
        if cohort.digest != digest:
            raise IntegrityError(f"cohort {digest} has other content: {cohort.digest}", "restore it from a backup")
        return cohort

    def has_cohort(self, digest: str) -> bool:
        """Whether a cohort of this logical digest was put here."""
        return bool(self._blobs.names(_folder(digest)))

    def cohorts(self) -> list[str]:
        """The logical digests of all cohorts, sorted."""
        return sorted({name.split("/")[1] for name in self._blobs.names("cohorts")})

    def lineages(self, digest: str) -> list[tuple[Origin, ...]]:
        """Every lineage by which this content was reached."""
        manifests = self._manifests(digest)
        return [tuple(Origin.from_json(item) for item in manifests[key]["lineage"]) for key in sorted(manifests)]

    def subjects(self, digest: str) -> pl.Series:
        """The distinct subjects of a cohort's table and events, without reading its other columns."""
        found = []
        for manifest in self._manifests(digest).values():
            for item, column in ((manifest["table"], "subject"), (manifest["events"], "subject_id")):
                if item is not None:
                    found.append(self._get_frame(item, [column])[column].rename("subject"))
        return pl.concat(found).unique() if found else pl.Series("subject", [], dtype=pl.String)

    # -- removal -------------------------------------------------------------------------------------------------

    def erase(self, *, cohorts: Collection[str] = (), objects: Collection[str] = ()) -> list[str]:
        """Remove cohorts with their bytes, and further objects; returns the digests of the objects removed.

        What another cohort's manifest still names stays. The intention is written down first: an erasure that was
        interrupted is finished by the next `sweep` or `erase`.
        """
        wanted = set(objects)
        for digest in cohorts:
            for key, manifest in self._manifests(digest).items():
                wanted |= {key, *_parts_of(manifest)}
        intention = canonical_json({"format": FORMAT, "cohorts": sorted(cohorts), "objects": sorted(wanted)})
        self._blobs.write(f"erasing/{sha256_hex(intention)}", intention)
        return self._finish_erasing()

    def sweep(self) -> int:
        """Remove what killed writers left aside and finish interrupted erasures; returns how many files went."""
        return self._blobs.sweep() + len(self._finish_erasing())

    def _finish_erasing(self) -> list[str]:
        removed = []
        for name in self._blobs.names("erasing"):
            with self._blobs.open(name) as stream:
                data = stream.read()
            if sha256_hex(data) != name.rsplit("/", 1)[1]:
                raise IntegrityError(f"{self._blobs.path(name)} was changed or damaged", "repeat the erasure")
            intention = json.loads(data)
            for digest in intention["cohorts"]:
                for marker in self._blobs.names(_folder(digest)):
                    self._blobs.remove(marker)
            kept = self._named_by_manifests()
            for digest in intention["objects"]:
                if digest not in kept and self.has(digest):
                    self.delete(digest)
                    removed.append(digest)
            self._blobs.remove(name)
        return removed

    # -- inside --------------------------------------------------------------------------------------------------

    def _is_whole(self, digest: str) -> bool:
        try:
            self.open(digest).close()
        except IntegrityError:
            return False
        return True

    def _manifests(self, digest: str) -> dict[str, dict[str, Any]]:
        """The manifests of a cohort by their digest; raises IntegrityError for one that describes another cohort."""
        found = {}
        for name in self._blobs.names(_folder(digest)):
            key = name.rsplit("/", 1)[1]
            manifest = self.get_json(key)
            if manifest.get("format") != FORMAT:
                raise DataError(
                    f"cohort format {manifest.get('format')!r} is not known", "read it with a newer bedside"
                )
            if manifest["digest"] != digest:
                raise IntegrityError(f"the manifest of cohort {digest} describes another cohort", "restore the store")
            found[key] = manifest
        return found

    def _named_by_manifests(self) -> set[str]:
        named: set[str] = set()
        for digest in self.cohorts():
            for key, manifest in self._manifests(digest).items():
                named |= {key, *_parts_of(manifest)}
        return named

    def _put_frame(self, frame: pl.DataFrame) -> str:
        if isinstance(self._blobs, FolderBlobs):
            with explained(self.url), temporary_file(self._blobs.aside) as aside:
                _write_parquet(frame, aside)
                with aside.open("rb") as stream:
                    digest = _hash(stream)
                self._blobs.write_file(_object(digest), aside)
                return digest
        buffer = io.BytesIO()
        _write_parquet(frame, buffer)
        return self.put(buffer.getvalue())

    def _get_frame(self, digest: str, columns: list[str] | None = None) -> pl.DataFrame:
        with self.open(digest) as stream:
            return pl.read_parquet(stream, columns=columns)


def _write_parquet(frame: pl.DataFrame, target: Path | io.BytesIO) -> None:
    # level 1 halves the time of level 3 for a few per cent of size
    frame.write_parquet(target, compression="zstd", compression_level=1, row_group_size=ROW_GROUP)


def _parts_of(manifest: dict[str, Any]) -> Iterable[str]:
    return [cast(str, manifest[part]) for part in ("table", "events") if manifest[part] is not None]


def _manifests_of(cohort: Cohort) -> Iterable[str]:
    return (digest for name in file_fields(cohort) for digest in cohort[name].drop_nulls())


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise BedsideError(f"'{digest[:80]}' is not a digest", "a digest is 64 lower-case hexadecimal digits")
    return digest


def _object(digest: str) -> str:
    return f"objects/{_checked(digest)[:2]}/{digest}"


def _folder(digest: str) -> str:
    return f"cohorts/{_checked(digest)}"


def _hash(stream: BinaryIO) -> str:
    return hashlib.file_digest(cast(io.BytesIO, stream), "sha256").hexdigest()
