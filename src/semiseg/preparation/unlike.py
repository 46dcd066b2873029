"""How a scan differs from the training scans of a plan: in size, spacing and gray values, never by a label.

A scan is turned so that its axes run along R, A and S, where its file says how it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.images.grid import Grid
from semiseg.preparation.geometry import orientation
from semiseg.preparation.look import Look
from semiseg.preparation.plan import Plan
from semiseg.preparation.seen import Unlike

OWN_SCALE = ("zscore", "rescale_to_0_1")
"""Schemes that bring each scan to a scale of its own: the network does not see how large gray values were."""

__all__ = ["Unlike", "looks", "turn", "turned", "unlike"]


def unlike(plan: Plan, image: NDArray[Any], grid: Grid) -> list[Unlike]:
    """In what a scan is unlike the scans that the plan was made from, at most one entry per kind.

    Empty for plans that do not tell what their scans look like, as those of older versions.

    Args:
        plan: the model's.
        image: (C, *S), any numeric type, as the files hold it.
        grid: where the voxels lie.
    """
    if plan.seen is None or len(image) != len(plan.channels):
        return []
    channels = [(channel.name, channel.scheme not in OWN_SCALE) for channel in plan.channels]
    return plan.seen.unlike(
        turned(grid.shape, grid), turned(grid.spacing, grid), looks(image, grid), channels
    )


def turn(grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of a scan's axes, and which of them (after ordering) are flipped, to run along R, A and S.

    Nothing is turned where the file has no orientation that can be read, or the image is flat.
    """
    if len(grid.shape) == 3:
        try:
            order, flips = orientation(grid)
        except DataError:
            pass
        else:
            return order, tuple(axis for axis, flipped in enumerate(flips) if flipped)
    return tuple(range(len(grid.shape))), ()


def looks(image: NDArray[Any], grid: Grid) -> list[Look]:
    """One per channel of a scan."""
    order, flipped = turn(grid)
    return [Look.of(np.flip(channel.transpose(order), flipped)) for channel in image]


def turned(values: Sequence[Any], grid: Grid) -> tuple[Any, ...]:
    """A value per axis of the file, in the order of :func:`turn`."""
    return tuple(values[axis] for axis in turn(grid)[0])
