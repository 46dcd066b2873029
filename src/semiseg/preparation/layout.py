"""First half of planning: 2D or 3D, which axes, the finest voxel size. From the fingerprint alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import UsageError
from semiseg.images.grid import times
from semiseg.preparation.fingerprint import Fingerprint
from semiseg.preparation.measure import CaseFacts
from semiseg.preparation.plan import Choice

FEW_SLICES = 16
"""Fewer slices than this, in a stack at least FLATNESS times wider than high, are read one by one (2D)."""
FEW_THICK_SLICES = 20
"""The same for slices more than ANISOTROPIC times as far apart as the pixels are wide."""
MOST_VOXELS = 32768
"""Along an axis: whoever asks for more has another unit in mind than mm."""
FLATNESS = 4
ANISOTROPIC = 3.0
FEW_VOXELS = 8
"""An axis with so many is not made coarser."""
STEP = 1.05
"""Spacing grows by this factor until a patch shows enough of a scan."""

Axes = tuple[int, int, int]
Target = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Layout:
    """How scans are laid out, and why.

    Attributes:
        shapes: (N, 3) voxels per stored axis at the scans' own spacing.
        spacings: (N, 3) mm, same axes.
        runs: (3) mm along each axis inside a structure, see :class:`CaseFacts`; infinite if unknown.
        target: mm per stored axis; None keeps the scan's own.
    """

    dim: Literal[2, 3]
    orientation: Literal["RAS", "native"]
    axes: Axes
    shapes: NDArray[np.int64]
    spacings: NDArray[np.float64]
    runs: NDArray[np.float64]
    target: Target
    reasons: dict[str, str]

    @property
    def stored_shapes(self) -> NDArray[np.int64]:
        """(N, 3) voxels per stored axis, after resampling, at least one (as ``geometry.stored_size``)."""
        to = np.array([np.nan if mm is None else mm for mm in self.target])
        factor = np.where(np.isnan(to), 1.0, self.spacings / to)
        sizes: NDArray[np.float64] = np.floor(self.shapes * factor + 0.5)
        return np.maximum(1, sizes).astype(np.int64)

    @property
    def median_shape(self) -> tuple[int, ...]:
        """Median voxels per axis of a patch, after resampling."""
        median = np.median(self.stored_shapes, axis=0)[3 - self.dim :]
        return tuple(max(1, int(n)) for n in median)

    @property
    def patch_spacing(self) -> tuple[float, ...]:
        """Millimeters per axis of a patch."""
        own = np.median(self.spacings, axis=0)
        full = [float(own[axis]) if to is None else to for axis, to in enumerate(self.target)]
        return tuple(full[3 - self.dim :])

    def coarser(self, across: float) -> Layout | None:
        """The next coarser voxels; None where fewer than ``across`` would lie along the runs of a structure.

        Finer axes grow first, until voxels are even; an axis with few voxels keeps them.
        """
        mm, most = np.array(self.patch_spacing), self.runs[3 - self.dim :] / across
        many = np.array(self.median_shape) > FEW_VOXELS
        fine = many & (STEP * mm <= mm.max())
        grows = fine if fine.any() else many
        if not grows.any() or (mm * STEP > most)[grows].any():
            return None
        coarse = [float(f"{m * STEP:.3g}") if grow else float(m) for m, grow in zip(mm, grows, strict=True)]
        full = (*self.target[: 3 - self.dim], *coarse)
        return dataclasses.replace(self, target=(full[0], full[1], full[2]))


def lay_out_dataset(
    found: Fingerprint,
    *,
    dim: int | None = None,
    spacing: Sequence[float | None] | float | None = None,
    orientation: Literal["RAS", "native"] | None = None,
    axes: Axes | None = None,
    cropped: bool = False,
) -> Layout:
    """Choose dim, orientation, axes and target spacing; what is given is taken as it is.

    ``cropped`` counts only what lies in the box of nonzero voxels.

    Raises:
        UsageError: a choice that does not exist or does not suit the images.
    """
    if dim not in (None, 2, 3):
        raise UsageError(
            f"dim is {dim!r}, wanted 2 or 3", hint="leave it out to let the planner decide", code="PLAN_DIM"
        )
    if found.flat:
        return _flat(found, dim, spacing, cropped)
    reasons: dict[str, str] = {}
    turned = _choose_orientation(found.cases) if orientation is None else Choice(orientation)
    orientation, reasons["orientation"] = turned.value, turned.reason
    shapes, spacings, runs = _turned(found.cases, orientation, cropped)
    few, slices, reasons["dim"] = _read_slices(shapes, spacings)
    chosen: Literal[2, 3] = 2 if (few if dim is None else dim == 2) else 3
    if dim is not None:
        reasons["dim"] = f"as asked (the data speaks for {2 if few else 3}D: {reasons['dim']})"
    if axes is not None:
        if sorted(axes) != [0, 1, 2]:
            raise UsageError(
                f"axes is {axes!r}, wanted an order of 0, 1, 2", hint="such as 2,0,1", code="PLAN_AXES"
            )
        reasons["axes"] = "as asked"
    elif chosen == 2:
        a, b = (axis for axis in range(3) if axis != slices)
        axes = (slices, a, b)
        name = f"{slices} ({'RAS'[slices]})" if orientation == "RAS" else f"{slices} of the file"
        reasons["axes"] = f"slices lie along axis {name}"
    else:
        axes, reasons["axes"] = (0, 1, 2), "as oriented"
    shapes, spacings = shapes[:, list(axes)], spacings[:, list(axes)]
    target = _choose_spacing(shapes, spacings, chosen, spacing)
    reasons["spacing"] = target.reason
    return Layout(chosen, orientation, axes, shapes, spacings, runs[list(axes)], target.value, reasons)


def _flat(
    found: Fingerprint, dim: int | None, spacing: Sequence[float | None] | float | None, cropped: bool
) -> Layout:
    if dim == 3:
        raise UsageError("dim is 3, but the images are 2D", hint="leave dim out", code="PLAN_DIM")
    shapes = np.array([(1, *case.size(cropped)) for case in found.cases])
    spacings = np.array([(1.0, *case.spacing) for case in found.cases])
    target = _choose_spacing(shapes, spacings, 2, spacing)
    runs = _median_run([(1.0, *case.run) for case in found.cases if case.run])
    reasons = {
        "dim": "the images are 2D",
        "orientation": "2D images are kept as they are",
        "axes": "one slice per image",
        "spacing": target.reason,
    }
    return Layout(2, "native", (2, 0, 1), shapes, spacings, runs, target.value, reasons)


def _choose_orientation(cases: Sequence[CaseFacts]) -> Choice[Literal["RAS", "native"]]:
    """RAS, unless slices of oblique stacks would come to lie along different axes in different cases."""
    if any(case.ras is None for case in cases):
        return Choice("native", "an affine is broken, so no orientation can be read")
    native = Counter(_thick_axis(case, None) for case in cases)
    turned = Counter(_thick_axis(case, case.ras) for case in cases)
    if max(native.values()) > max(turned.values()):
        why = "slices are stacked along one file axis in all scans, but along different anatomical axes"
        return Choice("native", f"{why} ({len(turned)} of them), so turning would mix them up")
    return Choice("RAS", "all scans are turned the same way")


def _thick_axis(case: CaseFacts, order: Axes | None) -> int | None:
    """The axis with clearly thicker, or clearly fewer, voxels; None for a cube of cubes."""
    take = list(order or (0, 1, 2))
    mm, sizes = np.array(case.spacing)[take], np.array(case.shape)[take]
    if mm.max() > 1.5 * np.sort(mm)[1]:
        return int(mm.argmax())
    return int(sizes.argmin()) if 2 * sizes.min() < np.sort(sizes)[1] else None


def _turned(
    cases: Sequence[CaseFacts], orientation: Literal["RAS", "native"], cropped: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    orders = [list((case.ras if orientation == "RAS" else None) or (0, 1, 2)) for case in cases]
    shapes = [np.array(case.size(cropped))[order] for case, order in zip(cases, orders, strict=True)]
    spacings = [np.array(case.spacing)[order] for case, order in zip(cases, orders, strict=True)]
    runs = [np.array(case.run)[order] for case, order in zip(cases, orders, strict=True) if case.run]
    return np.array(shapes, np.int64), np.array(spacings, np.float64), _median_run(runs)


def _median_run(runs: Sequence[Any]) -> NDArray[np.float64]:
    return np.median(np.array(runs, np.float64), axis=0) if len(runs) else np.full(3, np.inf)


def _read_slices(shapes: NDArray[np.int64], spacings: NDArray[np.float64]) -> tuple[bool, int, str]:
    """Whether slices should be read one by one, along which axis, and why."""
    sizes, mm = np.median(shapes, axis=0), np.median(spacings, axis=0)
    order = np.argsort(mm)
    thick = bool(mm[order[2]] > ANISOTROPIC * mm[order[1]])
    fewest = int(sizes.argmin()) if 2 * sizes.min() < np.sort(sizes)[1] else 2  # last where none stands out
    axis = int(order[2]) if thick else fewest
    count, plane = sizes[axis], min(sizes[other] for other in range(3) if other != axis)
    few = bool(count < (FEW_THICK_SLICES if thick else FEW_SLICES) and plane >= FLATNESS * count)
    apart = f", {mm[axis]:.3g} mm apart with pixels of {mm[order[0]]:.3g} mm" if thick else ""
    if few:
        return True, axis, f"about {count:g} slices{apart}, of at least {plane:g} pixels: too few for 3D"
    return False, axis, f"about {times(sizes, 6)} voxels: volumes"


def _choose_spacing(
    shapes: NDArray[np.int64],
    spacings: NDArray[np.float64],
    dim: int,
    asked: Sequence[float | None] | float | None,
) -> Choice[Target]:
    if asked is not None:
        return Choice(_sensible(_asked_spacing(asked, dim), shapes, spacings))
    mm = np.median(spacings, axis=0)
    same = bool(np.allclose(spacings, mm, rtol=1e-3))
    why = "every scan has it" if same else "median of the training scans"
    if dim == 2:
        return Choice((None, _rounded(mm[1]), _rounded(mm[2])), f"{why}; slices stay as they are")
    axis = int(mm.argmax())
    others = [other for other in range(3) if other != axis]
    sizes = np.median(shapes, axis=0)
    thick = mm[axis] > ANISOTROPIC * max(mm[others])
    if thick and ANISOTROPIC * sizes[axis] < min(sizes[others]) and not same:
        mm[axis] = max(float(np.percentile(spacings[:, axis], 10)), float(max(mm[others])))
        why += f"; thick slices: the 10th percentile along axis {axis}, to keep what the finer scans show"
    return Choice((_rounded(mm[0]), _rounded(mm[1]), _rounded(mm[2])), why)


def _asked_spacing(asked: Sequence[float | None] | float, dim: int) -> Target:
    values = [asked] if isinstance(asked, int | float) else list(asked)
    if len(values) == 1:
        values *= dim
    if dim == 2 and len(values) == 2:
        values = [None, *values]
    fits = len(values) == 3 and all(v is None or (np.isfinite(v) and v > 0) for v in values)
    if not fits or (dim == 2 and values[0] is not None):
        wanted = "two numbers, pixels only (slices stay as they are)" if dim == 2 else "three numbers"
        raise UsageError(
            f"spacing is {asked!r}, wanted {wanted} in mm above 0, one per stored axis",
            hint="such as 0.7,0.7" if dim == 2 else "such as 1,1,1; null keeps each scan's own",
            code="PLAN_SPACING",
        )
    a, b, c = (None if v is None else float(v) for v in values)
    return a, b, c


def _sensible(target: Target, shapes: NDArray[np.int64], spacings: NDArray[np.float64]) -> Target:
    """The asked voxel size, unless it leaves nothing of a scan, or more than any machine holds."""
    own = np.median(shapes, axis=0)
    sizes = np.median(shapes * spacings, axis=0) / [np.nan if mm is None else mm for mm in target]
    sizes = np.where(np.isnan(sizes), own, sizes)
    if sizes.max() <= MOST_VOXELS and sizes.max() >= 2:
        return target
    raise UsageError(
        f"spacing is {list(target)}: scans of {times(own, 6)} voxels would have {times(sizes, 3)}",
        hint="spacing is in mm, such as 1,1,1; null keeps each scan's own",
        code="PLAN_SPACING",
    )


def _rounded(mm: float) -> float:
    return float(f"{mm:.5g}")
