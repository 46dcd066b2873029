"""RT structure sets: the outlines of structures on the slices of a series, written with pydicom.

An outline runs half-way between the centers of the voxels inside and outside, so that the voxels whose
centers it encloses are those of the mask. A hole is joined to the outline around it by a line that is run
both ways (the keyhole of PS3.3 C.8.8.6.3). Points lie in the plane of their slice, by its own position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    numbered = list(enumerate(zip(masks, structures, strict=True), start=1))
    frame = result.FrameOfReferenceUID
    result.StructureSetROISequence = [_named(number, one, frame) for number, (_, one) in numbered]
    result.ROIContourSequence = [_drawn(n, one, mask, places, origin) for n, (mask, one) in numbered]
    result.RTROIObservationsSequence = [_observed(number, one) for number, (_, one) in numbered]
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


def _made(**attributes: Any) -> Dataset:
    """A data set with these attributes."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def _header(origin: Origin, maker: Maker) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    first, now = origin.first, datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    kept = (
        "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
        "AccessionNumber",
        "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName",
        "FrameOfReferenceUID", "PositionReferenceIndicator",
    )  # fmt: skip
    result = _made(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=generate_uid(),
        **{name: first[name].value for name in kept if name in first},
        Modality="RTSTRUCT",
        SeriesInstanceUID=generate_uid(),
        SeriesNumber="901",
        SeriesDescription=short(f"semiseg {maker.model}"),
        OperatorsName="",
        InstanceNumber="1",
        Manufacturer="semiseg",
        ManufacturerModelName=short(maker.model),
        SoftwareVersions=maker.version,
        DeviceSerialNumber=maker.serial,
        StructureSetLabel="SEGMENTATION",
        StructureSetDate=date,
        StructureSetTime=time,
        InstanceCreationDate=date,
        InstanceCreationTime=time,
        ApprovalStatus="UNAPPROVED",
        ReferencedFrameOfReferenceSequence=[_reference(origin)],
    )
    result.file_meta = FileMetaDataset()
    result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # explicit lengths end at 64 kB an outline
    return result


def _reference(origin: Origin) -> Dataset:
    """Frame of reference, study, series and images."""
    unique = {str(header.SOPInstanceUID): header for header in origin.headers}
    series = _made(
        SeriesInstanceUID=origin.first.SeriesInstanceUID,
        ContourImageSequence=[_image(header) for header in unique.values()],
    )
    study = _made(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # retired, and programs still ask for it
        ReferencedSOPInstanceUID=origin.first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _made(FrameOfReferenceUID=origin.first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image(header: Dataset, frame: int | None = None) -> Dataset:
    numbers = {} if frame is None else {"ReferencedFrameNumber": frame}
    return _made(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID, **numbers
    )


def _named(number: int, structure: Structure, frame_of_reference: str) -> Dataset:
    return _made(
        ROINumber=number,
        ROIName=short(structure.name),
        ReferencedFrameOfReferenceUID=frame_of_reference,
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _drawn(
    number: int,
    structure: Structure,
    mask: NDArray[np.bool_],
    places: Sequence[NDArray[np.float64]],
    origin: Origin,
) -> Dataset:
    contours = [
        _made(
            ContourImageSequence=[
                _image(origin.headers[k], origin.frames[k] if origin.multi_frame else None)
            ],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points),
            ContourData=_decimals(points),
        )
        for k, points in _contours(mask, places)
    ]
    return _made(ReferencedROINumber=number, ROIDisplayColor=list(structure.color), ContourSequence=contours)


def _decimals(points: NDArray[np.float64]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters, without trailing zeros and negative ones."""
    return [f"{value:.{_DIGITS}f}" for value in (points.round(_DIGITS) + 0.0).ravel()]


def _observed(number: int, structure: Structure) -> Dataset:
    value, scheme, meaning = structure.kind
    code = _made(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=short(meaning))
    return _made(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIInterpretedType="",
        ROIInterpreter="",
        RTROIIdentificationCodeSequence=[code],
    )
