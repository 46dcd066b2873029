"""Sliding-window prediction: overlapping windows, probabilities averaged by weight.

The windows form a grid and both weightings are separable, so the sum of weights is an outer product of one
short vector per axis: no counter volume is kept. Probabilities are handed out slab by slab along the first
axis, as soon as no later window touches them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semiseg.errors import UsageError, plural
from semiseg.inference.accumulate import Accumulator, Grid, Slab, Start

Weighting = Literal["gaussian", "uniform"]
Predict = Callable[[Tensor], Tensor]
"""(B, C, *patch) -> (B, K, *patch)."""

MOST_WINDOWS = 1_000_000
"""Of one scan. More take days, and are a slip in the overlap."""
SHARE_FOR_IMAGE = 0.25
"""An image is moved to the GPU as a whole if it takes at most this share of the free memory there."""


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

    _check(image.shape[1:], patch, stride, overlap)
    planar = image.ndim == 3
    volume = image[:, None] if planar else image
    parts = slabs(predict, volume, patch, overlap=overlap, stride=stride, weighting=weighting, batch=batch)
    result = torch.cat([slab.probabilities for slab in parts], 1)
    return result[:, 0] if planar else result


@torch.no_grad()
def slabs(
    predict: Predict,
    image: Tensor,
    patch: Sequence[int],
    *,
    overlap: float = 0.5,
    stride: Sequence[int] | None = None,
    weighting: Weighting = "gaussian",
    batch: int = 1,
    device: torch.device | None = None,
) -> Generator[Slab, None, None]:
    """As :func:`sliding_window`, slab by slab along T0, so that not all probabilities exist at a time.

    Every voxel's sum is made in the order of the windows, whatever the slabs. At most ``patch[0]`` rows and
    one step between windows are held: (patch[0] + step) * T1 * T2 * K * 4 bytes.

    ``predict`` gives *probabilities* (B, K, *patch) of windows of ``image`` (C, T0, T1, T2), all float32. A
    patch of two entries makes every index of T0 an image of its own; windows of several share a batch. Sums
    are kept on ``device``, where ``predict`` also wants its input (default: that of ``image``).

    Yields:
        Slabs that cover T0 in order, on ``device``, or on the CPU where that does not fit.
    """
    size, planar = tuple(image.shape[1:]), len(patch) == 2
    _check(size[1:] if planar else size, patch, stride, overlap)
    window = (1, *patch) if planar else tuple(patch)
    device = device or image.device
    padded, before = pad_to(image, window)
    padded = _moved(padded, device)
    stride = (1, *stride) if planar and stride is not None else stride
    axes = _axis_starts(padded.shape[1:], window, overlap, stride)
    total = Accumulator(_grid(tuple(padded.shape[1:]), window, axes, weighting, batch), device)
    _require_few(axes, size, window)
    todo = list(itertools.product(*axes))
    done = 0
    while done < len(todo):
        starts = todo[done : done + batch]
        windows = torch.stack([padded[_at(start, window)] for start in starts]).to(device, non_blocking=True)
        try:
            if planar:
                total.add(predict(_channels_last(windows[:, :, 0])).unsqueeze(2), starts)
            else:
                total.add(predict(_channels_last(windows)), starts)
        except torch.OutOfMemoryError:
            batch = total.make_room(batch)
            continue
        done += len(starts)
        del windows
        for slab in total.finished(todo[done][0] if done < len(todo) else padded.shape[1]):
            yield from _cropped(slab, before, size)


def window_starts(
    size: Sequence[int], patch: Sequence[int], overlap: float, stride: Sequence[int] | None
) -> list[Start]:
    """First voxel of every window, in order. ``size`` is at least ``patch`` along every axis."""
    return list(itertools.product(*_axis_starts(size, patch, overlap, stride)))


def pad_to(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Zeros around (C, *S) up to ``patch``; the padded image and how many came before along each axis."""
    missing = [max(p - s, 0) for p, s in zip(patch, image.shape[1:], strict=True)]
    before = tuple(m // 2 for m in missing)
    if not any(missing):
        return image, before
    pairs = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    return F.pad(image, [n for pair in reversed(pairs) for n in pair]), before


@lru_cache(maxsize=64)
def axis_weight(length: int, weighting: Weighting) -> Tensor:
    """The weight of a window along one axis, (length,) float32 on the CPU, largest 1, all above 0."""
    if weighting == "uniform":
        return torch.ones(length)
    distance = torch.arange(length) - (length - 1) / 2
    weight = torch.exp(-0.5 * (distance / (length / 8)) ** 2)
    return weight / weight.max()


def _axis_starts(
    size: Sequence[int], patch: Sequence[int], overlap: float, stride: Sequence[int] | None
) -> list[list[int]]:
    axes = []
    for axis, (length, window) in enumerate(zip(size, patch, strict=True)):
        step = stride[axis] if stride is not None else max(1, round(window * (1 - overlap)))
        last = length - window
        count = math.ceil(last / step) + 1
        if stride is not None:
            axes.append([min(step * i, last) for i in range(count)])
        else:  # the same number of windows, spread so that all neighbors overlap alike
            axes.append([round(last * i / max(count - 1, 1)) for i in range(count)])
    return axes


def _grid(
    size: tuple[int, ...],
    window: tuple[int, ...],
    axes: Sequence[Sequence[int]],
    weighting: Weighting,
    batch: int,
) -> Grid:
    rows, *plane = axes
    if window[0] == 1:  # each row is done after its own windows: cut where a batch may end
        cuts = {*range(0, size[0], batch), size[0]}
    else:
        cuts = {0, *rows, *(row + window[0] for row in rows)}
    apart = all(len(starts) == 1 for starts in plane) and (len(rows) == 1 or window[0] == 1)
    weights = [axis_weight(length, weighting) for length in window]
    received = tuple(map(_received, weights, axes, size))
    return Grid(size, window, tuple(sorted(cuts)), None if apart else _outer(weights), received)


def _received(weight: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """How much weight each voxel of an axis gets."""
    total = torch.zeros(length)
    for start in sorted(set(starts)):
        total[start : start + len(weight)] += weight
    return total


def _outer(vectors: Sequence[Tensor]) -> Tensor:
    result = vectors[0]
    for vector in vectors[1:]:
        result = result[..., None] * vector
    return result


def _cropped(slab: Slab, before: Sequence[int], size: Sequence[int]) -> Iterator[Slab]:
    """The slab without what padding added; nothing where padding is all it holds."""
    first, *plane = before
    rows = slab.probabilities.shape[1]
    top, bottom = max(first - slab.start, 0), min(first + size[0] - slab.start, rows)
    if top < bottom:
        inside = (slice(b, b + s) for b, s in zip(plane, size[1:], strict=True))
        part = slab.probabilities[(slice(None), slice(top, bottom), *inside)]
        yield Slab(slab.start + top - first, part)


def _moved(image: Tensor, device: torch.device) -> Tensor:
    """The image on a GPU where there is room for it; windows of others travel one by one."""
    if device.type != "cuda" or image.device == device:
        return image
    free, _ = torch.cuda.mem_get_info(device)
    small = image.numel() * image.element_size() <= SHARE_FOR_IMAGE * free
    return image.to(device) if small else image


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


def _require_few(axes: Sequence[Sequence[int]], size: Sequence[int], window: Sequence[int]) -> None:
    count = math.prod(map(len, axes))
    if count > MOST_WINDOWS:
        scan, patch = ("x".join(map(str, edges)) for edges in (size, window))
        raise UsageError(
            f"a scan of {scan} voxels takes {count:,} windows of {patch}, wanted {MOST_WINDOWS:,} at most",
            hint="lower inference.overlap, or widen inference.stride",
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
        yield f"stride must be {plural(len(patch), 'number')} of at least 1, got {tuple(stride)}"
    elif stride is not None and any(s > p for s, p in zip(stride, patch, strict=True)):
        yield f"stride {tuple(stride)} leaves gaps between windows of {tuple(patch)}"
