"""Gray values to network input: one small function per scheme of :class:`~semiseg.data.plan.ChannelPlan`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.plan import ChannelPlan, Scheme

Image = NDArray[np.float32]

_BY_NAME: dict[str, Scheme] = {
    "ct": "ct",
    "nonorm": "none",
    "zscore": "zscore",
    "rescale_to_0_1": "rescale_to_0_1",
    "rgb_to_0_1": "rgb_to_0_1",
}


def scheme_for(channel_name: str) -> Scheme:
    """The scheme that a channel's name asks for, as in nnU-Net: ``CT``, ``noNorm``, ..., else z-score."""
    return _BY_NAME.get(channel_name.strip().casefold(), "zscore")


def normalize(channel: NDArray[Any], plan: ChannelPlan, inside: NDArray[np.bool_] | None = None) -> Image:
    """Normalize one channel of one scan.

    Args:
        channel: (T0, T1, T2), any numeric type.
        plan: the scheme, the window if there is one, and for ``ct`` the dataset's statistics.
        inside: for ``zscore``: the voxels that count. Given only where the plan crops to nonzero voxels, that
            is where the empty surroundings are large enough to distort the mean; they become 0, the mean of
            the rest. Min-max and the other schemes look at all voxels.

    Returns:
        (T0, T1, T2) float32. ``zscore`` has mean 0 and standard deviation 1 (a constant image becomes 0);
        ``rescale_to_0_1`` lies in [0, 1].
    """
    image = np.array(channel, np.float32, order="C")
    if plan.clip is not None:
        np.clip(image, *plan.clip, out=image)
    if plan.scheme == "zscore":
        return _zscore(image, inside)
    if plan.scheme == "ct":
        np.clip(image, plan.p005, plan.p995, out=image)
        return _shift_and_scale(image, plan.mean, max(plan.std, 1e-8))
    if plan.scheme == "rescale_to_0_1":
        low, high = float(image.min()), float(image.max())
        return _shift_and_scale(image, low, (high - low) or 1.0)
    if plan.scheme == "rgb_to_0_1":
        image /= np.float32(255)
    return image


def _zscore(image: Image, inside: NDArray[np.bool_] | None) -> Image:
    voxels = image if inside is None or not inside.any() else image[inside]
    mean, std = float(voxels.mean(dtype=np.float64)), float(voxels.std(dtype=np.float64))
    out = _shift_and_scale(image, mean, std if std > 1e-8 else 1.0)
    if inside is not None:
        out[~inside] = 0
    return out


def _shift_and_scale(image: Image, shift: float, scale: float) -> Image:
    image -= np.float32(shift)
    image /= np.float32(scale)
    return image
