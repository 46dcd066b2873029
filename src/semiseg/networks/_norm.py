"""Instance normalization that keeps the channels-last memory format."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``F.instance_norm`` with the same values; fast on the CPU for channels-last input.

    There, PyTorch's own instance norm returns a channels-first tensor, so that the next convolution reorders
    it, and the backward pass of a group norm with one channel per group is some 15 times slower. The batch
    norm kernel is fast and keeps the format, and on a batch of one it *is* an instance norm.

    Args:
        x: (B, C, *S).
        weight: (C,) or None for 1.
        bias: (C,) or None for 0.

    Raises:
        UsageError: a feature map of a single voxel, whose normalization is always 0.
    """
    if x.shape[2:].numel() < 2:
        raise too_small()
    if x.device.type == "cpu" and _channels_last(x):
        samples = [F.batch_norm(one, None, None, weight, bias, training=True) for one in torch.split(x, 1)]
        return torch.cat(samples) if len(samples) > 1 else samples[0]
    return F.instance_norm(x, weight=weight, bias=bias)


def too_small() -> UsageError:
    """The error for a patch that leaves nothing to normalize."""
    return UsageError(
        "the input is so small that its deepest feature map is one voxel, which cannot be normalized",
        hint="use a larger patch, or a network with fewer stages",
        code="PATCH_TOO_SMALL",
    )


def _channels_last(x: Tensor) -> bool:
    form = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return not x.is_contiguous() and x.is_contiguous(memory_format=form)


class InstanceNorm(nn.Module):
    """Instance norm with a learned scale and shift per channel; state: ``weight`` and ``bias``, (C,) each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> the same shape; each channel of each sample has mean ``bias``, std ``weight``."""
        return instance_norm(x, self.weight, self.bias)


class PlainInstanceNorm(nn.Module):
    """Instance norm with no parameters and no state, the ``InstanceNorm`` that PyTorch builds by default."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> the same shape; each channel of each sample has mean 0, std 1."""
        return instance_norm(x)
