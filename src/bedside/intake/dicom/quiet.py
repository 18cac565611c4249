"""Quiet: pydicom without its warnings and log lines, which print values and so may print a patient's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from bedside.errors import MissingExtra


def needed() -> None:
    """Raise MissingExtra where pydicom is not installed."""
    if find_spec("pydicom") is None:
        raise MissingExtra("dicom", "a DICOM file")


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, pydicom reads, converts and writes without a word and without refusing a value's form."""
    needed()
    from pydicom import config

    logger = logging.getLogger("pydicom")
    was = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was
