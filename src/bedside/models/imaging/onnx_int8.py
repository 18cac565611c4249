"""Eight-bit integers: a serving form whose convolutions and products compute in whole numbers.

Static quantisation in QDQ form, activations unsigned and weights signed per channel (what processors multiply fast),
ranges from calibration images; the layer that answers stays in 32-bit floating point, so that no logit is clipped.
Source: Jacob 2018; the settings are those of ONNX Runtime's guide for x86 processors.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, MissingExtra, PlanError
from bedside.models.imaging.onnx_export import quiet
from bedside.models.imaging.onnx_network import IMAGES, LOGITS, OnnxNetwork, ServedGraph
from bedside.models.seeded import shuffled

IMAGES_A_CLASS = 32
FLOAT = "float32"
INT8 = "int8"


def quantised(network: OnnxNetwork, train: Cohort, codes: NDArray[np.int64], seed: int) -> OnnxNetwork:
    """The serving form in eight bits, its ranges taken from as many images of each class.

    `train` are rows of the training part as the network sees them, `codes` (rows,) their classes. Raises PlanError for
    a network that is in eight bits already, DataError when a class has no image, MissingExtra without onnx.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError:
        raise MissingExtra("imaging", "quantisation") from None
    served = network.served
    if served.made["precision"] != FLOAT:
        raise PlanError(f"this network computes in {served.made['precision']} already", "compress the release it is of")
    rows = balanced(codes, train["row_id"].to_list(), len(served.task.classes), seed)
    images = network.inputs(train.take(rows))
    model = onnx.load_from_string(served.graph)
    with TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            str(target),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_answering(model),
        )
        graph = target.read_bytes()
    made = {**served.made, "precision": INT8, "calibration_images": len(rows)}
    return OnnxNetwork.of(ServedGraph(served.task, served.pixels, _canonical(graph), served.head, made))


def balanced(codes: NDArray[np.int64], ids: list[str], classes: int, seed: int) -> NDArray[np.int64]:
    """Rows of which each class has as many, at most 32, chosen by the seed and the ids alone."""
    counts = np.bincount(codes[codes >= 0], minlength=classes)
    if counts.min() == 0:
        raise DataError("a class has no image to calibrate on", "give data with every class")
    each = min(IMAGES_A_CLASS, int(counts.min()))
    order = shuffled(ids, seed, "calibration images")
    return np.sort(np.concatenate([order[codes[order] == code][:each] for code in range(classes)]))


class _Reader:
    """Images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next input, None after the last."""
        image = next(self._left, None)
        return None if image is None else {IMAGES: image[None]}


def _answering(model: Any) -> list[str]:
    """The nodes from the last product of matrices to the logits."""
    maker = {output: node for node in model.graph.node for output in node.output}
    names, output = [], LOGITS
    while output in maker:
        node = maker[output]
        names.append(node.name)
        if node.op_type in ("Gemm", "MatMul"):
            break
        output = node.input[0]
    return names


def _canonical(graph: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(graph)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    found: bytes = model.SerializeToString(deterministic=True)
    return found
