"""DICOM: folders, ZIPs and DICOMDIRs become a cohort; a row is a series with a volume, or an image of one frame.

`source` finds files, `header` says what each is, `geometry` where its slices lie, `choose` which series is the right
one, `volume` decodes it.
"""

from __future__ import annotations

from bedside.intake.dicom.reader import Dicom
from bedside.intake.dicom.volume import decode_volume

__all__ = ["Dicom", "decode_volume"]
