"""Patches of two views of one image that change places by how sure two networks are of them.

Adaptive bidirectional displacement (Chi et al. 2024, arXiv:2405.00378), in 2D and 3D, without a loop over
images. Patches are the boxes of a grid, numbered in raster order; of equals the first one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Moves(NamedTuple):
    """For each image: first patches of the second view go to the first one, then the other way round."""

    to_first: Tensor
    """(B,) int64, the patch of the first view that is overwritten."""
    from_second: Tensor
    """(B,) int64, by this one."""
    to_second: Tensor
    """(B,) int64, the patch of the second view that is overwritten afterwards."""
    from_first: Tensor
    """(B,) int64, by this one of the first view as it is by then."""
    on: Tensor
    """(B,) bool; False leaves an image as it is."""


def pooled(values: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, C, *S) -> (B, C, N): the mean over the voxels of each of the N = prod(grid) patches."""
    return F.interpolate(values.float(), size=tuple(grid), mode="area").flatten(2)


def grid_of(size: Sequence[int], cells: int) -> tuple[int, ...]:
    """Patches per axis: ``cells``, or the largest number below it that divides the axis."""
    return tuple(max(n for n in range(1, cells + 1) if length % n == 0) for length in size)


@torch.no_grad()
def replace_unsure(
    first: Tensor, second: Tensor, grid: Sequence[int], *, top: int, near: Tensor | None = None
) -> Moves:
    """The least sure patch of each view gets a sure one of the other view that is about the same (ABD-R).

    It is, of the ``top`` surest patches there, that with the smallest ``KL(d || d')`` of their distributions
    d, which are the softmax of the mean logits.

    Args:
        first: (B, K, *S) logits of one network on its view.
        second: those of the other network on the other view.
        grid: patches per axis.
        top: how many of the surest patches can be chosen.
        near: (B,) bool, False where the surest patch is taken instead; None is near throughout.
    """
    sure, other = _sure(first, grid), _sure(second, grid)
    log_d, log_e = (pooled(z, grid).log_softmax(1) for z in (first, second))
    to_first, to_second = sure.argmin(1), other.argmin(1)
    from_second = _nearest(_at(log_d, to_first), log_e, other, top)
    from_first = _nearest(_at(log_e, to_second), log_d, sure, top)
    if near is not None:
        from_second = from_second.where(near, other.argmax(1))
        from_first = from_first.where(near, sure.argmax(1))
    return Moves(to_first, from_second, to_second, from_first, torch.ones_like(to_first, dtype=torch.bool))


@torch.no_grad()
def replace_sure(first: Tensor, second: Tensor, grid: Sequence[int], on: Tensor) -> Moves:
    """The surest patch of each view gets the least sure one of the other (ABD-I), in images ``on`` (B,)."""
    sure, other = _sure(first, grid), _sure(second, grid)
    return Moves(sure.argmax(1), other.argmin(1), other.argmax(1), sure.argmin(1), on)


def displaced(first: Tensor, second: Tensor, moves: Moves, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Both views (B, C, *S) after the moves; labels as (B, 1, *S)."""
    one, two = _patches(first, grid), _patches(second, grid)
    one = _put(one, moves.to_first, _take(two, moves.from_second), moves.on)
    two = _put(two, moves.to_second, _take(one, moves.from_first), moves.on)
    return _whole(one, first, grid), _whole(two, second, grid)


def _sure(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, N): the mean largest probability of each patch."""
    return pooled(logits.float().softmax(1).amax(1, keepdim=True), grid)[:, 0]


def _nearest(log_p: Tensor, log_q: Tensor, sure: Tensor, top: int) -> Tensor:
    """(B,): of the ``top`` surest patches (B, N) that of q (B, K, N) which is nearest to p (B, K, 1)."""
    chosen = sure.topk(min(top, sure.shape[1]), dim=1).indices
    divergence = (log_p.exp() * (log_p - log_q)).sum(1).gather(1, chosen)
    return chosen.gather(1, divergence.argmin(1, keepdim=True))[:, 0]


def _at(values: Tensor, index: Tensor) -> Tensor:
    """(B, K, N), (B,) -> (B, K, 1)."""
    return values.gather(2, index.view(-1, 1, 1).expand(-1, values.shape[1], 1))


def _take(patches: Tensor, index: Tensor) -> Tensor:
    """(B, N, F), (B,) -> (B, 1, F)."""
    return patches.gather(1, index.view(-1, 1, 1).expand(-1, 1, patches.shape[2]))


def _put(patches: Tensor, index: Tensor, value: Tensor, on: Tensor) -> Tensor:
    here = torch.arange(patches.shape[1], device=patches.device) == index[:, None]
    return torch.where((here & on[:, None])[:, :, None], value, patches)


def _patches(x: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, C, *S) -> (B, N, F), with the F values of each patch in a row."""
    split = [part for n, g in zip(x.shape[2:], grid, strict=True) for part in (g, n // g)]
    dim = len(grid)
    cells, inside = [2 + 2 * i for i in range(dim)], [3 + 2 * i for i in range(dim)]
    return x.reshape(*x.shape[:2], *split).permute(0, *cells, 1, *inside).flatten(1 + dim).flatten(1, dim)


def _whole(patches: Tensor, like: Tensor, grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`_patches`."""
    dim = len(grid)
    sides = [n // g for n, g in zip(like.shape[2:], grid, strict=True)]
    apart = patches.reshape(len(patches), *grid, like.shape[1], *sides)
    order = [axis for i in range(dim) for axis in (1 + i, 2 + dim + i)]
    return apart.permute(0, 1 + dim, *order).reshape(like.shape)
