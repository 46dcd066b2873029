"""Reads RT structure sets: outlines of structures, drawn onto the voxels of their series.

A voxel is inside where its center is. Outlines of one structure on one slice exclude one another (PS3.3
C.8.8.6.3), so that an inner one is a hole, and a keyhole encloses what it goes round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.images.grid import LPS_TO_RAS, Grid, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_OUTER = "EXTERNAL"
"""Interpreted type of the body's outline, which is no structure in it."""
_OFF = 0.4
"""Of a slice distance: an outline farther from every slice is of another scan."""


@dataclass(frozen=True)
class StructureSet:
    """An RT structure set.

    Attributes:
        path: the file.
        series: SeriesInstanceUID of the scan that it names, empty where it names none.
        names: of the structures that have outlines, in the file's order.
    """

    path: Path
    series: str
    names: tuple[str, ...]


def read_structure_set(path: Path) -> StructureSet | None:
    """What a DICOM file says of outlines; None for other files than structure sets."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        found = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (InvalidDicomError, OSError, ValueError):
        return None
    if str(found.get("Modality", "")) != "RTSTRUCT":
        return None
    return StructureSet(path, _series(found), tuple(dict.fromkeys(name for name, _ in _structures(found))))


_TAGS = [
    "Modality", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "ROIContourSequence",
    "RTROIObservationsSequence",
]  # fmt: skip


def _series(found: Dataset) -> str:
    for frame in found.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return str(series.get("SeriesInstanceUID", ""))
    return ""


def _structures(found: Dataset) -> list[tuple[str, Any]]:
    """Name and outlines of each structure but the body's."""
    outer = {
        int(each.ReferencedROINumber)
        for each in found.get("RTROIObservationsSequence") or ()
        if str(each.get("RTROIInterpretedType", "")).upper() == _OUTER
    }
    names = {
        int(each.ROINumber): " ".join(str(each.get("ROIName", "")).split()) or f"structure {each.ROINumber}"
        for each in found.get("StructureSetROISequence") or ()
    }
    return [
        (names[number], each.ContourSequence)
        for each in found.get("ROIContourSequence") or ()
        if (number := int(each.ReferencedROINumber)) in names
        and number not in outer
        and each.get("ContourSequence")
    ]


@dataclass(frozen=True)
class Drawn:
    """The outlines of a structure set as a label of the scan that they are of.

    Attributes:
        path: the structure set.
        values: name of a structure -> its value; structures that are not named are left out.
    """

    path: Path
    values: tuple[tuple[str, int], ...]

    def __call__(self, volume: Volume) -> Volume:
        """The label (columns, rows, slices) on the grid of the scan; smaller structures lie over larger ones.

        Raises:
            DataError: outlines that lie between slices, or outside of the scan.
        """
        from pydicom import dcmread

        values, masks = dict(self.values), []
        for name, contours in _structures(dcmread(self.path, stop_before_pixels=True)):
            if name in values:
                masks.append((values[name], draw(_points(contours), volume.grid, self.path)))
        label = np.zeros(volume.grid.shape, np.uint8)
        for value, mask in sorted(masks, key=lambda pair: -int(pair[1].sum())):
            label[mask] = value
        return replace(volume, array=label)


def _points(contours: Sequence[Any]) -> list[NDArray[np.float64]]:
    """(N, 3) LPS mm of each closed outline; single points mark nothing."""
    found = [
        np.asarray(each.ContourData, np.float64).reshape(-1, 3)
        for each in contours
        if str(each.get("ContourGeometricType", "")).upper().startswith("CLOSED")
    ]
    return [points for points in found if len(points) > 2]


def draw(contours: Sequence[NDArray[np.float64]], grid: Grid, path: Path) -> NDArray[np.bool_]:
    """The voxels (columns, rows, slices) whose centers lie inside closed outlines, (N, 3) LPS mm each.

    Slices that were left out between two with outlines (every second one is drawn) are filled in between
    their shapes; a structure may end and begin again further on.

    Raises:
        DataError: outlines that lie between slices, or outside of the scan.
    """
    mask = np.zeros(grid.shape, bool)
    back = np.linalg.inv(LPS_TO_RAS @ grid.affine)
    for points in contours:
        voxels = (np.column_stack([points, np.ones(len(points))]) @ back.T)[:, :3]
        depth = float(voxels[:, 2].mean())
        k = round(depth)
        if not 0 <= k < grid.shape[2] or np.abs(voxels[:, 2] - k).max() > _OFF:
            raise DataError(
                f"{path}: an outline at slice {depth:.2f} of a scan with {grid.shape[2]} slices",
                hint="give the series that it was drawn on; it may have been resampled since",
                code="GEOMETRY",
            )
        mask[:, :, k] ^= inside(voxels[:, :2], grid.shape[:2])
    return _without_gaps(mask)


def inside(ring: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.bool_]:
    """(columns, rows): whose centers a closed ring of (column, row) encloses, by the even-odd rule."""
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    columns, found = np.arange(shape[0]), np.zeros((shape[0], shape[1]), bool)
    first, last = max(int(np.ceil(y0.min())), 0), min(int(np.floor(y0.max())), shape[1] - 1)
    for row in range(first, last + 1):
        cut = (y0 <= row) != (y1 <= row)
        crossings = x0[cut] + (row - y0[cut]) * (x1[cut] - x0[cut]) / (y1[cut] - y0[cut])
        found[:, row] = (columns[:, None] > crossings).sum(1) % 2 == 1
    return found


def _without_gaps(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    drawn = np.flatnonzero(mask.any((0, 1)))
    steps = np.diff(drawn)
    if not len(steps) or steps.max() < 2:
        return mask
    usual = max(int(np.median(steps)), 2)
    for low, step in zip(drawn, steps, strict=False):
        if 1 < step <= usual:
            ends = _depth(mask[:, :, low]), _depth(mask[:, :, low + step])
            for k in range(1, step):
                mask[:, :, low + k] = (step - k) * ends[0] + k * ends[1] > 0
    return mask


def _depth(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the border in voxels, positive inside."""
    from scipy.ndimage import distance_transform_edt

    depth: NDArray[np.float64] = distance_transform_edt(plane) - distance_transform_edt(~plane)
    return depth


def value_table(sets: Sequence[StructureSet]) -> dict[str, int]:
    """One value per name of a structure in all sets, in the order in which names come; capitals count."""
    count: dict[str, int] = defaultdict(int)
    for each in sets:
        for name in each.names:
            count[name] += 1
    return {name: value for value, name in enumerate(sorted(count, key=lambda n: (-count[n], n)), start=1)}
