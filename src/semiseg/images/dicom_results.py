"""What DICOM results of a series share: the headers they refer to, the structures they name, their maker."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semiseg.errors import DataError
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
