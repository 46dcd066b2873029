"""One DICOM file: its slices (where each lies, how its values are scaled) and their pixels.

No patient attribute is read. pydicom decodes the pixels, and GDCM inside SimpleITK what pydicom cannot.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import SemisegError, plural
from semiseg.images.claims import broken, check_claim, check_file, needed_bytes, silenced
from semiseg.machine.folders import Scratch

if TYPE_CHECKING:
    from pydicom import Dataset

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "Rows", "Columns",
    "BitsAllocated", "PixelRepresentation", "SamplesPerPixel", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "StudyInstanceUID", "SeriesNumber",
    "PhotometricInterpretation", "BitsStored", "ModalityLUTSequence", "NominalScannedPixelSpacing",
    "SequenceOfUltrasoundRegions", "PixelAspectRatio",
]  # fmt: skip
_NO_SCAN = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG")
_WITH_UNIT = ("CT", "PT")
"""Modalities whose values are a physical unit, however they are shown."""
_CENTIMETERS = 3
_ENDINGS = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Slice:
    """One image plane. Lengths in mm, vectors in LPS.

    Attributes:
        path: the file; frame: which of its frames, from 0.
        shape: (columns, rows); spacing: mm between neighboring columns, rows (None where unsaid).
        orientation: direction of growing column index, then of growing row index, six numbers.
        position: center of the first pixel.
        depth: slice spacing or thickness as the header has it; used for single slices only.
        slope, intercept: stored value -> unit of the modality.
        white: the stored value that is shown as the darkest where the lowest is white (MONOCHROME1), and no
            unit says what the values mean; None where values grow with brightness.
        photometric: how values are shown, such as MONOCHROME2 or RGB.
        curved: whether a table, not a slope, leads to the unit.
        detector: spacing on the detector, where it is said beside that in the patient (``spacing``).
        mosaic: whether the picture is made of all slices of a volume (MR of one vendor).
        study, number: StudyInstanceUID and SeriesNumber, which join series that have one slice each.
    """

    path: Path
    frame: int
    series: str
    sop_instance: str
    modality: str
    description: str
    localizer: bool
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    depth: float | None
    slope: float
    intercept: float
    dtype: str
    samples: int
    white: int | None = None
    photometric: str = ""
    curved: bool = False
    detector: tuple[float, float] | None = None
    study: str = ""
    number: int | None = None
    mosaic: bool = False


def slices_of(path: Path, *, wanted: bool = False) -> list[Slice]:
    """The slices of a DICOM image file; none for other files (unless ``wanted``), reports and the like.

    Raises:
        DataError: the file is DICOM, or named so, but damaged, cut off, or claims what it cannot hold.
    """
    size = path.stat().st_size
    named = path.suffix.lower() in _ENDINGS
    if size == 0 and not (named or wanted):
        return []
    check_file(path)
    with path.open("rb") as stream:
        marked = stream.read(132)[128:] == b"DICM"
    if not (marked or named or wanted):
        return []
    with quiet(path):
        dataset = _header(path)
        if "Rows" not in dataset:
            return _no_image(path, dataset, wanted)
        if str(dataset.get("Modality", "")) in _NO_SCAN:
            return []
        frames = int(dataset.get("NumberOfFrames") or 1)
        _check_size(path, dataset, frames, size)
        return [_slice(path, dataset, frame, frames) for frame in range(frames)]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its mark or its name; nothing else is read."""
    if path.suffix.lower() in _ENDINGS:
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@contextmanager
def quiet(path: Path) -> Iterator[None]:
    """Keep pydicom's warnings and messages, which quote header values, away from the user's log."""
    with warnings.catch_warnings(), silenced("pydicom"):
        warnings.simplefilter("ignore")
        try:
            yield
        except (SemisegError, MemoryError):
            raise
        except Exception as error:  # the parser raises anything at all on garbage
            raise broken(path, f"is not readable DICOM ({type(error).__name__})") from None


def _header(path: Path) -> Dataset:
    from pydicom import dcmread

    return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))


def _no_image(path: Path, dataset: Dataset, wanted: bool) -> list[Slice]:
    """No rows: a report or a directory file is passed over, an image class without rows is cut off."""
    own, announced = dataset.get("SOPClassUID"), dataset.file_meta.get("MediaStorageSOPClassUID")
    uid = own or announced
    if uid is None:
        raise broken(path, "is not readable DICOM (no SOP class)")
    directory = str(uid) == "1.2.840.10008.1.3.10"  # DICOMDIR, the one object that is not announced twice
    if "Image Storage" in str(uid.name) or (own != announced and announced is not None and not directory):
        raise broken(path, "is cut off before the image size", code="TRUNCATED")
    if wanted:
        hint = "give a DICOM image file or the series' folder"
        raise broken(path, f"holds no image ({uid.name})", hint=hint, code="NO_SERIES")
    return []


def _check_size(path: Path, dataset: Dataset, frames: int, size: int) -> None:
    from pydicom.uid import UID

    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2")))
    packed = syntax.is_deflated or (not syntax.is_private and syntax.is_compressed)
    shape = (int(dataset.Columns), int(dataset.Rows), frames)
    itemsize = max(int(dataset.get("BitsAllocated") or 8) // 8, 1)
    needed = needed_bytes(shape, itemsize, int(dataset.get("SamplesPerPixel") or 1))
    check_claim(path, shape, needed, size, compressed=packed)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != frames:
        why = f"describes {plural(len(groups), 'frame')} and says it has {frames}"
        raise broken(path, why, code="TRUNCATED")


def _slice(path: Path, dataset: Dataset, frame: int, frames: int) -> Slice:
    spacing = _numbers(dataset, frame, "PixelMeasuresSequence", "PixelSpacing")
    detector = _numbers(dataset, frame, "", "ImagerPixelSpacing") if spacing else ()
    spacing = spacing or _flat_spacing(dataset)
    position = _numbers(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")
    if frames > 1 and not dataset.get("PerFrameFunctionalGroupsSequence"):
        position = ()  # one position for many frames places none of them
    orientation = _numbers(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    depth = _numbers(dataset, frame, "PixelMeasuresSequence", "SpacingBetweenSlices")
    depth = depth or _numbers(dataset, frame, "PixelMeasuresSequence", "SliceThickness")
    slope = _numbers(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _numbers(dataset, frame, "PixelValueTransformationSequence", "RescaleIntercept")
    bits, signed = (int(dataset.get(name) or 0) for name in ("BitsAllocated", "PixelRepresentation"))
    kind = [str(value).upper() for value in (dataset.get("ImageType") or [])]
    return Slice(
        path=path,
        frame=frame,
        series=str(dataset.get("SeriesInstanceUID") or ""),
        sop_instance=str(dataset.get("SOPInstanceUID") or ""),
        modality=str(dataset.get("Modality") or ""),
        description=str(dataset.get("SeriesDescription") or ""),
        localizer=any(word in ("LOCALIZER", "SCOUT") for word in kind),
        shape=(int(dataset.Columns), int(dataset.Rows)),
        spacing=(spacing[1], spacing[0]) if len(spacing) == 2 else None,  # DICOM has rows first
        orientation=orientation if len(orientation) == 6 else None,
        position=position if len(position) == 3 else None,
        depth=depth[0] if depth and depth[0] > 0 else None,
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        dtype=f"{'' if signed else 'u'}int{bits}" if bits in (8, 16, 32) else "",
        samples=int(dataset.get("SamplesPerPixel") or 1),
        white=_white(dataset),
        photometric=str(dataset.get("PhotometricInterpretation") or ""),
        curved=bool(dataset.get("ModalityLUTSequence")),
        detector=(detector[1], detector[0]) if len(detector) == 2 else None,
        study=str(dataset.get("StudyInstanceUID") or ""),
        number=None if dataset.get("SeriesNumber") is None else int(dataset.SeriesNumber),
        mosaic="MOSAIC" in kind,
    )


def _flat_spacing(dataset: Dataset) -> tuple[float, ...]:
    """Of images without PixelSpacing (rows, columns): on the detector, of the scanned film, of ultrasound
    (PS3.3 C.8.5.5, in cm), and at least the shape of a pixel.
    """
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if found := _numbers(dataset, 0, "", name):
            return found
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    units = {each.get(f"PhysicalUnits{axis}Direction") for each in regions for axis in "XY"}
    if len(regions) == 1 and units == {_CENTIMETERS}:
        return abs(float(regions[0].PhysicalDeltaY)) * 10, abs(float(regions[0].PhysicalDeltaX)) * 10
    shape = _numbers(dataset, 0, "", "PixelAspectRatio")
    return (shape[0] / shape[1], 1.0) if len(shape) == 2 and all(side > 0 for side in shape) else ()


def _white(dataset: Dataset) -> int | None:
    """What ``white - value`` makes growing brightness of MONOCHROME1; values with a unit keep it."""
    if str(dataset.get("PhotometricInterpretation") or "") != "MONOCHROME1":
        return None
    if str(dataset.get("Modality") or "") in _WITH_UNIT:
        return None
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0)
    return -1 if int(dataset.get("PixelRepresentation") or 0) else (1 << bits) - 1


def _numbers(dataset: Dataset, frame: int, sequence: str, name: str) -> tuple[float, ...]:
    """An attribute of one frame: from its own functional group, the shared one, or the file; () if absent."""
    places: list[Any] = [dataset]
    for group in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = dataset.get(group) or []
        item = items[0 if group.startswith("Shared") else frame] if len(items) else None
        inner = item.get(sequence) if item is not None and sequence else None
        if inner:
            places.append(inner[0])
    for place in reversed(places):
        value = place.get(name)
        if value is not None and value != "":
            many = value if hasattr(value, "__iter__") else [value]
            return tuple(float(v) for v in many)
    return ()


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
        why = f"has {got} bytes of pixels where its header says {wanted} ({plural(frames, 'frame')})"
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
