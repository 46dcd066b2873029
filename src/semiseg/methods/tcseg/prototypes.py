"""How like its own image's confident voxels each voxel is, and one compact region out of unreliable ones.

Both of Li & Qin 2026, arXiv:2605.25561.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.inference.postprocess import largest_components


def class_thresholds(classes: int, high: float, low: float, like: Tensor) -> Tensor:
    """(K, 1): ``1 - low`` for the background and ``high`` for all others."""
    return like.new_tensor([1.0 - low] + [high] * (classes - 1))[:, None]


def prototype_maps(logits: Tensor, features: Tensor, *, high: float, low: float) -> Tensor:
    """The cosine of every voxel's features to the mean of the confident voxels of each class, per image.

    Confident voxels are those of which the most likely class reaches its threshold. The gradient flows
    through features and means, not through the choice of voxels.

    Returns:
        (B, K, *S) float32 in [-1, 1]; 0 for a class without a confident voxel.
    """
    with torch.autocast(features.device.type, enabled=False):
        p = logits.detach().float().softmax(1).flatten(2)
        sure = p >= class_thresholds(p.shape[1], high, low, p)
        chosen = (sure & (p == p.amax(1, keepdim=True))).float()
        flat = features.float().flatten(2)
        means = torch.einsum("bdv,bkv->bkd", flat, chosen) / (chosen.sum(2) + 1e-6)[..., None]
        prototypes = F.normalize(means, dim=2, eps=1e-12)
        cosine = torch.einsum("bdv,bkd->bkv", F.normalize(flat, dim=1, eps=1e-8), prototypes)
        return cosine.view(logits.shape)


def difference(first: Tensor, second: Tensor) -> Tensor:
    """(B, *S): the largest absolute difference of two maps (B, K, *S) over the foreground classes."""
    return (first - second)[:, 1:].abs().amax(1)


LARGEST_ELEMENT = 7
SMALLEST_REGION = {2: 20, 3: 100}
"""Pixels and voxels; a region with fewer is none."""


def draw_element(dim: int) -> Tensor:
    """A random structuring element from torch's CPU generator: a side of 1 to 7, each cell there or not."""
    side = int(torch.randint(1, LARGEST_ELEMENT + 1, ()))
    return torch.rand([side] * dim) < 0.5


def closed(mask: Tensor) -> Tensor:
    """Binary closing of (B, *S) with a box of three voxels per axis; what is outside counts as False."""
    pool = F.max_pool2d if mask.ndim == 3 else F.max_pool3d
    dilated = pool(mask.float().unsqueeze(1), 3, stride=1, padding=1)
    outside = F.pad(1.0 - dilated, [1, 1] * (mask.ndim - 1), value=1.0)
    return pool(outside, 3, stride=1)[:, 0] < 0.5


def dilated(mask: Tensor, element: Tensor) -> Tensor:
    """Binary dilation of one mask (*S) with an element whose center is at ``side // 2``."""
    convolve = F.conv2d if mask.ndim == 2 else F.conv3d
    side = element.shape[0]
    kernel = element.flip(list(range(element.ndim))).to(mask.device, torch.float32, non_blocking=True)
    padded = F.pad(mask.float()[None, None], [side - 1 - side // 2, side // 2] * mask.ndim)
    return convolve(padded, kernel[None, None])[0, 0] > 0.5


def regions(unreliable: Tensor, elements: Sequence[Tensor]) -> Tensor:
    """The largest piece of each mask (B, *S), connected by faces, after closing and dilation; on the CPU.

    Nothing where too little is left. Each image has an element of the dilation.
    """
    grown = torch.stack([dilated(mask, e) for mask, e in zip(closed(unreliable), elements, strict=True)])
    found = grown.cpu()
    enough = found.flatten(1).sum(1) >= SMALLEST_REGION[found.ndim - 1]
    found &= enough.view(-1, *[1] * (found.ndim - 1))
    return largest_components(found.long(), 2, "faces").bool()


def centers(masks: Tensor) -> list[list[int]] | None:
    """The mean place of each mask (B, *S), rounded down per axis; None if one of them is empty."""
    places = [mask.nonzero().float() for mask in masks]
    if any(not len(place) for place in places):
        return None
    return [place.mean(0).int().tolist() for place in places]
