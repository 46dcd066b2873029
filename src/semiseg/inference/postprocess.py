"""Clean a label map: fill holes, keep the largest component of a class, drop specks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

Connectivity = Literal["faces", "edges", "corners"]
"""What connects two voxels: 6, 18 or 26 neighbors in 3D; 4, 8 or 8 in 2D."""

Labels = NDArray[Any]

_ORDERS = {"faces": 1, "edges": 2, "corners": 3}
_NEIGHBORS: dict[tuple[int, int], Any] = {(2, 1): 4, (2, 2): 8, (3, 1): 6, (3, 2): 18, (3, 3): 26}


def components(
    mask: NDArray[np.bool_], connectivity: Connectivity = "corners"
) -> tuple[NDArray[np.integer[Any]], int]:
    """Number the connected parts of a 2D or 3D mask from 1; 0 outside."""
    order = min(_ORDERS[connectivity], mask.ndim)
    try:
        import cc3d  # several times faster; optional because of its license
    except ImportError:
        from scipy import ndimage

        numbered, count = ndimage.label(mask, structure=ndimage.generate_binary_structure(mask.ndim, order))
        return numbered, int(count)
    numbers = mask.view(np.uint8)  # for bool, cc3d 4.1.1 takes a shortcut that is wrong in flat, thin arrays
    result = cc3d.connected_components(numbers, connectivity=_NEIGHBORS[mask.ndim, order], return_N=True)
    return result[0], int(result[1])


def clean(
    labels: Labels,
    value: int,
    *,
    largest: bool = True,
    minimum: int = 1,
    background: int = 0,
    connectivity: Connectivity = "corners",
) -> None:
    """Drop components of the class ``value`` in labels (*S), in place, looking only at the box that it fills.

    All but the ``largest``, of equals the one met first in raster order; all with less than ``minimum``
    voxels. What is dropped gets the value ``background``.
    """
    box = box_of(labels == value)
    if box is None:
        return
    part = labels[box]  # a view
    numbered, count = components(part == value, connectivity)
    if count == 1 and minimum <= 1:
        return
    sizes = np.bincount(numbered.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= max(minimum, 1)
    if largest:
        keep &= np.arange(count + 1) == _first_largest(numbered, sizes)
    keep[0] = True
    np.copyto(part, background, where=~keep[numbered])


def largest_components(labels: Tensor, classes: int, connectivity: Connectivity = "corners") -> Tensor:
    """Keep the largest component of each foreground class in each sample; what is dropped becomes 0.

    Args:
        labels: (B, *S) int64 in [0, K).
        classes: K, at most 255.
        connectivity: see :data:`Connectivity`.

    Returns:
        A new tensor of the same shape, type and device. The components are found on the CPU.
    """
    import torch  # late: processes that measure scans count components without it

    cleaned = labels.to(torch.uint8).to("cpu", copy=True).contiguous()  # the small type travels
    for sample in cleaned.numpy():
        for value in range(1, classes):
            clean(sample, value, connectivity=connectivity)
    return cleaned.to(labels.device).to(labels.dtype)


def _first_largest(numbered: NDArray[np.integer[Any]], sizes: NDArray[np.integer[Any]]) -> int:
    """The number of the largest component; only a tie needs a look at the places."""
    equals = np.flatnonzero(sizes == sizes.max())
    if len(equals) == 1:
        return int(equals[0])
    flat = numbered.reshape(-1)
    return int(flat[np.isin(flat, equals).argmax()])


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The smallest box that holds all that is set in a mask; None where nothing is."""
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(found):
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def fill(labels: Labels, values: Sequence[int], background: int = 0) -> None:
    """Give background that a class encloses to that class, in place.

    A hole has no way out through faces; a diagonal gap does not open it. Of classes around one another the
    inner one gets the hole. Other classes in a hole stay: the blood in a ring of muscle is none.
    """
    from scipy import ndimage

    boxes: list[tuple[tuple[slice, ...], int]] = []
    for value in values:
        boxes += [(box, value) for box in ndimage.find_objects((labels == value).view(np.uint8))]
    free = labels == background
    for box, value in sorted(boxes, key=lambda pair: _volume(pair[0]), reverse=True):
        part = labels[box]  # a view
        part[_enclosed(part == value) & free[box]] = value


def _enclosed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the rest of the box has no way to a side of the box."""
    numbered, count = components(~mask, "faces")
    inside = np.arange(count + 1) > 0
    for axis in range(mask.ndim):
        for side in (0, -1):
            inside[np.unique(numbered.take(side, axis))] = False
    enclosed: NDArray[np.bool_] = inside[numbered]
    return enclosed


def _volume(box: tuple[slice, ...]) -> int:
    return math.prod(edge.stop - edge.start for edge in box)


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
