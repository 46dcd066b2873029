"""Stored pixel values of a DICOM file: pydicom, and GDCM inside SimpleITK for codecs that pydicom lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.images.claims import broken
from semiseg.images.dicom_slices import Slice, quiet
from semiseg.machine.folders import Scratch

_PIXEL_TAGS = [
    "PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation", "NumberOfFrames",
    "SmallestImagePixelValue", "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip


def stored_frames(first: Slice) -> NDArray[Any]:
    """All frames of the file of ``first`` as stored, before rescaling, shape (frames, rows, columns).

    Raises:
        DataError: TRUNCATED or UNREADABLE.
    """
    from pydicom import dcmread
    from pydicom.uid import ImplicitVRLittleEndian

    path = first.path
    with quiet(path):
        dataset = dcmread(path, force=True, specific_tags=list(_PIXEL_TAGS))
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        compressed = syntax is not None and not syntax.is_private and syntax.is_compressed
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            hint = "export it with integer pixels and a rescale slope, or as NIfTI"
            raise broken(path, "keeps its pixels as floating-point numbers", code="BAD_DTYPE", hint=hint)
        if "PixelData" not in dataset:
            raise broken(path, "is cut off: it has no pixel data", code="TRUNCATED")
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # DICOM's default
        if not compressed:
            _check_length(path, dataset)
        try:
            pixels = np.asarray(dataset.pixel_array)
        except (RuntimeError, NotImplementedError):
            if not compressed:
                raise
            pixels = _with_gdcm(path, dataset)
        if not compressed:
            pixels = _stored_bits(pixels, dataset)
    return pixels.reshape(-1, first.shape[1], first.shape[0])


def _stored_bits(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Without what lies around the stored bits, such as an overlay in the upper ones (PS3.5, 8.1.1)."""
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") or stored - 1)
    if (
        pixels.dtype.kind not in "ui"
        or (stored, high) == (allocated, allocated - 1)
        or not stored <= high + 1 <= allocated
    ):
        return pixels
    left = allocated - 1 - high  # up to the sign, and down again with it
    return (pixels << left) >> (allocated - stored)


def _check_length(path: Path, dataset: Any) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    wanted = int(dataset.Rows) * int(dataset.Columns) * frames * (int(dataset.BitsAllocated) // 8)
    got = len(dataset.PixelData)
    if got < wanted:
        why = f"is cut off: {got} of {wanted} bytes of pixels"
        raise broken(path, why, code="TRUNCATED", needed_bytes=wanted, present_bytes=got)
    if got > wanted + 1 and got >= wanted + wanted // frames:  # one byte may be padding
        why = f"has {got} bytes of pixels where its header says {wanted} ({frames} frames)"
        raise broken(path, why, code="ABSURD_HEADER", hint="export it again; the header lost frames or bits")


def _with_gdcm(path: Path, dataset: Any) -> NDArray[Any]:
    """Decode with GDCM from a copy that holds the pixels alone: GDCM rescales some classes by itself."""
    import SimpleITK
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    with Scratch() as folder:
        copy = folder / "pixels.dcm"
        dataset.save_as(copy, enforce_file_format=True)
        try:
            return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(copy))))
        except RuntimeError:
            hint = "decompress it first (gdcmconv --raw, or dcmdjpeg)"
            raise broken(path, "is compressed in a way that cannot be decoded here", hint=hint) from None
