"""Sliding-window prediction: overlapping windows, probabilities averaged by weight.

The windows form a grid and both weightings are separable, so the sum of weights is an outer product of one
short vector per axis: no counter volume is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semiseg.errors import UsageError
from semiseg.inference.accumulate import Accumulator

Weighting = Literal["gaussian", "uniform"]
Predict = Callable[[Tensor], Tensor]
"""(B, C, *patch) -> (B, K, *patch)."""
Start = tuple[int, ...]


def sliding_window(
    network: Predict,
    image: Tensor,
    patch: Sequence[int],
    *,
    overlap: float = 0.5,
    stride: Sequence[int] | None = None,
    weighting: Weighting = "gaussian",
    batch: int = 1,
) -> Tensor:
    """Class probabilities of one image of any size.

    Args:
        network: (B, C, *patch) -> (B, K, *patch) logits.
        image: (C, *S), two or three spatial axes.
        patch: window size in voxels per axis. Axes of the image that are shorter are padded with zeros on
            both sides (the smaller half first) and cropped back.
        overlap: share of a window that its neighbor covers too, in [0, 1); windows are spread evenly.
        stride: voxels between windows, instead of ``overlap``: window i starts at
            min(stride * i, size - patch).
        weighting: ``gaussian`` trusts a window's center more (standard deviation patch / 8); ``uniform`` is
            the plain mean of the published semi-supervised test scripts.
        batch: windows per forward pass.

    Returns:
        (K, *S) float32 probabilities on the image's device (on the CPU where they do not fit there).

    Raises:
        UsageError: sizes that do not fit one another.
        DeviceError: one single window does not fit into the device's memory.
    """

    def predict(x: Tensor) -> Tensor:
        return network(x).float().softmax(1)

    result = slide(
        predict, image[None], patch, overlap=overlap, stride=stride, weighting=weighting, batch=batch
    )
    return result[0]


@torch.no_grad()
def slide(
    predict: Predict,
    images: Tensor,
    patch: Sequence[int],
    *,
    overlap: float = 0.5,
    stride: Sequence[int] | None = None,
    weighting: Weighting = "gaussian",
    batch: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """As :func:`sliding_window`, for N images of one size at once, such as the slices of a volume.

    Args:
        predict: (B, C, *patch) -> (B, K, *patch) *probabilities*, float32.
        images: (N, C, *S). Windows of several images share a batch.
        patch: as there.
        overlap: as there.
        stride: as there.
        weighting: as there.
        batch: as there.
        device: where ``predict`` wants its input and the sums are kept (default: that of ``images``).

    Returns:
        (N, K, *S) float32 on ``device``, or on the CPU where that does not fit.
    """
    size = images.shape[2:]
    _check(size, patch, stride, overlap)
    device = device or images.device
    padded, before = pad_to(images, patch)
    starts = window_starts(padded.shape[2:], patch, overlap, stride)
    weights = [axis_weight(p, weighting) for p in patch]
    single = len(starts) == 1
    total = Accumulator(images.shape[0], padded.shape[2:], None if single else _outer(weights), device)
    jobs = [(n, start) for start in starts for n in range(images.shape[0])]
    done = 0
    while done < len(jobs):
        todo = jobs[done : done + batch]
        windows = torch.stack([padded[n][_at(start, patch)] for n, start in todo])
        try:
            probabilities = predict(_channels_last(windows.to(device, non_blocking=True)))
            total.add(probabilities, [(n, _at(start, patch)) for n, start in todo])
        except torch.OutOfMemoryError:
            batch = total.make_room(batch)
            continue
        done += len(todo)
    if not single:
        total.divide(_sums(weights, starts, padded.shape[2:]))
    crop = tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))
    return total.result()[(slice(None), slice(None), *crop)]


def window_starts(
    size: Sequence[int], patch: Sequence[int], overlap: float, stride: Sequence[int] | None
) -> list[Start]:
    """First voxel of every window. ``size`` is at least ``patch`` along every axis."""
    axes = []
    for axis, (length, window) in enumerate(zip(size, patch, strict=True)):
        step = stride[axis] if stride is not None else max(1, round(window * (1 - overlap)))
        last = length - window
        count = math.ceil(last / step) + 1
        if stride is not None:
            axes.append([min(step * i, last) for i in range(count)])
        else:  # the same number of windows, spread so that all neighbors overlap alike
            axes.append([round(last * i / max(count - 1, 1)) for i in range(count)])
    return list(itertools.product(*axes))


def pad_to(images: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Zeros around (N, C, *S) up to ``patch``; the padded images and how many came before along each axis."""
    missing = [max(p - s, 0) for p, s in zip(patch, images.shape[2:], strict=True)]
    before = tuple(m // 2 for m in missing)
    if not any(missing):
        return images, before
    pairs = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    return F.pad(images, [n for pair in reversed(pairs) for n in pair]), before


@lru_cache(maxsize=64)
def axis_weight(length: int, weighting: Weighting) -> Tensor:
    """The weight of a window along one axis, (length,) float32 on the CPU, largest 1, all above 0."""
    if weighting == "uniform":
        return torch.ones(length)
    distance = torch.arange(length) - (length - 1) / 2
    weight = torch.exp(-0.5 * (distance / (length / 8)) ** 2)
    return weight / weight.max()


def _outer(vectors: Sequence[Tensor]) -> Tensor:
    result = vectors[0]
    for vector in vectors[1:]:
        result = result[..., None] * vector
    return result


def _sums(weights: Sequence[Tensor], starts: Sequence[Start], size: Sequence[int]) -> list[Tensor]:
    """Per axis, how much weight each voxel received."""
    sums = []
    for axis, (weight, length) in enumerate(zip(weights, size, strict=True)):
        total = torch.zeros(length)
        for start in sorted({s[axis] for s in starts}):
            total[start : start + len(weight)] += weight
        sums.append(total)
    return sums


def _at(start: Start, patch: Sequence[int]) -> tuple[slice, ...]:
    return (slice(None), *(slice(s, s + p) for s, p in zip(start, patch, strict=True)))


def _channels_last(windows: Tensor) -> Tensor:
    """The memory order in which convolutions are fastest, on CPUs above all."""
    layout = torch.channels_last if windows.ndim == 4 else torch.channels_last_3d
    return windows.contiguous(memory_format=layout)


def _check(size: Sequence[int], patch: Sequence[int], stride: Sequence[int] | None, overlap: float) -> None:
    problems = list(_problems(len(size), patch, stride, overlap))
    if problems:
        raise UsageError(
            "sliding window: " + "; ".join(problems),
            hint="give one number per axis, none above the patch",
            code="WINDOW",
        )


def _problems(axes: int, patch: Sequence[int], stride: Sequence[int] | None, overlap: float) -> Iterator[str]:
    if axes not in (2, 3) or len(patch) != axes:
        yield f"image has {axes} spatial axes, the patch {len(patch)} (both must have 2 or 3)"
    if min(patch, default=0) < 1:
        yield f"patch must be at least 1 voxel per axis, got {tuple(patch)}"
    if not 0 <= overlap < 1:
        yield f"overlap must be in [0, 1), got {overlap}"
    if stride is not None and (len(stride) != len(patch) or min(stride, default=0) < 1):
        yield f"stride must be {len(patch)} numbers of at least 1, got {tuple(stride)}"
    elif stride is not None and any(s > p for s, p in zip(stride, patch, strict=True)):
        yield f"stride {tuple(stride)} leaves gaps between windows of {tuple(patch)}"
