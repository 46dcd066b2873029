"""Slices to a volume: ordered by position, spacing from neighbors; an error where positions do not add up.

Positions follow DICOM PS3.3 C.7.6.2 (Image Plane): ImagePositionPatient is the center of the first pixel,
ImageOrientationPatient the directions in which column and row index grow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, plural
from semiseg.images.claims import bad_spacing, check_grid
from semiseg.images.dicom_slices import Slice
from semiseg.images.grid import Grid, lps_grid

SAME_ORIENTATION = 1e-3
"""Direction cosines that differ by less (0.06 degrees) are the same orientation with float noise."""

SAME_POSITION_MM = 1e-3
OFF_THE_LINE = 0.1
"""Of the slice distance: how far a slice may lie off its place in an even stack."""
TWO_STEPS = 3
"""Equal wide gaps in a row that make a second step; fewer are lost slices."""
STRAIGHT_MM = 0.01
"""A stack that drifts sideways by less from end to end is upright; positions are rounded decimal strings."""

_Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Slices in the order of the volume's last axis, their grid, and the tilt of the stack in degrees."""

    slices: tuple[Slice, ...]
    grid: Grid
    tilt_degrees: float


def orientation_groups(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one orientation, size and pixel spacing, in the order in which they first appear."""
    groups: list[list[Slice]] = []
    for one in slices:
        home = next((group for group in groups if _alike(group[0], one)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return groups


def stack(slices: Sequence[Slice], where: Path) -> Stack:
    """Order slices along their normal and find the grid, sheared where a gantry was tilted.

    Raises:
        DataError: NO_GEOMETRY, DUPLICATE_SLICE, MISSING_SLICE, UNEVEN_SLICES, BAD_ORIENTATION, BAD_SPACING.
    """
    first = slices[0]
    unsaid = sum(one.spacing is None for one in slices)
    spacing = first.spacing or (1.0, 1.0)
    if any(not (math.isfinite(s) and s > 0) for s in spacing):
        raise bad_spacing(where, spacing)
    if first.orientation is None or any(one.position is None for one in slices):
        return _single_picture(slices, spacing, where)
    if unsaid:  # positions are in mm, so that pixels of one unit would be believed to be 1 mm
        why = f"{unsaid} of {plural(len(slices), 'slice')} without pixel spacing"
        raise _refused(where, "BAD_SPACING", why, "export the series with its PixelSpacing")
    right, down = _directions(first.orientation, where)
    normal = np.cross(right, down)
    positions = np.array([one.position for one in slices])
    if not np.isfinite(positions).all():
        raise _refused(where, "NO_GEOMETRY", "a slice position is not a number", "export the series again")
    order = np.argsort(positions @ normal, kind="stable")
    ordered = tuple(slices[int(i)] for i in order)
    step, tilt = _step(ordered, normal, where)
    axes = np.stack([right * spacing[0], down * spacing[1], step])
    grid = check_grid(where, lps_grid((*first.shape, len(slices)), axes, positions[order[0]]))
    return Stack(ordered, grid, tilt)


def _alike(a: Slice, b: Slice) -> bool:
    if a.shape != b.shape or (a.orientation is None) != (b.orientation is None):
        return False
    near = np.allclose(a.orientation or 0, b.orientation or 0, rtol=0, atol=SAME_ORIENTATION)
    return near and bool(np.allclose(a.spacing or 0, b.spacing or 0, rtol=1e-3))


def _single_picture(slices: Sequence[Slice], spacing: tuple[float, float], where: Path) -> Stack:
    """A radiograph or a secondary capture: a 2D image that lies nowhere in particular."""
    if len(slices) > 1:
        lost = sum(one.position is None or one.orientation is None for one in slices)
        why = f"{lost} of {len(slices)} slices or frames have no position or orientation: no volume"
        if len({one.path for one in slices}) == 1:
            why += " (a film over time?)"
        raise _refused(where, "NO_GEOMETRY", why, "export the original series, not a screen capture")
    grid = lps_grid(slices[0].shape, np.diag(spacing), (0.0, 0.0))
    return Stack(tuple(slices), grid if slices[0].spacing else replace(grid, unit="px"), 0.0)


def _directions(orientation: Sequence[float], where: Path) -> tuple[_Vector, _Vector]:
    """Unit vectors of growing column and row index, made exactly upright on each other."""
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm([right, down], axis=1)
    if not np.isfinite(lengths).all() or np.abs(lengths - 1).max() > 0.01:
        why = "the image orientation is not made of unit vectors"
        raise _refused(where, "BAD_ORIENTATION", why, "export the series again")
    right, down = right / lengths[0], down / lengths[1]
    slant = float(right @ down)
    if abs(slant) > SAME_ORIENTATION:
        why = f"rows and columns are not perpendicular (cosine {slant:.4f})"
        raise _refused(where, "BAD_ORIENTATION", why, "export the series again")
    down = down - slant * right
    return right, down / np.linalg.norm(down)


def _step(slices: Sequence[Slice], normal: _Vector, where: Path) -> tuple[_Vector, float]:
    """The vector from one slice to the next, and its tilt from the normal in degrees."""
    positions = np.array([one.position for one in slices])
    count = len(positions)
    if count == 1:
        return normal * (slices[0].depth or 1.0), 0.0
    heights = positions @ normal
    _check_doubles(slices, heights, where)
    _check_gaps(np.diff(heights), where)
    step = (positions[-1] - positions[0]) / (count - 1)
    upright = (step @ normal) * normal
    drift = float(np.linalg.norm(step - upright))
    line = positions[0] + np.arange(count)[:, None] * step
    off = float(np.linalg.norm(positions - line, axis=1).max())
    if off > max(OFF_THE_LINE * float(np.linalg.norm(upright)), _rounding(positions)):
        distances = np.diff(heights)
        why = (
            f"slices do not lie on one line at even distances (up to {off:.3f} mm off, "
            f"distances from {distances.min():.3f} to {distances.max():.3f} mm)"
        )
        raise _refused(where, "UNEVEN_SLICES", why, "split the series, or export it resampled")
    if drift * (count - 1) < STRAIGHT_MM:
        return upright, 0.0
    return step, math.degrees(math.atan2(drift, float(np.linalg.norm(upright))))


def _rounding(positions: _Vector) -> float:
    """How far positions written with few digits may lie off a line through the first and the last of them."""
    return 0.1 if np.abs(positions * 10 - np.rint(positions * 10)).max() < 1e-6 else 0.05


def _check_doubles(slices: Sequence[Slice], heights: _Vector, where: Path) -> None:
    """Refuse two slices at one place, since nothing says which of them belongs to the volume."""
    twice = np.flatnonzero(np.diff(heights) < SAME_POSITION_MM)
    if not len(twice):
        return
    files = " and ".join(dict.fromkeys(slices[int(twice[0]) + k].path.name for k in (0, 1)))
    why = f"{len(twice)} of {len(slices)} slices where another one lies (such as in {files})"
    hint = "remove the copies, or split the series by time, echo or b-value into one series each"
    raise _refused(where, "DUPLICATE_SLICE", why, hint)


def _check_gaps(distances: _Vector, where: Path) -> None:
    """Refuse gaps, and tell a lost slice from a series that was taken with two steps."""
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    gaps = np.flatnonzero(distances > 1.5 * usual)
    if not len(gaps):
        return
    wide = distances[gaps]
    if len(gaps) >= TWO_STEPS and np.ptp(wide) < 0.1 * wide.mean() and (np.diff(gaps) == 1).all():
        why = (
            f"two slice distances in one series: {len(distances) - len(gaps)} of {usual:.2f} mm and "
            f"{len(gaps)} of {wide.mean():.2f} mm (from slice {gaps[0] + 1} on)"
        )
        hint = "split the series where the distance changes, or export it resampled to even slices"
        raise _refused(where, "UNEVEN_SLICES", why, hint)
    lost = int(sum(round(float(distances[g]) / usual) - 1 for g in gaps))
    after = ", ".join(str(int(g) + 1) for g in gaps[:5])
    gone = plural(max(lost, 1), "slice is", "slices are")
    why = f"about {gone} missing (after slice {after} of {len(distances) + 1})"
    raise _refused(where, "MISSING_SLICE", why, "export the whole series again")


def _refused(where: Path, code: str, why: str, hint: str) -> DataError:
    return DataError(f"{where}: DICOM series: {why}", hint=hint, code=code, details={"file": str(where)})
