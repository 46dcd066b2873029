"""The 2D and the 3D form of each layer, and forms of PyTorch's layers that are faster on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError

_LARGE = 20480
"""Channels times the first two edges above which PyTorch gives a float32 sample alone to oneDNN."""


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with the same values; see :class:`Conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        return super().forward(x) if _is_fast(self, x) else _by_onednn(self, x)


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` with the same values, several times as fast on a CPU for one small sample in float32.

    There, PyTorch falls back to a loop of its own: five to six times slower on 16 channels of 16 x 32 x 16
    voxels, which is what a teacher sees of a small patch, and a small network of a sliding window.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D', H', W')."""
        return super().forward(x) if _is_fast(self, x) else _by_onednn(self, x)


def _is_fast(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> bool:
    """Whether PyTorch gives it to a fast kernel by itself."""
    one_voxel = max(conv.kernel_size) == 1  # a matrix product either way
    alone = len(x) == 1 and x.shape[:4].numel() <= _LARGE and conv.groups == 1
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return one_voxel or not alone or not plain or not torch.backends.mkldnn.enabled


def _by_onednn(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution by oneDNN: by name where nothing learns from it, else beside an empty sample.

    Two samples go to oneDNN forward and backward; that costs an empty one, and no double backward is lost.
    """
    if torch.is_grad_enabled():
        both = torch.cat((x, torch.zeros_like(x)))
        return cast(Tensor, conv._conv_forward(both, conv.weight, conv.bias))[:1]
    padding = cast("tuple[int, ...]", conv.padding)  # none of our networks names it
    return torch.mkldnn_convolution(x, conv.weight, conv.bias, padding, conv.stride, conv.dilation, 1)


@dataclass(frozen=True)
class Layers:
    """The layer classes for one number of spatial axes."""

    conv: type[nn.Conv2d] | type[nn.Conv3d]
    up_conv: type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    batch_norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    dropout: type[nn.Dropout2d] | type[nn.Dropout3d]
    max_pool: type[nn.MaxPool2d] | type[nn.MaxPool3d]
    linear_mode: str
    """The ``mode`` of linear interpolation."""


_LAYERS = {
    2: Layers(Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool2d, "bilinear"),
    3: Layers(Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.Dropout3d, nn.MaxPool3d, "trilinear"),
}


def layers(dim: int) -> Layers:
    """The layers for ``dim`` (2 or 3) spatial axes.

    Raises:
        UsageError: any other number of axes.
    """
    if dim not in _LAYERS:
        raise UsageError(f"a network has 2 or 3 spatial axes, got dim={dim}", hint="set dim to 2 or 3")
    return _LAYERS[dim]


def kaiming(module: nn.Module) -> None:
    """For ``apply``: Kaiming-normal weights of convolutions; biases stay as PyTorch draws them."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight)


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


_STEPS = 2**16
"""Rates are multiples of one over this on a CPU."""


class Dropout(nn.Dropout):
    """``nn.Dropout`` with the same distribution, twice as fast on CPUs that are not Intel's.

    There, PyTorch draws one number after another: on large maps a fifth of a training step. Here one draw of
    64 bits decides on four elements.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape, memory format and type; ``x`` itself in eval mode or at rate 0."""
        if not self.training or self.p == 0:
            return x
        dropped = round(self.p * _STEPS)
        if x.device.type != "cpu" or dropped == _STEPS:
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        kept = draws.view(torch.int16)[: x.numel()] >= dropped - _STEPS // 2
        factor = kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))
        order = torch.empty_like(x, device="meta").stride()  # that of x, without gaps
        return x * factor.as_strided(x.shape, order)
