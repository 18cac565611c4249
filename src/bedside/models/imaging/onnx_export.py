"""From a trained network to its serving form: by torch's graph capture, else by tracing; checked either way."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bedside.errors import BedsideError, MissingExtra
from bedside.models.imaging.onnx_network import FEATURES, IMAGES, LOGITS, OnnxNetwork, ServedGraph, session
from bedside.models.imaging.pixels import Pixels
from bedside.models.task import Classify, Multilabel

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18
CLOSE = 1e-4  # of the largest logit: what sums in another order differ by
_EXPORTERS = ("dynamo", "legacy")


def exported(
    network: nn.Module, layer: str, pixels: Pixels, task: Classify | Multilabel, made: dict[str, Any]
) -> OnnxNetwork:
    """The serving form of a network in evaluation mode whose last map is `layer`'s output; `made` is told in it.

    Each exporter's graph is run on random images and refused unless it answers as the network does; which one it was
    stands in `made`. Raises BedsideError when neither does, MissingExtra without onnx.
    """
    import torch

    _installed()
    images = np.random.default_rng(0).normal(size=(3, len(pixels.mean), pixels.size, pixels.size)).astype(np.float32)
    with torch.inference_mode():
        logits, features = _with_map(network, layer)(torch.from_numpy(images))
        head = _head(network, features, logits)
    answers = [logits.numpy()] if head is None else [logits.numpy(), features.numpy()]
    why: dict[str, str] = {}
    for exporter in _EXPORTERS:
        try:
            graph = _bare(_exported(network, layer if head is not None else None, images[:2], exporter))
            gap = _gap(graph, images, answers)
        except Exception as error:  # what an exporter raises depends on the operator that it does not know
            why[exporter] = type(error).__name__
            continue
        if gap <= CLOSE:
            told = {**made, "exporter": exporter, "opset": OPSET, "precision": "float32", "refused": why}
            return OnnxNetwork.of(ServedGraph(task, pixels, graph, head, told))
        why[exporter] = f"differs by {gap:.1e}"
    raise BedsideError(f"the network cannot be exported to ONNX: {why}", "choose a network of the catalogue")


def _installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("imaging", "the serving form of a network") from None


def _with_map(network: nn.Module, layer: str | None) -> nn.Module:
    """The network as one that returns (logits, output of the layer), or the logits alone."""
    from torch import nn

    class WithMap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Any:
            if layer is None:
                return self.network(images)
            held: list[Tensor] = []
            module = dict(self.network.named_modules())[layer]
            handle = module.register_forward_hook(lambda _module, _given, output: held.append(output))
            try:
                logits = self.network(images)
            finally:
                handle.remove()
            return logits, held[0]

    return WithMap().eval()


def _head(network: nn.Module, features: Tensor, logits: Tensor) -> NDArray[np.float32] | None:
    """Weights (classes, k) of the last linear layer, when the logits are its answer to the mean of the features."""
    from torch import nn

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear or features.ndim != 4 or linear[-1].in_features != features.shape[1]:
        return None
    last = linear[-1]
    if last.out_features != logits.shape[1]:
        return None
    found = last(features.mean(dim=(2, 3)))
    if float((found - logits).abs().max()) > CLOSE * max(1.0, float(logits.abs().max())):
        return None
    return np.array(last.weight.detach().numpy(), dtype=np.float32)


def _exported(network: nn.Module, layer: str | None, images: NDArray[np.float32], exporter: str) -> bytes:
    import torch

    names = [LOGITS] if layer is None else [LOGITS, FEATURES]
    module, given = _with_map(network, layer), (torch.from_numpy(images),)
    shared: dict[str, Any] = {"input_names": [IMAGES], "output_names": names, "opset_version": OPSET}
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.onnx.export(module, given, dynamo=True, dynamic_shapes=shapes, verbose=False, **shared)
            found: bytes = program.model_proto.SerializeToString()
            return found
        written = io.BytesIO()
        axes = {name: {0: "batch"} for name in (IMAGES, *names)}
        torch.onnx.export(module, given, written, dynamo=False, dynamic_axes=axes, **shared)
        return written.getvalue()


def _bare(graph: bytes) -> bytes:
    """The graph without what exporters note of sources and paths, in canonical bytes."""
    import onnx

    model = onnx.load_from_string(graph)
    model.graph.name = "network"
    del model.graph.value_info[:]
    parts = [*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output, *model.functions]
    for each in (model, model.graph, *parts):
        each.doc_string = ""
        del each.metadata_props[:]
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def _gap(graph: bytes, images: NDArray[np.float32], answers: list[NDArray[np.float32]]) -> float:
    """The largest difference between the graph's answers and the network's, as a share of the largest answer."""
    found = session(graph).run(None, {IMAGES: images})
    return max(
        float(np.abs(mine - theirs).max()) / max(1.0, float(np.abs(theirs).max()))
        for mine, theirs in zip(found, answers, strict=True)
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters log of libraries they would also know."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
