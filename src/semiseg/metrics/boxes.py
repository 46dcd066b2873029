"""The part of a volume that a class fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.metrics.surface import joint_box

Labels = NDArray[Any]
Box = tuple[slice, ...]

MANY = 3
"""From so many classes on, one pass over the volume is faster than one per class."""
LARGEST = 2**15
"""The one pass makes a list as long as the largest value."""


def class_boxes(first: Labels, second: Labels, values: Sequence[int]) -> Mapping[int, Box | None]:
    """For each value the smallest box that holds it in both label maps; None where neither has it.

    Args:
        first: (*S) integers.
        second: (*S) integers.
        values: of the classes.
    """
    one_pass = len(values) >= MANY and min(values) > 0 and max(values) <= LARGEST
    if not one_pass or first.dtype.kind not in "iu" or second.dtype.kind not in "iu":
        return {value: joint_box(first == value, second == value) for value in values}
    whole = joint_box(first != 0, second != 0)
    if whole is None:
        return dict.fromkeys(values)
    found = [_objects(labels[whole], max(values)) for labels in (first, second)]
    offsets = [edge.start for edge in whole]
    return {value: _shifted(_union(*(boxes[value - 1] for boxes in found)), offsets) for value in values}


def _objects(labels: Labels, largest: int) -> Sequence[Box | None]:
    from scipy import ndimage

    boxes: Sequence[Box | None] = ndimage.find_objects(np.ascontiguousarray(labels), largest)
    return boxes


def _union(first: Box | None, second: Box | None) -> Box | None:
    if first is None or second is None:
        return first or second
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def _shifted(box: Box | None, offsets: Sequence[int]) -> Box | None:
    if box is None:
        return None
    return tuple(slice(e.start + by, e.stop + by) for e, by in zip(box, offsets, strict=True))
