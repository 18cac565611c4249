"""scikit-learn-style estimators as bytes, without pickle: the skops format, written canonically and read strictly.

skops names members after memory addresses, so equal estimators give different bytes. Here every member is named by the
SHA-256 of its content, ids are left out (they only restore shared identity) and padding is zeroed: equal estimators
give equal bytes. Reading accepts only bytes that this module would write, whose types stand in `allowed.ALLOWED`, and
trees whose children and features exist (scikit-learn does not check them and would read foreign memory).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.digest import sha256_hex
from bedside.errors import IntegrityError, PlanError
from bedside.models.allowed import ALLOWED
from bedside.models.skops_alone import skops_io

SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEAF = -1
_WAY_OUT = "get the file again from where it came"


def pack(estimator: Any) -> bytes:
    """Canonical bytes of a fitted estimator; raises PlanError naming the types that no file may hold."""
    skops = skops_io()
    from skops.io.exceptions import UnsupportedTypeException

    try:
        raw = skops.dumps(estimator)
    except UnsupportedTypeException as error:
        raise PlanError(f"{type(estimator).__name__} cannot be saved without pickle: {error}", _CHOOSE) from None
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        members = {name: archive.read(name) for name in archive.namelist() if name != SCHEMA}
    refused = _refused_types(schema)
    if refused:
        raise PlanError(f"{type(estimator).__name__} holds types that no model file may hold: {refused}", _CHOOSE)
    kept: dict[str, bytes] = {}
    for node in _nodes(schema):
        node.pop("__id__", None)
        if "file" in node:
            data = _without_padding(members[node["file"]])
            node["file"] = f"{sha256_hex(data)}.npy"
            kept[node["file"]] = data
    return _archive(_dumps(schema), kept)


_CHOOSE = "choose another estimator, or add the type to bedside.models.allowed after review"


def unpack(data: bytes, name: str, n_features: int) -> Any:
    """The estimator of canonical bytes over `n_features` inputs; raises IntegrityError naming the file otherwise."""
    try:
        schema, members = _read(data)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, RecursionError, NotImplementedError) as error:
        raise IntegrityError(f"{name} is not a model file: {error}", _WAY_OUT) from None
    refused = _refused_types(schema)
    if refused:
        raise IntegrityError(f"{name} holds types that no model file may hold: {refused}", _WAY_OUT)
    try:
        _check_trees(schema, members, n_features)
        trusted = sorted(set().union(*ALLOWED.values()))
        return skops_io().loads(data, trusted=trusted)
    except Exception as error:  # whatever a crafted file provokes in skops or a library's __setstate__
        raise IntegrityError(f"{name} cannot be read: {error}", _WAY_OUT) from error


def _read(data: bytes) -> tuple[Any, dict[str, bytes]]:
    """Schema and members of an archive that is, byte for byte, what `_archive` writes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for item in archive.infolist():
            if item.compress_type != zipfile.ZIP_STORED or item.file_size > len(data):
                raise ValueError("its members are compressed")
        members = {name: archive.read(name) for name in archive.namelist()}
    text = members.pop(SCHEMA)
    schema = json.loads(text)
    wanted = {node["file"] for node in _nodes(schema) if "file" in node}
    if wanted != set(members):
        raise ValueError("it holds members that its schema does not name, or lacks some")
    for name, content in members.items():
        if name != f"{sha256_hex(content)}.npy":
            raise ValueError(f"member {name} was changed")
    if _dumps(schema) != text or _archive(text, members) != data:
        raise ValueError("it is not in canonical form")
    return schema, members


def _archive(schema: bytes, members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])
        archive.writestr(zipfile.ZipInfo(SCHEMA, _EPOCH), schema)
    return buffer.getvalue()


def _dumps(schema: Any) -> bytes:
    # Not RFC 8785: the order of a dictionary is part of the format.
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of a schema, wherever it hangs."""
    if isinstance(value, dict):
        if "__loader__" in value:
            yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _refused_types(schema: Any) -> list[str]:
    found = {(node["__loader__"], f"{node['__module__']}.{node['__class__']}") for node in _nodes(schema)}
    return sorted({name for loader, name in found if name not in ALLOWED.get(loader, ())})


def _without_padding(data: bytes) -> bytes:
    """An .npy member with the bytes between the fields of a record, and what leaves never use, set to zero."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    clean = np.zeros(array.shape, array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    if "missing_go_to_left" in array.dtype.names and "left_child" in array.dtype.names:
        clean["missing_go_to_left"][clean["left_child"] == _LEAF] = 0
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


def _check_trees(schema: Any, members: Mapping[str, bytes], n_features: int) -> None:
    """ValueError unless every tree is a tree: children after their parent and in range, features that exist."""
    for node in _nodes(schema):
        if node["__loader__"] == "TreeNode":
            if int(json.loads(node["__reduce__"]["args"]["content"][0]["content"])) != n_features:
                raise ValueError(f"a tree is not over {n_features} features")
            records = _array(node["content"]["content"]["nodes"], members)
            inner = records["left_child"] != _LEAF
            _check_children(records, inner, "left_child", "right_child")
            _check_range(records["feature"][inner], n_features)
        elif node["__class__"] == "TreePredictor":
            records = _array(node["content"]["content"]["nodes"], members)
            _check_children(records, records["is_leaf"] == 0, "left", "right")
            _check_range(records["feature_idx"], n_features)
            if records["is_categorical"].any():
                raise ValueError("categorical splits are not read")


def _array(node: Mapping[str, Any], members: Mapping[str, bytes]) -> NDArray[np.void]:
    array: NDArray[np.void] = np.load(io.BytesIO(members[node["file"]]), allow_pickle=False)
    return array


def _check_children(records: NDArray[np.void], inner: NDArray[np.bool_], *sides: str) -> None:
    parents = np.flatnonzero(inner)
    for side in sides:
        children = records[side][inner].astype(np.int64)
        if (children <= parents).any() or (children >= len(records)).any():
            raise ValueError("a tree's child is not one of its later nodes")


def _check_range(features: NDArray[np.int64], n_features: int) -> None:
    if features.size and (features.min() < 0 or features.max() >= n_features):
        raise ValueError("a tree splits on a feature that does not exist")
