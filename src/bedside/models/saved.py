"""Saving and loading a model whose fitted state is one JSON object and a few files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

from bedside.cohort.digest import sha256_hex
from bedside.errors import BedsideError, IntegrityError
from bedside.models.digest import check_files, read_listing, write_listing

LISTING = "model.json"


class SavedModel(ABC):
    """A dataclass of parameters that learns a state; subclasses say what the state is.

    `model.json` holds name, parameters, state, and the SHA-256 of every other file. Raises IntegrityError when a file
    was changed, is missing or does not belong.
    """

    name: ClassVar[str]

    def parameters(self) -> dict[str, Any]:
        """The arguments of __init__, as JSON."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Fitted state: a JSON object, and files by name."""

    @abstractmethod
    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`."""

    def save(self, folder: Path) -> None:
        """Write the fitted state into an existing empty folder."""
        state, files = self.state()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        listing = {
            "name": self.name,
            "parameters": self.parameters(),
            "state": state,
            "files": {name: sha256_hex(data) for name, data in files.items()},
        }
        write_listing(folder / LISTING, listing, self.name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        listing = read_listing(folder / LISTING)
        if listing["name"] != cls.name:
            raise IntegrityError(f"the folder holds a model '{listing['name']}', not '{cls.name}'")
        check_files(folder, listing["files"], LISTING)
        model = cls(**listing["parameters"])
        model.restore(listing["state"], {name: (folder / name).read_bytes() for name in listing["files"]})
        return model


def not_fitted(name: str) -> BedsideError:
    """What to raise when a model is used before it has learnt."""
    return BedsideError(f"the model '{name}' is not fitted", "call fit, or load one that was saved")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
