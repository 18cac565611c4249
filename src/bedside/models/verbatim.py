"""Every number that stands in the files of a model, so that a rule can tell whether a patient's value is among them."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


def numbers_in(folder: Path) -> NDArray[np.float64]:
    """The distinct finite numbers in all files below a folder: JSON, text, archives of arrays, safetensors.

    Raises ValueError for a file of another kind: what cannot be read cannot be vouched for.
    """
    pieces = [np.zeros(0)]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            pieces += _numbers(path.name, path.read_bytes())
    found = np.unique(np.concatenate([np.ravel(piece) for piece in pieces]).astype(np.float64))
    return found[np.isfinite(found)]


def _numbers(name: str, data: bytes) -> Iterator[NDArray[Any]]:
    kind = name.rpartition(".")[2]
    if kind == "json":
        yield from _of_json(json.loads(data))
    elif kind == "txt":
        yield np.array(_NUMBER.findall(data.decode()), dtype=np.float64)
    elif kind == "npy":
        yield from _of_array(np.load(io.BytesIO(data), allow_pickle=False))
    elif kind in ("skops", "npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from _numbers(member, archive.read(member))
    elif kind == "safetensors":
        from safetensors.numpy import load

        for array in load(data).values():
            yield from _of_array(array)
    else:
        raise ValueError(f"{name}: not a kind of file that a model is stored in")


def _of_array(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    if array.dtype.names is not None:
        for field in array.dtype.names:
            yield from _of_array(array[field])
    elif array.dtype.kind in "fiu":
        yield array
    elif array.dtype.kind in "US":
        for text in array.ravel().tolist():
            yield np.array(_NUMBER.findall(str(text)), dtype=np.float64)


def _of_json(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _of_json(item)
    elif isinstance(value, list):
        for item in value:
            yield from _of_json(item)
    elif isinstance(value, str):
        yield np.array(_NUMBER.findall(value), dtype=np.float64)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield np.array([float(value)])
