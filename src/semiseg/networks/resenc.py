"""The U-Net whose encoder has many residual blocks, with the names of nnU-Net's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError
from semiseg.networks.base import SegNetwork
from semiseg.networks.layers import Layers, layers
from semiseg.networks.unet import SLOPE, ConvNorm, check_sizes, initialize
from semiseg.settings.options import Count

BLOCKS = (1, 3, 4, 6, 6, 6)
"""Residual blocks of each stage in nnU-Net's presets; further stages have as many as the last."""


class ResEnc(SegNetwork):
    """The U-Net with a residual encoder: nnU-Net's ResEnc presets, and the encoders of nnssl.

    A convolution, then stages of residual blocks (two convolutions, instance norm, leaky ReLU 0.01); a block
    that changes the size pools its input by the mean and projects it. The decoder up-samples with a learned
    convolution, concatenates the skip after it, and runs one convolution per stage. Its layers have the names
    of nnU-Net's, so that ``--start-from`` takes over their checkpoints whole where sizes agree: those of
    nnssl have six stages, features 32, 64, 128, 256, 320, 320, kernels 3 and strides 2 everywhere.

    Paper: Isensee et al., nnU-Net Revisited, MICCAI 2024, arXiv 2404.09556; blocks after He et al., CVPR
    2016, arXiv 1512.03385.

    Args:
        dim: 2 or 3.
        features: channels of each stage, full resolution first.
        strides: factor per stage and axis on entering the stage, the first all ones; default: 2 everywhere.
        kernels: odd kernel size per stage and axis; default: 3 everywhere.
        blocks: residual blocks of each stage; further stages have as many as the last one named.

    Raises:
        UsageError: stages, axes or kernels that do not fit together.
    """

    encoder_parts = ("encoder",)

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[Sequence[int]] = (),
        kernels: Sequence[Sequence[int]] = (),
        blocks: Sequence[Count] = BLOCKS,
    ) -> None:
        super().__init__(dim, in_channels, classes)
        stages = len(features)
        strides = strides or [(1,) * dim, *[(2,) * dim] * (stages - 1)]
        kernels = kernels or [(3,) * dim] * stages
        check_sizes(dim, features, strides, kernels)
        if not blocks or min(blocks) < 1:
            raise UsageError(
                f"blocks={list(blocks)} leaves a stage without any",
                hint="give numbers above 0, such as 1,3,4,6",
            )
        counts = [blocks[min(i, len(blocks) - 1)] for i in range(stages)]
        self.divisor = tuple(math.prod(stride[a] for stride in strides) for a in range(dim))
        kit, one = layers(dim), (1,) * dim
        stem = ConvNorm(kit, in_channels, features[0], tuple(kernels[0]), one)
        inputs = (features[0], *features[:-1])
        self.encoder = nn.ModuleDict(
            {
                "stem": nn.ModuleDict({"convs": nn.ModuleList([stem])}),
                "stages": nn.ModuleList(
                    _stage(kit, dim, i, o, tuple(k), tuple(s), count)
                    for i, o, k, s, count in zip(inputs, features, kernels, strides, counts, strict=True)
                ),
            }
        )
        deep_first = range(stages - 1, 0, -1)
        ups = (
            kit.up_conv(features[i], features[i - 1], tuple(strides[i]), tuple(strides[i]))  # type: ignore[arg-type]
            for i in deep_first
        )
        convs = (
            ConvNorm(kit, 2 * features[i - 1], features[i - 1], tuple(kernels[i - 1]), one)
            for i in deep_first
        )
        self.decoder = nn.ModuleDict(
            {
                "transpconvs": nn.ModuleList(ups),
                "stages": nn.ModuleList(nn.ModuleDict({"convs": nn.ModuleList([conv])}) for conv in convs),
            }
        )
        self.widths = tuple(features[::-1])
        self.head = kit.conv(features[0], classes, 1)
        self.add_heads(features[0], heads)
        self.apply(initialize)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> one map per stage, full resolution first."""
        maps = [_active(self.encoder["stem"]["convs"][0](x))]  # type: ignore[index]
        for stage in cast(nn.ModuleList, self.encoder["stages"]):
            deeper = maps[-1]
            for block in stage["blocks"]:  # type: ignore[index]
                deeper = block(deeper)
            maps.append(deeper)
        return maps[1:]

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One level per stage, the last (B, features[0], *S)."""
        *skips, deepest = maps
        levels = [deepest]
        parts = (cast(nn.ModuleList, self.decoder[name]) for name in ("transpconvs", "stages"))
        for up, stage, skip in zip(*parts, reversed(skips), strict=True):
            joined = torch.cat((up(levels[-1]), skip), dim=1)
            levels.append(_active(stage["convs"][0](joined)))
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, D, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.head(features))


class _Block(nn.Module):
    """Two convolutions whose input, pooled and projected where its shape changes, is added at the end."""

    def __init__(
        self, kit: Layers, dim: int, i: int, o: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        one = (1,) * dim
        self.conv1 = ConvNorm(kit, i, o, kernel, stride)
        self.conv2 = ConvNorm(kit, o, o, kernel, one)
        pool = nn.AvgPool3d(stride, stride) if dim == 3 else nn.AvgPool2d(stride, stride)  # type: ignore[arg-type]
        pools = [pool] if max(stride) > 1 else []
        projection = [ConvNorm(kit, i, o, one, one)] if i != o else []
        self.skip = nn.Sequential(*pools, *projection)

    def forward(self, x: Tensor) -> Tensor:
        return _active(self.conv2(_active(self.conv1(x))) + self.skip(x))


def _stage(
    kit: Layers, dim: int, i: int, o: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.ModuleDict:
    blocks = [_Block(kit, dim, i, o, kernel, stride)]
    blocks += [_Block(kit, dim, o, o, kernel, (1,) * dim) for _ in range(count - 1)]
    return nn.ModuleDict({"blocks": nn.ModuleList(blocks)})


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)
