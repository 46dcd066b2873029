"""What DICOM results of a series share (headers they refer to, structures they name), and DICOM SEG."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, UsageError, missing_extra
from semiseg.images.claims import silenced
from semiseg.images.dicom_slices import quiet
from semiseg.machine.files import atomic_file

if TYPE_CHECKING:
    from pydicom import Dataset


Code = tuple[str, str, str]
"""Code value, coding scheme, meaning; such as ``("59652004", "SCT", "Atrium")``."""

NEUTRAL: Code = ("85756007", "SCT", "Tissue")
"""Category and type of a structure of which nothing is said."""

LONGEST = 64
"""Characters of a DICOM long string (VR LO), such as a label or a description."""

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
"""Attributes by which a result names its source."""

_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
"""Attributes that a result must have, empty where its source has none (PS3.3, type 2)."""


class Structure(NamedTuple):
    """A class or region as DICOM names it."""

    name: str
    color: tuple[int, int, int]
    """Red, green, blue in 0 ... 255."""
    category: Code = NEUTRAL
    kind: Code = NEUTRAL


class Maker(NamedTuple):
    """Who made a result: what the equipment module says."""

    model: str
    """Method and network."""
    version: str
    serial: str
    """The id of the model."""


@dataclass(frozen=True)
class Origin:
    """The images that a label map lies on.

    Attributes:
        headers: one for each slice of the volume, in the order of its last axis; of a multi-frame file, the
            same for all. Patient and study are in them: for results, not for logs.
        frames: 1-based frame number of each slice.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[int, ...]

    @property
    def first(self) -> Dataset:
        """Whose patient and study a result has."""
        return self.headers[0]

    @property
    def multi_frame(self) -> bool:
        """Whether the slices are frames of one file."""
        return "NumberOfFrames" in self.first and int(self.first.NumberOfFrames or 1) > 1


def origin_of(meta: Mapping[str, Any]) -> Origin:
    """The headers of the files that :func:`semiseg.images.dicom.read_series` names in ``meta``.

    Raises:
        DataError: a file is gone or unreadable, or the slices are frames of several files.
    """
    from pydicom import dcmread

    read: dict[str, Dataset] = {}
    for name in dict.fromkeys(meta["files"]):
        with quiet(Path(name)):
            read[name] = dcmread(name, stop_before_pixels=True, force=True)
    with quiet(Path(meta["files"][0])):
        _complete(list(read.values()))
    origin = Origin(tuple(read[name] for name in meta["files"]), tuple(meta["frames"]))
    if origin.multi_frame and len(read) > 1:
        raise DataError(
            f"{Path(meta['files'][0]).name} and {len(read) - 1} more: the slices are frames of several files",
            hint="export the series as one multi-frame file, or as one file per slice",
            code="DICOM_RESULT",
        )
    return origin


def _complete(headers: Sequence[Dataset]) -> None:
    """Fill in what a result must have. Slices that were read as one volume are of one series to it, also
    where each has a SeriesInstanceUID of its own.
    """
    from pydicom.uid import generate_uid

    first = headers[0]
    if missing := [name for name in _NEEDED if any(name not in header for header in headers)]:
        raise DataError(
            f"the DICOM headers have no {', '.join(missing)}, which results refer to",
            hint="export the series again with it; --to nifti writes the label map without",
            code="DICOM_RESULT",
        )
    for attribute in _EMPTY:
        if attribute not in first:
            setattr(first, attribute, "")
    if "FrameOfReferenceUID" not in first:  # the same for every result of this series
        first.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(first.SeriesInstanceUID)])
    for header in headers[1:]:
        for attribute in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(header, attribute, first[attribute].value)


def is_series(meta: Mapping[str, Any]) -> bool:
    """Whether the ``meta`` of a scan names a DICOM series."""
    return meta.get("format") == "dicom" and bool(meta.get("files"))


def short(text: str) -> str:
    """``text`` as a DICOM long string may be: at most 64 characters, none that separates values."""
    return text.replace("\\", "/").strip()[:LONGEST]


def save(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file, whole or not at all."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    with atomic_file(path) as file:
        file.write(stream.getbuffer())


_log = logging.getLogger("semiseg.data")

_SERIES_NUMBER = 900
"""Viewers sort by it: results come after the scans."""


def require_highdicom() -> None:
    """Say early that the package is missing.

    Raises:
        UsageError: with the install that brings it.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise missing_extra("dicom", "highdicom", "a DICOM segmentation object")


def write_segmentation(
    path: Path,
    masks: NDArray[Any],
    origin: Origin,
    structures: Sequence[Structure],
    maker: Maker,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
) -> None:
    """Write one DICOM SEG file, whole or not at all. Slices without any structure have no frame in it.

    Args:
        path: the file.
        masks: (columns, rows, slices) with 0 for background and n for the n-th structure from 1; or
            (columns, rows, slices, structures) bool, where structures overlap.
        origin: of the scan; patient and study are taken from it.
        structures: in the order of their numbers.
        maker: of the masks.
        kind: of object.

    Raises:
        UsageError: highdicom is not installed, or structures that overlap as LABELMAP.
        DataError: the source lacks what a segmentation refers to.
    """
    require_highdicom()
    import highdicom
    from pydicom.uid import generate_uid

    if kind == "LABELMAP" and masks.ndim == 4:
        raise UsageError(
            "structures that overlap cannot be one DICOM label map", hint="use --to dicom-seg", code="OVERLAP"
        )
    stored = np.swapaxes(masks, 0, 2)  # slices, rows, columns
    sources: list[Dataset] = list(origin.headers)
    if origin.multi_frame:
        sources = [origin.first]
        frames = np.zeros((int(origin.first.NumberOfFrames), *stored.shape[1:]), stored.dtype)
        frames[np.array(origin.frames) - 1] = stored
        stored = frames
    try:
        with warnings.catch_warnings(), silenced("highdicom.image"), silenced("pydicom"):
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=np.ascontiguousarray(stored),
                segmentation_type=kind,
                segment_descriptions=[_described(n, one, maker) for n, one in enumerate(structures, start=1)],
                series_instance_uid=generate_uid(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="semiseg",
                manufacturer_model_name=short(maker.model),
                software_versions=maker.version,
                device_serial_number=maker.serial,
                series_description=short(f"semiseg {maker.model}"),
                content_label="SEGMENTATION",
            )
    except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:  # quotes header values
        _log.debug("highdicom", exc_info=True)
        raise DataError(
            f"the DICOM headers are not sufficient for a segmentation object ({type(error).__name__})",
            hint="--to nifti writes this scan's label map; -v shows what highdicom misses",
            code="DICOM_RESULT",
        ) from None
    save(made, path)


def _described(number: int, structure: Structure, maker: Maker) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=short(structure.name),
        segmented_property_category=_coded(structure.category),
        segmented_property_type=_coded(structure.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=short(f"semiseg {maker.model}"),
            family=codes.cid7162.ArtificialIntelligence,
            version=maker.version,
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*structure.color),
    )


def _coded(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    value, scheme, meaning = code
    return CodedConcept(value, scheme, short(meaning))
