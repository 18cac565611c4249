"""skops without torch: importing skops walks through all of scikit-learn, whose array layer imports torch if it can.

That costs ten seconds and a gigabyte that no table needs, so torch is hidden while skops is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Hidden:
    """A finder that finds nothing, and lets nobody else find, a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"{name} is hidden here", name=name)


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """While this lasts, a package that is not imported yet cannot be."""
    finder = _Hidden(package)
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]  # a finder needs find_spec only
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]


def skops_io() -> Any:
    """The module `skops.io`."""
    with hidden("torch"):
        import skops.io
    return skops.io
