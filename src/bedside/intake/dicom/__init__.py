"""DICOM: folders, ZIPs and DICOMDIRs become a cohort; a row is a series with a volume, or an image of one frame."""
