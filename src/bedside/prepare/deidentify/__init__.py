"""De-identify DICOM files by PS3.15 Annex E, keep what is not identity byte for byte, and measure what may be left.

`deidentify_files` does a folder, `Profile` says by which options, `Pseudonyms` is the keyed mapping, `residual_risk`
the evidence.
"""

from __future__ import annotations

from bedside.prepare.deidentify.apply import Applier
from bedside.prepare.deidentify.document import deidentify
from bedside.prepare.deidentify.profile import Profile
from bedside.prepare.deidentify.pseudonyms import Pseudonyms, load_or_create

__all__ = ["Applier", "Profile", "Pseudonyms", "deidentify", "load_or_create"]
