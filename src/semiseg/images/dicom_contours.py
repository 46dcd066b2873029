"""RT structure sets: the outlines of structures on the slices of a series, written with pydicom.

An outline runs half-way between the centers of the voxels inside and outside, so that a program which asks
for the voxels whose centers it encloses gets exactly the voxels that were given. A hole is joined to the
outline around it by a line that is run both ways (the keyhole of PS3.3 C.8.8.6.3). Points lie in the plane of
their slice, where the slice itself says that it is: thick, oblique and tilted stacks need nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.images.dicom_results import Maker, Origin, Structure, save, short
from semiseg.images.grid import LPS_TO_RAS, Grid

if TYPE_CHECKING:
    from pydicom import Dataset

_DIGITS = 4
"""Decimals of a point, in mm."""

Points = NDArray[np.float64]
"""(N, 2): column and row in voxels, centers at whole numbers; closed without repeating the first."""


def write_contours(
    path: Path,
    masks: Sequence[NDArray[np.bool_]],
    grid: Grid,
    origin: Origin,
    structures: Sequence[Structure],
    maker: Maker,
) -> None:
    """Write one RTSTRUCT file, whole or not at all.

    Args:
        path: the file.
        masks: (columns, rows, slices), one for each structure; they may overlap.
        grid: of the masks.
        origin: of the scan; patient and study are taken from it.
        structures: names and colors.
        maker: of the masks.

    Raises:
        DataError: a scan that has no frame of reference, or of two axes.
    """
    if len(grid.shape) != 3:
        raise DataError(
            "a radiograph has no position in the patient, wanted slices",
            hint="use --to dicom-seg for single pictures",
            code="DICOM_RESULT",
        )
    result = _header(origin, maker)
    places = [_plane(origin, grid, k) for k in range(grid.shape[2])]
    result.StructureSetROISequence = []
    result.ROIContourSequence = []
    result.RTROIObservationsSequence = []
    for number, (mask, structure) in enumerate(zip(masks, structures, strict=True), start=1):
        result.StructureSetROISequence.append(_named(number, structure, result))
        result.ROIContourSequence.append(_drawn(number, structure, mask, places, origin))
        result.RTROIObservationsSequence.append(_observed(number, structure))
    save(result, path)


def outlines(mask: NDArray[np.bool_]) -> list[Points]:
    """The closed outlines of a plane (columns, rows), each with its holes joined to it."""
    from contourpy import FillType, contour_generator

    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.float64).T  # rows first; padded, so that it closes at the edge
    drawn = contour_generator(z=padded, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    found = []
    for points, offsets in zip(*drawn, strict=True):
        rings = [_corners(points[a : b - 1] - 1.0) for a, b in pairwise(offsets)]
        found.append(_keyhole(rings[0], rings[1:]))
    return found


def _corners(ring: Points) -> Points:
    """The ring without the points that lie on a straight line between their neighbors."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return ring[bends]


def _keyhole(outer: Points, holes: Sequence[Points]) -> Points:
    """One ring: each hole is gone round by way of a line from the nearest corner of ``outer`` and back.

    A line that is run both ways encloses nothing, whatever it crosses.
    """
    if not holes:
        return outer
    from scipy.spatial import KDTree

    tree, ways = KDTree(outer), [[corner] for corner in outer]
    for hole in holes:
        gaps, nearest = (np.atleast_1d(found) for found in tree.query(hole))
        into = int(np.argmin(gaps))
        at = int(nearest[into])
        ways[at] += [*np.roll(hole, -into, axis=0), hole[into], outer[at]]
    return np.array([point for way in ways for point in way])


def _plane(origin: Origin, grid: Grid, k: int) -> NDArray[np.float64]:
    """(4, 4): (column, row, 0, 1) of slice ``k`` to LPS mm; the slice's own position where it has one."""
    affine = LPS_TO_RAS @ grid.affine
    affine[:3, 3] += k * affine[:3, 2]
    position = origin.headers[k].get("ImagePositionPatient")
    if position is not None and len(position) == 3 and not origin.multi_frame:
        affine[:3, 3] = [float(p) for p in position]
    return affine


def _contours(
    mask: NDArray[np.bool_], places: Sequence[NDArray[np.float64]]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Slice and (N, 3) LPS mm of each outline."""
    for k in map(int, np.flatnonzero(mask.any((0, 1)))):
        for ring in outlines(mask[:, :, k]):
            flat = np.column_stack([ring, np.zeros(len(ring)), np.ones(len(ring))])
            yield k, (flat @ places[k].T)[:, :3]


def _header(origin: Origin, maker: Maker) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    first, now = origin.first, datetime.now()
    result = Dataset()
    result.SOPClassUID, result.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    result.file_meta = FileMetaDataset()
    result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # explicit lengths end at 64 kB an outline
    for name in (
        "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
        "AccessionNumber",
        "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName",
        "FrameOfReferenceUID", "PositionReferenceIndicator",
    ):  # fmt: skip
        if name in first:
            setattr(result, name, first[name].value)
    result.Modality, result.SeriesInstanceUID, result.SeriesNumber = "RTSTRUCT", generate_uid(), "901"
    result.SeriesDescription = short(f"semiseg {maker.model}")
    result.OperatorsName, result.InstanceNumber = "", "1"
    result.Manufacturer, result.ManufacturerModelName = "semiseg", short(maker.model)
    result.SoftwareVersions, result.DeviceSerialNumber = maker.version, maker.serial
    result.StructureSetLabel = "SEGMENTATION"
    result.StructureSetDate, result.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    result.InstanceCreationDate = result.StructureSetDate
    result.InstanceCreationTime = result.StructureSetTime
    result.ApprovalStatus = "UNAPPROVED"
    result.ReferencedFrameOfReferenceSequence = [_reference(origin)]
    return result


def _reference(origin: Origin) -> Dataset:
    """Frame of reference, study, series and images."""
    from pydicom.dataset import Dataset

    # The class of a referenced study is retired, and programs still ask for it.
    study_class = "1.2.840.10008.3.1.2.3.1"
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = origin.first.FrameOfReferenceUID
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = study_class, origin.first.StudyInstanceUID
    series.SeriesInstanceUID = origin.first.SeriesInstanceUID
    unique = {str(header.SOPInstanceUID): header for header in origin.headers}
    series.ContourImageSequence = [_image(header) for header in unique.values()]
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(header: Dataset, frame: int | None = None) -> Dataset:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if frame is not None:
        image.ReferencedFrameNumber = frame
    return image


def _named(number: int, structure: Structure, result: Dataset) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROINumber, roi.ROIName = number, short(structure.name)
    roi.ReferencedFrameOfReferenceUID = result.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _drawn(
    number: int,
    structure: Structure,
    mask: NDArray[np.bool_],
    places: Sequence[NDArray[np.float64]],
    origin: Origin,
) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ReferencedROINumber, roi.ROIDisplayColor = number, list(structure.color)
    roi.ContourSequence = []
    for k, points in _contours(mask, places):
        contour = Dataset()
        contour.ContourImageSequence = [
            _image(origin.headers[k], origin.frames[k] if origin.multi_frame else None)
        ]
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        contour.ContourData = _decimals(points)
        roi.ContourSequence.append(contour)
    return roi


def _decimals(points: NDArray[np.float64]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters, without trailing zeros and negative ones."""
    return [f"{value:.{_DIGITS}f}" for value in (points.round(_DIGITS) + 0.0).ravel()]


def _observed(number: int, structure: Structure) -> Dataset:
    from pydicom.dataset import Dataset

    seen, code = Dataset(), Dataset()
    seen.ObservationNumber = seen.ReferencedROINumber = number
    seen.RTROIInterpretedType, seen.ROIInterpreter = "", ""
    code.CodeValue, code.CodingSchemeDesignator, meaning = structure.kind
    code.CodeMeaning = short(meaning)
    seen.RTROIIdentificationCodeSequence = [code]
    return seen
