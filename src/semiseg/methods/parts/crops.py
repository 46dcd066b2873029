"""Two crops of one scan, and where they show the same voxels."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[slice, ...]


def overlap(shift: Sequence[int], size: Sequence[int]) -> tuple[Box, Box] | None:
    """The part of each crop that the other one shows too; None if there is none.

    Args:
        shift: by how many voxels per axis the second crop begins after the first.
        size: of both.

    Returns:
        Slices per axis of the first crop and of the second.
    """
    first = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, size, strict=True))
    second = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, size, strict=True))
    return (first, second) if all(box.start < box.stop for box in first) else None
