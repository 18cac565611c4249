"""The Open Inference Protocol v2 over HTTP: rows as tensors, one a field, JSON or the binary extension on the way in.

https://github.com/kserve/open-inference-protocol (inference_rest.md), and Triton's binary tensor data extension. A
number is FP64 (NaN where unknown), a yes/no BOOL, anything else BYTES (empty where unknown; an image is its file's
bytes, in JSON in base64). A field that is not sent is unknown in every row. Programs sign in with a bearer token.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from bedside import __version__
from bedside.cohort.schema import Field as CohortField
from bedside.errors import BedsideError, DataError
from bedside.models.task import Classify, Multilabel
from bedside.serve.problems import NotThere, misfit, status_of
from bedside.serve.reading import Asked, from_rows
from bedside.serve.routes import caller_of, service_of
from bedside.serve.served import Served

HEADER_LENGTH = "inference-header-content-length"
NUMBERS = {
    "FP64": "<f8", "FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "INT8": "|i1",
    "UINT64": "<u8", "UINT32": "<u4", "UINT16": "<u2", "UINT8": "|u1",
}  # fmt: skip


class Tensor(BaseModel):
    """One input: rows of one field, shape [n] or [n, 1]."""

    model_config = ConfigDict(extra="allow")
    name: str
    shape: list[int] = Field(min_length=1, max_length=2)
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class Inference(BaseModel):
    """A request of the protocol."""

    model_config = ConfigDict(extra="allow")
    id: str | None = None
    inputs: list[Tensor] = Field(min_length=1)


def datatype(item: CohortField) -> str:
    """The datatype a field is sent as."""
    return {"number": "FP64", "boolean": "BOOL"}.get(item.kind, "BYTES")


def rows_of_tensors(served: Served, tensors: Sequence[Tensor], binary: bytes, most: int) -> list[dict[str, Any]]:
    """Tensors as JSON rows, at most so many; raises DataError for one that does not fit its field, its shape, or the
    others."""
    n = tensors[0].shape[0]
    if not 0 < n <= most:
        raise DataError(f"shape {tensors[0].shape} is not of 1 to {most} rows", "send fewer, or a job")
    columns: dict[str, list[Any]] = {item.name: [None] * n for item in served.opened.schema.inputs}
    at = 0
    for tensor in tensors:
        if tensor.name not in served.opened.schema:
            raise DataError(f"the model takes no tensor '{tensor.name[:100]}'", "ask /v2/models/NAME for its inputs")
        if tensor.shape[0] != n or math.prod(tensor.shape) != n:
            raise DataError(f"tensor '{tensor.name}' has shape {tensor.shape}", f"every tensor has shape [{n}] here")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            values = tensor.data or []
        else:
            if not isinstance(size, int) or not 0 <= size <= len(binary) - at:
                raise DataError(f"tensor '{tensor.name}' has more binary data than was sent", "send it all")
            values, at = unpacked(tensor, binary[at : at + size]), at + size
        if len(values) != n:
            raise DataError(f"tensor '{tensor.name}' holds {len(values)} values, not {n}", "one a row")
        item = served.opened.schema[tensor.name]
        columns[tensor.name] = [_value(item, each, packed=size is not None) for each in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def unpacked(tensor: Tensor, data: bytes) -> list[Any]:
    """The values of a binary tensor (little-endian; BYTES each after its length in 4 bytes)."""
    if tensor.datatype == "BYTES":
        return list(_pieces(data, tensor.name))
    if tensor.datatype == "BOOL":
        return [bool(byte) for byte in data]
    if tensor.datatype not in NUMBERS or len(data) % np.dtype(NUMBERS[tensor.datatype]).itemsize:
        raise DataError(f"tensor '{tensor.name}' is no {tensor.datatype[:20]}", "see /v2/models/NAME")
    return list(np.frombuffer(data, dtype=NUMBERS[tensor.datatype]).astype(np.float64).tolist())


def _pieces(data: bytes, name: str) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + length > len(data):
            raise DataError(f"tensor '{name}' ends inside a value", "send it all")
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def _value(item: CohortField, value: Any, *, packed: bool) -> Any:
    """A tensor's value as the JSON row has it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if item.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise DataError(f"tensor '{item.name}' is FP64", "send numbers, NaN where unknown")
        return None if value is None or math.isnan(value) else float(value)
    if isinstance(value, bytes):
        if item.kind == "image":
            return base64.b64encode(value).decode() if value else None
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise DataError(f"tensor '{item.name}' is not UTF-8", "send text") from None
    return value if value != "" else None


def outputs_of(served: Served, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answers as output tensors; raises DataError where the stage withholds them."""
    if any("withheld" in each for each in found):
        raise DataError("computed and recorded, not shown: the release is at the stage shadow", "approve it for assist")
    n, told = len(found), [each["prediction"] for each in found]
    out = [_tensor("audit", "INT64", [n], [each["audit"] for each in found])]
    task = served.task
    if isinstance(task, Multilabel):
        for i, label in enumerate(task.labels):
            values = [each["labels"][i]["probability"] for each in told]
            out.append(_tensor(f"probability:{label.target}", "FP64", [n], values))
    elif isinstance(task, Classify):
        flat = [p for each in told for p in each["probabilities"].values()]
        out.append(_tensor("probabilities", "FP64", [n, len(task.classes)], flat))
        out.append(_tensor("call", "BYTES", [n], [each["call"] for each in told]))
        if task.binary:
            out.append(_tensor("probability", "FP64", [n], [each["probability"] for each in told]))
    else:
        out.append(_tensor("value", "FP64", [n], [each["value"] for each in told]))
    return out


def _tensor(name: str, kind: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": shape, "data": data}


async def server(request: Request) -> dict[str, Any]:
    """Server metadata."""
    return {"name": "bedside", "version": __version__, "extensions": ["binary_tensor_data"]}


async def live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


async def ready(request: Request) -> Response:
    """Whether models are loaded."""
    done = service_of(request).ready
    return JSONResponse({"ready": done}, 200 if done else 503)


def _served(request: Request) -> Served:
    version = request.path_params.get("version")
    found = service_of(request).registry.state.find(version or request.path_params["model"])
    if found.name != request.path_params["model"].partition("@")[0]:
        raise NotThere("that version is of another model", "ask /v2/models/NAME for its versions")
    return found


async def model_ready(request: Request) -> Response:
    """Whether a model is served."""
    try:
        return JSONResponse({"name": _served(request).name, "ready": True})
    except BedsideError as error:
        return JSONResponse({"error": str(error)}, status_of(error))


async def model_metadata(request: Request) -> Response:
    """What a model takes and gives."""
    try:
        served = _served(request)
    except BedsideError as error:
        return JSONResponse({"error": str(error)}, status_of(error))
    inputs = [{"name": f.name, "datatype": datatype(f), "shape": [-1]} for f in served.opened.schema.inputs]
    names: list[tuple[str, str, list[int]]] = [("audit", "INT64", [-1])]
    task = served.task
    if isinstance(task, Multilabel):
        names += [(f"probability:{label.target}", "FP64", [-1]) for label in task.labels]
    elif isinstance(task, Classify):
        names += [("probabilities", "FP64", [-1, len(task.classes)]), ("call", "BYTES", [-1])]
        names += [("probability", "FP64", [-1])] if task.binary else []
    else:
        names.append(("value", "FP64", [-1]))
    outputs = [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in names]
    versions = [each.digest[:12] for each in service_of(request).registry.state.of(served.name)]
    told = {"name": served.name, "versions": versions, "platform": "bedside", "inputs": inputs, "outputs": outputs}
    return JSONResponse(told)


async def infer(request: Request) -> Response:
    """Answer rows sent as tensors; each has its audit row, whose number is the output `audit`."""
    service = service_of(request)
    body = await request.body()
    try:
        length = request.headers.get(HEADER_LENGTH, str(len(body)))
        if not length.isdigit() or int(length) > len(body):
            raise DataError("the header's length is not that of the body", f"see {HEADER_LENGTH}")
        try:
            asked = Inference.model_validate(json.loads(body[: int(length)]))
        except ValidationError as error:
            raise DataError(misfit(error.errors()), "see the Open Inference Protocol, version 2") from None
        except (ValueError, RecursionError):
            raise DataError("the body is not JSON", "see the Open Inference Protocol, version 2") from None
        served = _served(request)

        def read() -> Asked:
            limits = service.config.limits
            return from_rows(served, rows_of_tensors(served, asked.inputs, body[int(length) :], limits.rows), limits)

        found = await service.answer(caller_of(request), served, read, purpose="predict", explained=False)
        outputs = outputs_of(served, found["answers"])
    except BedsideError as error:
        return JSONResponse({"error": str(error)}, status_of(error))
    head = {"model_name": served.name, "model_version": served.digest[:12], "id": asked.id or found["request"]}
    return JSONResponse({**head, "outputs": outputs})


def add_inference_routes(app: FastAPI) -> None:
    """Put the protocol's routes on the application."""
    for method, path, endpoint in (
        ("GET", "/v2", server),
        ("GET", "/v2/health/live", live),
        ("GET", "/v2/health/ready", ready),
        ("GET", "/v2/models/{model}", model_metadata),
        ("GET", "/v2/models/{model}/ready", model_ready),
        ("POST", "/v2/models/{model}/infer", infer),
        ("GET", "/v2/models/{model}/versions/{version}", model_metadata),
        ("GET", "/v2/models/{model}/versions/{version}/ready", model_ready),
        ("POST", "/v2/models/{model}/versions/{version}/infer", infer),
    ):
        app.add_api_route(path, endpoint, methods=[method], include_in_schema=False)
