"""De-identification per core: Bedside beside dicognito and deid, on CTs of 526 kB and on small files.

    python benchmarks/deidentify.py [--large 200] [--small 400] [--peer-share 0.1]

Each de-identifies the same files, one process, to new files on the same disk: ours with the Basic Profile and shifted
dates, dicognito with its defaults, deid with its default recipe. The
peers work on a share of the files. Each is installed by pip into an environment of its own below the folder given by
--peers (default: build/peers of this checkout, made on the first run, which needs a package index). CPU seconds and
wall seconds of the work alone, without imports. Exit code 1 when a name that was planted can be read in our files.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from bedside.intake.dicom.source import Entry
from bedside.prepare.deidentify.batch import deidentify_files
from bedside.prepare.deidentify.profile import Profile

NAMED = "Mustermann"
PEERS = {"dicognito": "dicognito==0.19.0", "deid": "deid==0.4.13"}
_DICOGNITO = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import pydicom
from dicognito.anonymizer import Anonymizer
files, out = sorted(Path(sys.argv[1]).glob("*.dcm")), Path(sys.argv[2])
files = files[: int(sys.argv[3])]
wall, cpu = time.perf_counter(), time.process_time()
anonymizer = Anonymizer()
for file in files:
    dataset = pydicom.dcmread(file)
    anonymizer.anonymize(dataset)
    dataset.save_as(out / file.name)
print(json.dumps([len(files), time.perf_counter() - wall, time.process_time() - cpu]))
"""
_DEID = """
import json, logging, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from deid.config import DeidRecipe
from deid.dicom import get_identifiers, replace_identifiers
files, out = [str(each) for each in sorted(Path(sys.argv[1]).glob("*.dcm"))], sys.argv[2]
files = files[: int(sys.argv[3])]
wall, cpu = time.perf_counter(), time.process_time()
found = get_identifiers(files)
replace_identifiers(dicom_files=files, deid=DeidRecipe(), ids=found, save=True, output_folder=out, overwrite=True)
print(json.dumps([len(files), time.perf_counter() - wall, time.process_time() - cpu]))
"""


def main() -> None:
    """Print a table for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=200)
    parser.add_argument("--small", type=int, default=400)
    parser.add_argument("--peer-share", type=float, default=0.1)
    parser.add_argument("--peers", type=Path, default=Path(__file__).resolve().parents[1] / "build" / "peers")
    asked = parser.parse_args()
    pythons = {name: environment(asked.peers / name, package) for name, package in PEERS.items()}
    leaked = 0
    for kind, count, side in (("CT of 526 kB", asked.large, 512), ("CT of 39 kB", asked.small, 128)):
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            size = write_files(folder / "in", count, side)
            work = {"Bedside": ours(folder, count)}
            leaked += sum(NAMED.encode() in path.read_bytes() for path in (folder / "ours").rglob("*.dcm"))
            for name, script in (("dicognito", _DICOGNITO), ("deid", _DEID)):
                work[name] = peer(pythons[name], script, folder, name, max(5, int(count * asked.peer_share)))
            print(f"\n{kind} ({size:,} bytes), one process\n")
            print("| | files | files/s (wall) | files per CPU-s | ours : it |\n|---|---|---|---|---|")
            best = work["Bedside"]
            for name, (files, wall, cpu) in work.items():
                ratio = (best[0] / best[2]) / (files / cpu)
                print(f"| {name} | {files} | {files / wall:.1f} | {files / cpu:.1f} | {ratio:.1f}× |")
    if leaked:
        sys.exit(f"{leaked} files of ours hold the planted name")


def environment(folder: Path, package: str) -> Path:
    """The Python of a peer's own environment, made and filled once."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", package, "pydicom<4"], check=True)
    return python


def write_files(folder: Path, count: int, side: int) -> int:
    """CTs of `side` × `side` pixels with a scanner's header (pydicom's CT_small), each its own UID; bytes of one."""
    folder.mkdir()
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    dataset.Rows = dataset.Columns = side
    rng = np.random.default_rng(0)
    dataset.PatientName = f"{NAMED}^Max"
    for i in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(i)])
        dataset.PixelData = rng.integers(0, 2000, side * side, dtype=np.uint16).tobytes()
        stream = io.BytesIO()
        dataset.save_as(stream)
        (folder / f"{i:05d}.dcm").write_bytes(stream.getvalue())
    return len(stream.getvalue())


def ours(folder: Path, count: int) -> tuple[int, float, float]:
    """(files, wall seconds, CPU seconds) of ours, in this process."""
    files = [Entry(path, path.name) for path in sorted((folder / "in").glob("*.dcm"))]
    deidentify_files(files[:1], folder / "warm", Profile("shift"), b"0123456789abcdef", sample=0)  # imports
    wall, cpu = time.perf_counter(), time.process_time()
    done = deidentify_files(files, folder / "ours", Profile("shift"), b"0123456789abcdef", sample=0)
    if done.files != count:
        sys.exit(f"{count - done.files} files were refused")
    return count, time.perf_counter() - wall, time.process_time() - cpu


def peer(python: Path, script: str, folder: Path, name: str, count: int) -> tuple[int, float, float]:
    """The same of a peer, in its own environment."""
    (folder / name).mkdir()
    command = [python, "-c", script, folder / "in", folder / name, str(count)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    files, wall, cpu = json.loads(told.stdout.strip().splitlines()[-1])
    return int(files), float(wall), float(cpu)


if __name__ == "__main__":
    main()
