"""The serving form of an image network: an ONNX graph that answers as the network did, without the library it was
trained with.

The graph takes `images` (n, channels, side, side) and returns `logits` (n, classes), of labels one each, and, where a
map explains them, `features` (n, k, h, w), the last map before the global mean. With the weights of the linear layer
after it, the class activation map (Zhou 2016) follows by one sum, so a heat map needs no gradient.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError, DataError, IntegrityError, MissingExtra
from bedside.models.imaging.pixels import Pixels
from bedside.models.predictions import Predictions
from bedside.models.saved import SavedModel, not_fitted
from bedside.models.task import Classify, Multilabel, task_from_json

if TYPE_CHECKING:
    from bedside.cohort.store import Store

GRAPH = "network.onnx"
HEAD = "head.npy"
IMAGES, LOGITS, FEATURES = "images", "logits", "features"
AT_ONCE = 32  # images in a batch of predictions
_OUTSIDE_FILE = b"\n\x08location\x12"  # how a tensor names a file of its own, field 1 of a StringStringEntryProto


@dataclass(frozen=True, eq=False)
class ServedGraph:
    """What is served: the task, how pixels become inputs, the graph, and what is told of how it was made.

    `head` (classes or labels, k) are the weights that the mean of the features is multiplied with, None where the graph
    has no features. `made` is plain JSON: the model it was, the exporter, the precision.
    """

    task: Classify | Multilabel
    pixels: Pixels
    graph: bytes
    head: NDArray[np.float32] | None
    made: dict[str, Any]


@dataclass(eq=False)
class OnnxNetwork(SavedModel):
    """A network in ONNX Runtime on one processor core. It is exported from a trained one, never fitted."""

    name: ClassVar[str] = "onnx_network"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel")
    modality: ClassVar[str] = "image"
    extra: ClassVar[str | None] = "onnx"
    interpretable: ClassVar[bool] = False
    keeps_rows: ClassVar[bool] = False

    served_: ServedGraph | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, served: ServedGraph) -> OnnxNetwork:
        """The model of a graph."""
        made = cls()
        made.served_ = served
        return made

    def parameters(self) -> dict[str, Any]:
        """None: all of it was decided by the network it was."""
        return {}

    @property
    def served(self) -> ServedGraph:
        """What is served; raises BedsideError when there is nothing yet."""
        if self.served_ is None:
            raise not_fitted(self.name)
        return self.served_

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime's session, one thread, made on first use. Raises IntegrityError for a graph that is none."""
        return session(self.served.graph)

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Probabilities of classes or labels, one image a row, in row order; raises DataError for one without image."""
        task = self.served.task
        p = np.zeros((len(cohort), len(task.columns)))
        for rows, (logits,) in self._run(cohort, [LOGITS]):
            p[rows] = softmax(logits) if isinstance(task, Classify) else sigmoid(logits)
        return Predictions.of_probabilities(task, cohort.frame["row_id"], p)

    def of_label(self, name: str) -> OneServedLabel:
        """One label of several, as a network of two classes; raises DataError for an unknown one."""
        task = self.served.task
        targets = task.targets if isinstance(task, Multilabel) else ()
        if not isinstance(task, Multilabel) or name not in targets:
            raise DataError(f"no label is called '{name}'", "labels: " + (", ".join(targets) or "none"))
        index = targets.index(name)
        return OneServedLabel(self, task.labels[index], index)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The graph's answers (n, classes) to inputs (n, channels, side, side)."""
        found: NDArray[np.float32] = self.session.run([LOGITS], {IMAGES: images})[0]
        return found

    @property
    def has_maps(self) -> bool:
        """Whether it says where in an image it looked."""
        return self.served.head is not None

    def heat_maps(self, cohort: Cohort, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Maps ≥ 0 of shape (rows, h, w) of what speaks for `classes` (rows,): ReLU(Σ_k (w_ck − w̄_k) A_k) / hw.

        The same as Grad-CAM (Selvaraju 2017) of that class's logit less the mean of all, for a network that ends in a
        global mean and a linear layer. Of several labels, what speaks for the label of that number, w_c A alone (see
        `of_label` for what speaks against it). Raises BedsideError for a network that ends otherwise.
        """
        head = self.head
        centre = head.mean(axis=0) if isinstance(self.served.task, Classify) else 0.0
        return self.weighted_maps(cohort, (head - centre).astype(np.float64)[classes])

    @property
    def head(self) -> NDArray[np.float32]:
        """The weights that the mean of the features is multiplied with; raises BedsideError where there are none."""
        if self.served.head is None:
            raise BedsideError("this network has no last map that explains it", "explain it in a worker with torch")
        return self.served.head

    def weighted_maps(self, cohort: Cohort, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """ReLU(Σ_k w_nk A_k) / hw, shape (rows, h, w), with weights (rows, k) of the features."""
        maps = []
        for rows, (features,) in self._run(cohort, [FEATURES]):
            found = np.einsum("nk,nkhw->nhw", weights[rows], features.astype(np.float64))
            maps.append(np.maximum(found, 0.0) / np.prod(features.shape[2:]))
        return np.concatenate(maps) if maps else np.zeros((0, 1, 1))

    def inputs(self, cohort: Cohort) -> NDArray[np.float32]:
        """What the graph takes, shape (rows, channels, side, side)."""
        return self.served.pixels.inputs(cohort)

    def _run(self, cohort: Cohort, names: list[str]) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.float32]]]]:
        for start in range(0, len(cohort), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(cohort)))
            yield rows, self.session.run(names, {IMAGES: self.inputs(cohort.take(rows))})

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Task, pixels and origin as JSON; the graph, and the head as a plain array."""
        served = self.served
        files = {GRAPH: served.graph}
        if served.head is not None:
            written = io.BytesIO()
            np.save(written, served.head, allow_pickle=False)
            files[HEAD] = written.getvalue()
        return {"task": served.task.to_json(), "pixels": served.pixels.to_json(), "made": served.made}, files

    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`; raises IntegrityError for a task it cannot do, or a graph that names other files."""
        task = task_from_json(state["task"])
        if not isinstance(task, Classify | Multilabel):
            raise IntegrityError(f"'{self.name}' was saved with a task that it cannot do")
        if _OUTSIDE_FILE in files[GRAPH]:
            raise IntegrityError(f"{GRAPH} takes weights from other files", "a release's graph holds its own weights")
        head = np.load(io.BytesIO(files[HEAD]), allow_pickle=False) if HEAD in files else None
        self.served_ = ServedGraph(task, Pixels.from_json(state["pixels"]), files[GRAPH], head, state["made"])


class OneServedLabel:
    """One label of a served network, as a network of two classes."""

    keeps_rows = False

    def __init__(self, whole: OnnxNetwork, label: Classify, index: int) -> None:
        self.whole = whole
        self.name = whole.name
        self.label = label
        self.index = index

    def parameters(self) -> dict[str, Any]:
        """None, as the whole has none."""
        return {}

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Probabilities that the label does not apply and that it does, one image a row."""
        return self.whole.predict(cohort, out=out).of_label(self.label.target)

    @property
    def has_maps(self) -> bool:
        """Whether it says where in an image it looked."""
        return self.whole.has_maps

    def heat_maps(self, cohort: Cohort, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Maps ≥ 0 of what speaks for the label (class 1) or against it (class 0), shape (rows, h, w)."""
        weights = self.whole.head[self.index].astype(np.float64) / 2
        return self.whole.weighted_maps(cohort, np.where(classes == 1, 1.0, -1.0)[:, None] * weights)


def session(graph: bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the processor; raises MissingExtra without it, IntegrityError for what is no graph."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnx", "a network in service") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no public base
        raise IntegrityError(f"{GRAPH} cannot be run: {type(error).__name__}", "get the release again") from error


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities of logits, both of shape (n, classes)."""
    z = logits.astype(np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = e / e.sum(axis=1, keepdims=True)
    return found


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The probability of each logit by itself, both of shape (n, labels)."""
    z = logits.astype(np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)
