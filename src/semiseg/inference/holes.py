"""Holes of the classes of a label map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semiseg.parts.components import Labels, components


def fill(labels: Labels, values: Sequence[int], background: int = 0) -> None:
    """Give background that a class encloses to that class, in place.

    A hole has no way out through faces; a diagonal gap does not open it. Of classes around one another the
    inner one gets the hole. Other classes in a hole stay: the blood in a ring of muscle is none.

    Args:
        labels: (*S) integers.
        values: of the classes whose holes are filled.
        background: the value that holes have.
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
