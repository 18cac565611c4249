"""Pretrained weights from a local file: safetensors only, with licence and digest declared, names and shapes strict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.cohort.digest import sha256_hex
from bedside.errors import DataError, IntegrityError, PlanError
from bedside.evidence.estimate import Finding

if TYPE_CHECKING:
    from torch import Tensor, nn

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")
HEADS = frozenset({"head", "fc", "_fc", "classifier", "class_layers"})  # as Bedside, torchvision and MONAI call them
_TOLD = 5  # names in an error
_LARGEST = 4 << 30  # bytes


@dataclass(frozen=True)
class Weights:
    """A file of an encoder's weights: where it lies, under which licence, and the SHA-256 that it must have."""

    file: str
    licence: str
    digest: str

    @classmethod
    def of(cls, spec: Any) -> Weights:
        """From {file: …, licence: …, digest: …}; raises PlanError for what is missing, and for a pickle by its name."""
        if not isinstance(spec, Mapping) or set(spec) - {"file", "licence", "digest"} or "file" not in spec:
            raise PlanError(
                f"weights {spec!r} cannot be read", "write {file: x.safetensors, licence: …, digest: its SHA-256}"
            )
        name = Path(str(spec["file"])).name
        if Path(name).suffix.lower() in PICKLES:
            raise _a_pickle(name)
        if not isinstance(spec.get("licence"), str) or not spec["licence"].strip():
            raise PlanError(f"weights '{name}': no licence is declared", "say under which licence you may use them")
        digest = str(spec.get("digest", "")).removeprefix("sha256:").lower()
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            raise PlanError(
                f"weights '{name}': digest {spec.get('digest')!r} is no SHA-256", "give what sha256sum prints for it"
            )
        return cls(str(spec["file"]), spec["licence"].strip(), digest)

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return Path(self.file).name

    def read(self) -> dict[str, Tensor]:
        """The tensors; raises DataError for no file, PlanError for a pickle, IntegrityError for another digest."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = Path(self.file).expanduser()
        try:
            if path.stat().st_size > _LARGEST:
                raise DataError(f"weights '{self.name}' are larger than {_LARGEST >> 30} GiB", "is it the right file?")
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"weights '{path}' cannot be read: {error.strerror}", "give the path from the folder that you work in"
            ) from None
        if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise _a_pickle(self.name)
        found = sha256_hex(data)
        if found != self.digest:
            raise IntegrityError(
                f"weights '{self.name}' have the digest {found}, and {self.digest} is declared",
                "find out which file is meant before you change the digest",
            )
        try:
            tensors: dict[str, Tensor] = load(data)
        except SafetensorError as error:
            raise DataError(
                f"weights '{self.name}' are no safetensors: {error}", "save the state dict as such"
            ) from None
        return tensors

    def into(self, encoder: nn.Module, who: str) -> None:
        """Every weight of the encoder from the file, none made up and none left over but those of another head.

        Names are MONAI's (torchvision's, for a ResNet), with or without `features.` before them. Raises DataError
        naming what is missing, what does not belong, and shapes that differ.
        """
        given = {
            name.removeprefix("features."): tensor
            for name, tensor in self.read().items()
            if name.split(".", 1)[0] not in HEADS
        }
        wanted = encoder.state_dict()
        counts = {name for name in wanted if name.endswith("num_batches_tracked")}  # of no use, and often left out
        wrong = [f"{name} is missing" for name in wanted if name not in given and name not in counts]
        wrong += [f"{name} does not belong" for name in given if name not in wanted]
        wrong += [
            f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in wanted
            if name in given and given[name].shape != wanted[name].shape
        ]
        if wrong:
            rest = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise DataError(
                f"weights '{self.name}' are not of this '{who}': {'; '.join(wrong[:_TOLD])}{rest}",
                "give the parameters of the network that they are of (depth, width, colour: true for three channels)",
            )
        encoder.load_state_dict({**{name: wanted[name] for name in counts}, **given})

    def finding(self, who: str) -> Finding:
        """What the report and the card say of them."""
        values = {"model": who, "file": self.name, "licence": self.licence, "digest": self.digest}
        return Finding("network_pretrained", "caution", values)


def _a_pickle(name: str) -> PlanError:
    return PlanError(
        f"weights '{name}' are a pickle, which can run any program when it is read",
        "ask for them as .safetensors, or convert them on a machine that may be lost",
    )
