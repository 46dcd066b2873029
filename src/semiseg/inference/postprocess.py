"""Clean a label map: fill holes, keep the largest component of a class, drop specks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from semiseg.errors import unknown_name
from semiseg.inference.components import Labels, clean, fill


def postprocess(
    labels: Labels,
    values: Mapping[str, int],
    *,
    fill_holes: bool | Sequence[str] = False,
    largest_component: bool | Sequence[str] = False,
    minimum_mm3: float = 0.0,
    spacing: Sequence[float] = (),
    background: int = 0,
    regions: Mapping[str, Sequence[int]] | None = None,
) -> Labels:
    """Fill the holes of all classes, then remove components class by class, which become background.

    A hole is background that a class encloses, in 3D on all sides; other classes inside stay what they are.

    Components are connected through faces, edges and corners (26 neighbors in 3D, 8 in 2D). Of components of
    equal size the first in raster order is kept.

    Args:
        labels: (*S) integers.
        values: foreground class name -> its value in ``labels``.
        fill_holes: True for every foreground class, or the names of some.
        largest_component: True for every foreground class, or the names of some.
        minimum_mm3: components smaller than this volume are dropped (mm² in 2D).
        spacing: mm per array axis, for ``minimum_mm3`` (default: 1 mm).
        background: the value of what is removed.
        regions: name -> all values of a region, in the order of painting, where classes overlap; ``values``
            is then what each is painted with. What is removed from a region becomes what is there without it,
            and regions inside of it lose the same voxels.

    Returns:
        A new array of the same dtype, or ``labels`` itself when there is nothing to do.

    Raises:
        UsageError: a name in ``fill_holes`` or ``largest_component`` that is no foreground class.
    """
    filled, largest = _names(fill_holes, values), _names(largest_component, values)
    voxel_mm3 = float(np.prod(spacing)) if len(spacing) else 1.0
    minimum = int(np.ceil(minimum_mm3 / voxel_mm3 - 1e-9))
    if not filled and not largest and minimum <= 1:
        return labels
    if regions:
        return _of_regions(labels, values, regions, filled, largest, minimum, background)
    result = labels.copy()
    foreground = {name: value for name, value in values.items() if value != background}
    fill(result, [value for name, value in foreground.items() if name in filled], background)
    if largest or minimum > 1:
        for name, value in foreground.items():
            clean(result, value, largest=name in largest, minimum=minimum, background=background)
    return result


def _of_regions(
    labels: Labels,
    values: Mapping[str, int],
    regions: Mapping[str, Sequence[int]],
    filled: set[str],
    largest: set[str],
    minimum: int,
    background: int,
) -> Labels:
    result = np.full_like(labels, background)
    cleaned: dict[str, Labels] = {}
    for name, members in regions.items():
        mask = np.isin(labels, list(members)).astype(np.uint8)
        for outer, left in cleaned.items():
            if set(members) <= set(regions[outer]):
                mask &= left
        if name in filled:
            fill(mask, [1])
        clean(mask, 1, largest=name in largest, minimum=minimum)
        cleaned[name] = mask
        result[mask > 0] = values[name]
    return result


def _names(chosen: bool | Sequence[str], values: Mapping[str, int]) -> set[str]:
    if isinstance(chosen, bool):
        return set(values) if chosen else set()
    for name in chosen:
        if name not in values:
            raise unknown_name("class", name, values)
    return set(chosen)
