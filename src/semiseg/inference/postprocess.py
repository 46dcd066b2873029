"""Clean a label map: keep the largest component of a class, drop specks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import unknown_name

Labels = NDArray[Any]


def postprocess(
    labels: Labels,
    values: Mapping[str, int],
    *,
    largest_component: bool | Sequence[str] = False,
    minimum_mm3: float = 0.0,
    spacing: Sequence[float] = (),
    background: int = 0,
) -> Labels:
    """Remove components class by class; what is removed becomes background.

    Components are connected through faces, edges and corners (26 neighbors in 3D, 8 in 2D). Of components of
    equal size the first in memory order is kept.

    Args:
        labels: (*S) integers.
        values: foreground class name -> its value in ``labels``.
        largest_component: True for every foreground class, or the names of some.
        minimum_mm3: components smaller than this volume are dropped (mm² in 2D).
        spacing: mm per array axis, for ``minimum_mm3`` (default: 1 mm).
        background: the value of what is removed.

    Returns:
        A new array of the same dtype, or ``labels`` itself when there is nothing to do.

    Raises:
        UsageError: a name in ``largest_component`` that is no foreground class.
    """
    largest = _names(largest_component, values)
    voxel_mm3 = float(np.prod(spacing)) if len(spacing) else 1.0
    minimum = int(np.ceil(minimum_mm3 / voxel_mm3 - 1e-9))
    if not largest and minimum <= 1:
        return labels
    result = labels.copy()
    for name, value in values.items():
        if value != background:
            _clean(result, value, name in largest, minimum, background)
    return result


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer[Any]], int]:
    """Number the connected parts of a 2D or 3D mask from 1; 0 outside. Corners connect."""
    try:
        import cc3d  # several times faster; optional because of its license
    except ImportError:
        from scipy import ndimage

        numbered, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
        return numbered, int(count)
    result = cc3d.connected_components(mask, connectivity=26 if mask.ndim == 3 else 8, return_N=True)
    return result[0], int(result[1])


def _clean(labels: Labels, value: int, largest: bool, minimum: int, background: int) -> None:
    """Drop the unwanted components of one class, in place, looking only at the box that it fills."""
    box = _box(labels == value)
    if box is None:
        return
    part = labels[box]  # a view
    numbered, count = components(part == value)
    sizes = np.bincount(numbered.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= max(minimum, 1)
    if largest:
        keep &= np.arange(count + 1) == sizes.argmax()
    part[(numbered > 0) & ~keep[numbered]] = background


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(used):
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)


def _names(largest: bool | Sequence[str], values: Mapping[str, int]) -> set[str]:
    if isinstance(largest, bool):
        return set(values) if largest else set()
    for name in largest:
        if name not in values:
            raise unknown_name("class", name, values)
    return set(largest)
