"""Changes of intensity, batched: every function takes (B, C, *S) and moves no voxel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.batches.augment.draws import Draws


def weak(images: Tensor, draws: Draws) -> Tensor:
    """Small changes that any second scan would show: contrast, brightness, gamma, noise."""
    images = contrast(images, draws.uniform(0.85, 1.15))
    images = brightness(images, draws.uniform(-0.1, 0.1))
    images = gamma(images, draws.uniform(-0.15, 0.15))
    return noise(images, draws.uniform(0.0, 0.05), draws)


def strong(images: Tensor, draws: Draws) -> Tensor:
    """Large changes: bias field, contrast, brightness, gamma, blur, noise and holes."""
    on = [draws.chance(0.5).to(images.dtype) for _ in range(4)]
    images = bias_field(images, 0.4 * on[0], draws)
    images = contrast(images, draws.uniform(0.6, 1.5))
    images = brightness(images, draws.uniform(-0.3, 0.3))
    images = gamma(images, draws.uniform(-0.4, 0.4))
    images = blur(images, draws.uniform(0.4, 1.0) * on[1])
    images = noise(images, draws.uniform(0.0, 0.25) * on[2], draws)
    return holes(images, on[3], draws)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Spread about the mean of each channel, multiplied by ``factor`` (B,)."""
    mean = images.mean(_space(images), keepdim=True)
    return (images - mean) * _column(factor, images) + mean


def brightness(images: Tensor, shift: Tensor) -> Tensor:
    """Plus ``shift`` (B,) standard deviations of each channel."""
    return images + _column(shift, images) * images.std(_space(images), keepdim=True)


def gamma(images: Tensor, log_gamma: Tensor) -> Tensor:
    """Each channel scaled to [0, 1], raised to ``exp(log_gamma)`` (B,), and scaled back."""
    low = images.amin(_space(images), keepdim=True)
    span = (images.amax(_space(images), keepdim=True) - low).clamp_min(1e-6)
    return ((images - low) / span).clamp(0, 1) ** _column(log_gamma, images).exp() * span + low


def noise(images: Tensor, level: Tensor, draws: Draws) -> Tensor:
    """Plus Gaussian noise of ``level`` (B,) standard deviations of each channel."""
    spread = images.std(_space(images), keepdim=True)
    return images + _column(level, images) * spread * draws.normal(*images.shape[1:])


def bias_field(images: Tensor, strength: Tensor, draws: Draws) -> Tensor:
    """Times a smooth random field around 1, ``exp(strength * field)``, about the darkest value."""
    coarse = draws.uniform(-1, 1, 1, *[4] * (images.ndim - 2))
    mode = "trilinear" if images.ndim == 5 else "bilinear"
    field = F.interpolate(coarse, images.shape[2:], mode=mode, align_corners=True)
    low = images.amin(_space(images), keepdim=True)
    return (images - low) * (_column(strength, images) * field).exp() + low


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of ``sigma`` (B,) voxels, at most 1; 0 leaves a sample as it is."""
    offsets = torch.arange(-2, 3, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None].clamp_min(1e-3)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    for axis in range(2, images.ndim):
        padding = [0, 0] * (images.ndim - 2)
        padding[2 * (images.ndim - 1 - axis)] = padding[2 * (images.ndim - 1 - axis) + 1] = 2
        padded = F.pad(images, padding, mode="replicate")
        n = images.shape[axis]
        images = sum(
            (padded.narrow(axis, k, n) * _column(kernel[:, k], images) for k in range(5)),
            start=torch.zeros_like(images),
        )
    return images


def holes(images: Tensor, on: Tensor, draws: Draws, *, count: int = 3, edge: float = 0.25) -> Tensor:
    """Boxes of ``edge`` of the patch filled with the channel's mean, where ``on`` (B,) is 1."""
    covered = torch.zeros_like(images[:, :1])
    for _ in range(count):
        corner = draws.uniform(0, 1 - edge, images.ndim - 2)
        box = _column(on, images)
        for axis in range(2, images.ndim):
            n = images.shape[axis]
            at = torch.arange(n, device=images.device).view(
                [-1 if a == axis else 1 for a in range(images.ndim)]
            )
            first = _column(corner[:, axis - 2] * n, images)
            box = box * ((at >= first) & (at < first + edge * n))
        covered = torch.maximum(covered, box)
    return images + covered * (images.mean(_space(images), keepdim=True) - images)


def _column(values: Tensor, images: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, ...)."""
    return values.to(images).view(-1, *[1] * (images.ndim - 1))


def _space(images: Tensor) -> list[int]:
    return list(range(2, images.ndim))
