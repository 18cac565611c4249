"""The Open Inference Protocol v2: tensors in, tensors out, the same answers as everywhere."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from tests.serving import Node


def tensors(row: dict[str, Any], n: int = 2) -> list[dict[str, Any]]:
    kinds = {float: "FP64", int: "FP64", bool: "BOOL", str: "BYTES"}
    return [
        {"name": name, "shape": [n], "datatype": kinds[type(value)], "data": [value] * n}
        for name, value in row.items()
        if value is not None
    ]


def test_a_model_says_what_it_takes_and_answers_as_predict_does(node: Node) -> None:
    row = node.service.registry.state.find("trees").example
    with node.caller("clinician") as caller:
        told = caller.get("/v2/models/trees").json()
        assert told["name"] == "trees" and len(told["versions"]) == 1
        kinds = {each["name"]: each["datatype"] for each in told["inputs"]}
        assert (kinds["age"], kinds["diabetes"], kinds["sex"]) == ("FP64", "BOOL", "BYTES")
        found = caller.post("/v2/models/trees/infer", json={"id": "q1", "inputs": tensors(row)}).json()
        same = caller.post("/predict", json={"release": "trees", "row": row, "explain": False}).json()
        version = caller.post(f"/v2/models/trees/versions/{told['versions'][0]}/infer", json={"inputs": tensors(row)})
    assert (found["id"], found["model_version"]) == ("q1", told["versions"][0]) and version.status_code == 200
    out = {each["name"]: each for each in found["outputs"]}
    assert {(each["name"], each["datatype"]) for each in told["outputs"]} == {
        (name, each["datatype"]) for name, each in out.items()
    }
    p = same["answers"][0]["prediction"]["probability"]
    assert out["probability"]["data"] == [p, p] and out["probabilities"]["shape"] == [2, 2]
    for position in out["audit"]["data"]:
        assert node.service.audit.get(position)["prediction"]["probability"] == p  # type: ignore[index]


def test_binary_tensors_are_read_as_triton_writes_them(node: Node) -> None:
    """Triton's binary tensor data extension: JSON header, then the raw tensors in order, BYTES with their lengths."""
    example = node.service.registry.state.find("trees").example
    row = {name: value for name, value in example.items() if value is not None}
    inputs, blob = [], b""
    for name, value in row.items():
        if isinstance(value, bool):
            data, kind = bytes([value]), "BOOL"
        elif isinstance(value, str):
            data, kind = struct.pack("<I", len(value.encode())) + value.encode(), "BYTES"
        else:
            data, kind = np.array([value], dtype="<f8").tobytes(), "FP64"
        inputs.append({"name": name, "shape": [1, 1], "datatype": kind, "parameters": {"binary_data_size": len(data)}})
        blob += data
    head = json.dumps({"inputs": inputs}).encode()
    with node.caller("clinician") as caller:
        headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
        found = caller.post("/v2/models/trees/infer", content=head + blob, headers=headers)
        same = caller.post("/predict", json={"release": "trees", "row": example})
    assert found.status_code == 200, found.text
    p = next(each["data"] for each in found.json()["outputs"] if each["name"] == "probability")
    assert p == [same.json()["answers"][0]["prediction"]["probability"]]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "inputs"),
        ([{"name": "age", "shape": [2], "datatype": "FP64", "data": [1.0]}], "holds 1 values, not 2"),
        ([{"name": "age", "shape": [1, 3], "datatype": "FP64", "data": [1.0]}], "shape"),
        ([{"name": "colour", "shape": [1], "datatype": "FP64", "data": [1.0]}], "takes no tensor"),
        ([{"name": "age", "shape": [1], "datatype": "FP64", "data": ["old"]}], "is FP64"),
        ([{"name": "age", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}], "more binary"),
        ([{"name": "age", "shape": [99999999999], "datatype": "FP64", "data": []}], "rows"),
        ([{"name": "age", "shape": [-1], "datatype": "FP64", "data": []}], "rows"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(node: Node, inputs: Any, says: str) -> None:
    with node.caller("clinician") as caller:
        refused = caller.post("/v2/models/trees/infer", json={"inputs": inputs})
    assert refused.status_code == 422 and says in refused.json()["error"]


def test_stages_and_names_hold_here_too(node: Node) -> None:
    row = node.service.registry.state.find("quiet").example
    digest = node.service.registry.state.find("trees").digest[:12]
    with node.caller("clinician") as caller:
        hidden = caller.post("/v2/models/quiet/infer", json={"inputs": tensors(row, 1)})
        assert hidden.status_code == 422 and "shadow" in hidden.json()["error"]
        assert caller.get("/v2/models/nothing").status_code == 404
        assert caller.get("/v2/models/nothing/ready").status_code == 404
        assert caller.get(f"/v2/models/linear/versions/{digest}").status_code == 404
        assert caller.get("/v2/health/ready").json() == {"ready": True}
