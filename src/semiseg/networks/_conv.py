"""Convolutions that are as fast for one small sample on a CPU as they are for two."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_LARGE = 20480
"""Channels times the first two edges above which PyTorch gives a float32 sample alone to oneDNN."""


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with the same values; see :class:`Conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return super().forward(x) if _is_fast(self, x) else _beside_nothing(self, x)


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` with the same values, several times as fast on a CPU for one small sample in float32.

    There, PyTorch falls back to a loop of its own: five to six times slower on 16 channels of 16 x 32 x 16
    voxels, which is what a teacher sees of a small patch, and a small network of a sliding window.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D', H', W')."""
        return super().forward(x) if _is_fast(self, x) else _beside_nothing(self, x)


def _is_fast(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> bool:
    """Whether PyTorch gives it to a fast kernel by itself."""
    one_voxel = max(conv.kernel_size) == 1  # a matrix product either way
    alone = len(x) == 1 and x.shape[:4].numel() <= _LARGE and conv.groups == 1
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return one_voxel or not alone or not plain or not torch.backends.mkldnn.enabled


def _beside_nothing(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution by oneDNN: by name where nothing learns from it, else beside an empty sample.

    Two samples go to oneDNN forward and backward; that costs an empty one, and no double backward is lost.
    """
    if torch.is_grad_enabled():
        both = torch.cat((x, torch.zeros_like(x)))
        return cast(Tensor, conv._conv_forward(both, conv.weight, conv.bias))[:1]
    padding = cast("tuple[int, ...]", conv.padding)  # none of our networks names it
    return torch.mkldnn_convolution(x, conv.weight, conv.bias, padding, conv.stride, conv.dilation, 1)
