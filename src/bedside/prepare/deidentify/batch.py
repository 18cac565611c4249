"""Batch: a source of files de-identified into a folder, one process a core; what cannot be read is refused by reason.

    OUT/dicom/<patient's pseudonym>/<study UID>/<series UID>/<instance UID>.dcm

No name of the source survives: all four are made by the mapping. A file is there wholly or not at all.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bedside.cohort.atomic import explained, locked_file, make_folder
from bedside.cohort.digest import sha256_hex
from bedside.cohort.quarantine import Refused
from bedside.errors import DataError
from bedside.intake.dicom.source import Entry, means_dicom
from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.document import Deidentified, deidentify
from bedside.prepare.deidentify.profile import Profile
from bedside.prepare.deidentify.pseudonyms import Pseudonyms

CHUNK = 16
FOLDER = "dicom"
# Modalities whose images often have text in the pixels.
BURNED_IN = frozenset({"US", "SC", "OT", "XA", "RF", "ES", "XC", "IVUS", "OCT", "OP", "GM", "DOC"})

_NAME = re.compile(r"[0-9]+(?:\.[0-9]+)*")


@dataclass
class Done:
    """What was done with a source: counts, the files refused, and (source, new path) of those to look at again."""

    files: int = 0
    passed_over: int = 0
    duplicates: int = 0
    slow: int = 0
    perhaps_burned_in: int = 0
    size: int = 0
    values: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    sample: list[tuple[Entry, Path, str]] = field(default_factory=list)

    def add(self, other: Done) -> None:
        """Count another part of the same source in."""
        self.files += other.files
        self.passed_over += other.passed_over
        self.duplicates += other.duplicates
        self.slow += other.slow
        self.perhaps_burned_in += other.perhaps_burned_in
        self.size += other.size
        self.values += other.values
        self.patients |= other.patients
        self.refused += other.refused
        self.sample += other.sample


def deidentify_files(
    files: Sequence[Entry],
    out: Path,
    profile: Profile,
    key: bytes,
    *,
    workers: int = 1,
    sample: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> Done:
    """De-identify files into OUT/dicom; about `sample` of them, evenly spread, are named in the outcome for a re-scan.

    `progress(done, all)` is called as files are finished. Raises BedsideError when the folder cannot be written.
    """
    root = out / FOLDER
    with explained(root):
        make_folder(root)
    every = max(1, len(files) // max(1, sample))
    chunks = [_Chunk(files[at : at + CHUNK], at, every, root, profile, key) for at in range(0, len(files), CHUNK)]
    total = Done()
    at = 0
    for chunk, made in zip(chunks, _mapped(chunks, workers), strict=True):
        total.add(made)
        at += len(chunk.files)
        if progress is not None:
            progress(at, len(files))
    return total


@dataclass(frozen=True)
class _Chunk:
    files: Sequence[Entry]
    first: int
    every: int
    root: Path
    profile: Profile
    key: bytes


def _mapped(chunks: Sequence[_Chunk], workers: int) -> Iterator[Done]:
    if workers <= 1 or len(chunks) <= 1:
        yield from map(_chunk, chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the parent's threads' locks
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        yield from pool.map(_chunk, chunks)


_appliers: dict[tuple[Profile, bytes], Applier] = {}


def _chunk(chunk: _Chunk) -> Done:
    applier = _appliers.setdefault((chunk.profile, chunk.key), Applier(chunk.profile, Pseudonyms(chunk.key)))
    done = Done()
    for position, entry in enumerate(chunk.files, start=chunk.first):
        try:
            data = entry.buffer()
            if not means_dicom(entry.name, data[:264]):
                done.passed_over += 1
                continue
            made = deidentify(data, applier)
            path = chunk.root.joinpath(*(safe_name(each) for each in (made.pseudonym, made.study, made.series)))
            new = write(path / f"{safe_name(made.instance)}.dcm", made)
        except DataError as error:
            done.refused.append(Refused(entry.path, entry.name, None, error))
            continue
        done.duplicates += not new
        done.files += 1
        done.slow += made.slow
        done.perhaps_burned_in += made.burned_in == "YES" or (made.modality in BURNED_IN and made.burned_in != "NO")
        done.size += sum(map(len, made.parts))
        done.values += made.done
        done.patients.add(made.pseudonym)
        if position % chunk.every == 0:
            done.sample.append((entry, path / f"{safe_name(made.instance)}.dcm", made.pseudonym))
    return done


def safe_name(value: str) -> str:
    """A UID or pseudonym as the name of a file; anything else (retained UIDs may be hostile) by its digest."""
    if len(value) <= 64 and (_NAME.fullmatch(value) or re.fullmatch(r"[A-Z2-7]{16}", value)):
        return value
    return "x" + sha256_hex(value.encode("utf-8", "surrogateescape"))[:32]


def write(path: Path, made: Deidentified) -> bool:
    """Write a file wholly or not at all; False where the same one is there already.

    Raises DataError when another object of the same SOP Instance UID is there.
    """
    with explained(path):
        try:
            aside, handle = locked_file(path.parent)
        except FileNotFoundError:
            make_folder(path.parent)
            aside, handle = locked_file(path.parent)
        try:
            with open(handle, "wb", buffering=1 << 16, closefd=False) as stream:  # a handle has no path
                stream.writelines(made.parts)
            os.link(aside, path)
        except FileExistsError:
            if path.read_bytes() == made.to_bytes():
                return False
            raise DataError(
                "another object with the same SOP Instance UID was written before", "find out which of the two is right"
            ) from None
        finally:
            aside.unlink()
            os.close(handle)
    return True


def refused_by_reason(refused: Iterable[Refused]) -> dict[str, int]:
    """How many files were refused for each reason, numbers in the reason aside."""
    return dict(Counter(re.sub(r"\d[\d,]*", "N", each.why.what) for each in refused).most_common())
