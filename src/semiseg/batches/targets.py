"""Extra training targets by name, computed from the labels of a batch after augmentation.

``sdf`` is the signed distance to each foreground class, in [-1, 1]; ``sdf_published`` is the form of the
published codes for a class that is not in the crop. It is the target of DTC (Luo et al. 2021,
arXiv:2009.04448) and SASSNet (Li et al. 2020, arXiv:2007.10732), as their codes compute it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.errors import unknown_name

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


def signed_distance(labels: Tensor, classes: int, *, absent: Literal["ones", "zeros"] = "ones") -> Tensor:
    """``d_out / max(d_out) - d_in / max(d_in)`` of each foreground class, 0 on its inner boundary.

    d_in is the distance of a voxel of the class to the nearest other voxel, d_out that of any other voxel to
    the nearest of the class, in voxels whatever the spacing; the inner boundary is where d_in = 1. Only the
    crop counts: nothing is known of what lies outside, and the maxima are the crop's.

    A class that fills the crop is -1 everywhere (the published code divides 0 by 0). Voxels labeled
    :data:`semiseg.core.IGNORE` belong to no class and have a distance like any other voxel outside; losses
    leave them out.

    Args:
        labels: (B, *S) whole numbers, two or three axes, on any device.
        classes: K with background.
        absent: a class that is not in the crop is +1 everywhere (``ones``: all of it is far outside), or 0
            (``zeros``, published: all of it is boundary).

    Returns:
        (B, K-1, *S) float32 in [-1, 1] on the device of the labels; channel c is class c + 1.
    """
    from scipy.ndimage import find_objects

    crops = labels.to("cpu", torch.int32).numpy()
    maps = np.full((len(crops), classes - 1, *crops.shape[1:]), 1 if absent == "ones" else 0, np.float32)
    for crop, channels in zip(crops, maps, strict=True):
        boxes = find_objects(crop, max_label=classes - 1)
        for c, box in enumerate(boxes):
            if box is not None:
                channels[c] = _of_mask(crop == c + 1, box)
    return torch.from_numpy(maps).to(labels.device)


def _of_mask(mask: Mask, box: tuple[slice, ...]) -> Map | float:
    """The map of a mask that is not empty and lies in ``box``."""
    if mask.all():
        return -1.0
    signed, around = _distances(mask, box)
    part, inside = signed[around], mask[around]
    depth = part[inside]
    signed /= np.max(signed, where=~mask, initial=0)
    part[inside] = np.where(depth == 1, 0, -depth / depth.max())
    return signed


def _distances(mask: Mask, box: tuple[slice, ...]) -> tuple[Map, tuple[slice, ...]]:
    """The Euclidean distance of each voxel to the nearest of the other kind, and a box around the mask."""
    # The nearest voxel outside of the mask is in the box or right beside it.
    around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    try:
        from edt import edt
    except ImportError:
        from scipy.ndimage import distance_transform_edt

        whole: NDArray[Any] = distance_transform_edt(~mask)
        signed: Map = whole.astype(np.float32)
        inside = mask[around]
        signed[around][inside] = distance_transform_edt(inside)[inside]
        return signed, around
    # Two labels instead of a mask: one transform measures inside and outside at once.
    both: Map = edt(np.ascontiguousarray(mask).view(np.uint8) + np.uint8(1), parallel=1)
    return both, around


TARGETS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "sdf": functools.partial(signed_distance, absent="ones"),
    "sdf_published": functools.partial(signed_distance, absent="zeros"),
}
"""Name -> function of the labels (Bl, *S) and the number of classes K, background included."""


def require_known(names: Sequence[str]) -> None:
    """Refuse names that are not in :data:`TARGETS`.

    Raises:
        UsageError: with the nearest name.
    """
    for name in names:
        if name not in TARGETS:
            raise unknown_name("target", name, TARGETS)


def make_targets(names: Sequence[str], labels: Tensor, classes: int) -> dict[str, Tensor]:
    """Targets of a batch by their names in :data:`TARGETS`, on the device of the labels.

    Args:
        names: see :func:`require_known`.
        labels: (Bl, *S) whole numbers in [0, K), :data:`semiseg.core.IGNORE` where nothing is known.
        classes: K.
    """
    return {name: TARGETS[name](labels, classes) for name in names}
