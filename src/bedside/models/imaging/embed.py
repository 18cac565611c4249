"""The step `embed`: what a frozen, pretrained encoder sees in an image, as numbers for any model of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, IntegrityError, PlanError
from bedside.evidence.estimate import Finding
from bedside.models import catalogue
from bedside.models.imaging.classifier import ImageClassifier
from bedside.models.imaging.pixels import Pixels
from bedside.models.imaging.squares import Squares, cached
from bedside.models.imaging.weights import Weights
from bedside.models.seeded import seeded, with_threads
from bedside.prepare.steps.base import FittedStep, chosen

if TYPE_CHECKING:
    from torch import nn

FILE = "encoder.safetensors"
AT_ONCE = 32  # images


@dataclass
class Embed(FittedStep):
    """Number fields `<image>.e0`, `.e1`, … in place of each image: means of the encoder's last maps (a linear probe
    when a logistic regression follows; Alain 2017).

    `model` names a network of the catalogue with its parameters (image, depth, colour, …), `weights` is {file, licence,
    digest}. Only the brightness that it is given to is learnt, from training; the encoder travels with the step.
    """

    model: Any = "resnet"
    weights: Mapping[str, str] | None = None
    fields: Sequence[str] | None = None

    name: ClassVar[str] = "embed"

    encoder_: bytes = field(default=b"", init=False, repr=False)
    built_: nn.Module | None = field(default=None, init=False, repr=False)

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__."""
        return {"model": self.model, "weights": self.weights, "fields": self.fields}

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which fields are images and how bright they are; raises PlanError for a model that is no network or
        lacks weights, DataError for weights that are not its own and when no input is an image."""
        from safetensors.torch import save

        network, weights = self._network(), self._weights()
        names = [item.name for item in chosen(train, ("image",), self.fields)]
        if not names:
            raise DataError("step 'embed': no input is an image", "read images, or remove it")
        pixels = {}
        with cached(run) as folder:
            for name in names:
                pixels[name] = Pixels.learnt(Squares(train, name, network.image, folder), name, network.colour)
        channels = {len(each.mean) for each in pixels.values()}
        if len(channels) > 1:
            raise PlanError(
                "step 'embed': some image fields are grey and some in colour", "give the model colour: true"
            )
        with seeded(0, threads=1):
            encoder, d = network.encoder(channels.pop())
        weights.into(encoder, network.name)
        self.encoder_ = save({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()})
        self.built_ = encoder.eval().requires_grad_(False)
        self.state_ = {
            "pixels": {name: each.to_json() for name, each in pixels.items()},
            "size": d,
            "threads": run.threads,
        }
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with the numbers as inputs, without the images; raises DataError for a row without its image."""
        names = list(self.state["pixels"])
        self.require(cohort, names)
        made, series = [], []
        for name in names:
            table = self._embedded(Pixels.from_json(self.state["pixels"][name]), cohort)
            made += [Field(f"{name}.e{i}", "number") for i in range(table.shape[1])]
            series += [pl.Series(f"{name}.e{i}", table[:, i]) for i in range(table.shape[1])]
        taken = [item.name for item in made if item.name in cohort.schema]
        if taken:
            raise DataError(f"there are fields already called {', '.join(taken[:5])}", "rename them")
        rest = cohort.keeping([name for name in cohort.schema.names if name not in names])
        schema = replace(rest.schema, fields=(*rest.schema.fields, *made))
        return rest.derive(rest.frame.hstack(series), schema)

    def findings(self) -> tuple[Finding, ...]:
        """Whose weights they are."""
        return (self._weights().finding(self._network().name),)

    def save(self, folder: Path) -> None:
        """Write step.json and encoder.safetensors into an existing empty folder."""
        super().save(folder)
        (folder / FILE).write_bytes(self.encoder_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`; raises IntegrityError when the weights are not of the network."""
        step = super().load(folder)
        step.encoder_ = (folder / FILE).read_bytes()
        return step

    def _embedded(self, pixels: Pixels, cohort: Cohort) -> NDArray[np.float64]:
        import torch

        encoder, squares = self._encoder(), Squares(cohort, pixels.field, pixels.size)
        out = np.zeros((len(cohort), self.state["size"]))
        with torch.inference_mode(), with_threads(self.state["threads"]):
            for start in range(0, len(cohort), AT_ONCE):
                rows = np.arange(start, min(start + AT_ONCE, len(cohort)))
                out[rows] = encoder(torch.from_numpy(pixels.taken(squares, rows))).mean(dim=(2, 3)).numpy()
        return out

    def _encoder(self) -> nn.Module:
        from safetensors import SafetensorError
        from safetensors.torch import load

        if self.built_ is None:
            first = next(iter(self.state["pixels"].values()))
            with seeded(0, threads=1):
                encoder, _ = self._network().encoder(len(first["mean"]))
            try:
                encoder.load_state_dict(load(self.encoder_))
            except (RuntimeError, KeyError, SafetensorError) as error:
                raise IntegrityError(f"{FILE} does not hold the weights of the encoder: {error}") from None
            self.built_ = encoder.eval().requires_grad_(False)
        return self.built_

    def _network(self) -> ImageClassifier:
        network = catalogue.build(self.model)
        if not isinstance(network, ImageClassifier):
            raise PlanError(f"step 'embed': '{network.name}' is no network for images", "name one, such as resnet")
        network.check()
        return network

    def _weights(self) -> Weights:
        if self.weights is None:
            raise PlanError("step 'embed' has no weights", "give weights: {file: …, licence: …, digest: …}")
        return Weights.of(self.weights)
