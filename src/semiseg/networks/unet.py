"""Our default for one's own data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError
from semiseg.networks.base import SegNetwork, chosen_first
from semiseg.networks.layers import InstanceNorm, Layers, layers
from semiseg.settings.options import Share

SLOPE = 0.01
"""Of the leaky ReLU."""
_UPS = ("transposed", "linear", "nearest")


class UNet(SegNetwork):
    """Encoder-decoder with skips, sized by the plan; the default for your own data.

    Each stage is two times convolution, instance norm (affine), leaky ReLU 0.01; the first convolution of a
    stage carries its stride. The decoder up-samples, concatenates the skip of the same resolution after it,
    and runs two more convolutions. Strides and kernels are given per stage and axis, so that thick slices
    can be left alone until the voxels are about cubic.

    Paper: Ronneberger et al., U-Net, MICCAI 2015, arXiv 1505.04597; layout after Isensee et al., nnU-Net,
    Nature Methods 18 (2021), arXiv 1904.08128; residual stages after He et al., CVPR 2016, arXiv 1512.03385.

    Args:
        dim: 2 or 3.
        features: channels of each stage, full resolution first.
        strides: factor per stage and axis on entering the stage, the first all ones; default: 2 everywhere.
        kernels: odd kernel size per stage and axis; default: 3 everywhere.
        residual: add each stage's input (projected where its shape changes) before the last activation.
        dropout: rate of channel-wise dropout on the deepest and on the last feature map, as in the V-Net.
        up: ``transposed`` (a learned up-convolution), or a 1x1 convolution and then ``linear`` or ``nearest``
            interpolation.

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
        features: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[Sequence[int]] = (),
        kernels: Sequence[Sequence[int]] = (),
        residual: bool = False,
        dropout: Share = 0.0,
        up: str = "transposed",
    ) -> None:
        super().__init__(dim, in_channels, classes)
        stages = len(features)
        strides = strides or [(1,) * dim, *[(2,) * dim] * (stages - 1)]
        kernels = kernels or [(3,) * dim] * stages
        check_sizes(dim, features, strides, kernels, up)
        self.divisor = tuple(math.prod(stride[a] for stride in strides) for a in range(dim))
        kit = layers(dim)
        block = _Residual if residual else _Plain
        inputs = (in_channels, *features[:-1])
        self.encoder = nn.ModuleList(
            block(kit, i, o, tuple(k), tuple(s))
            for i, o, k, s in zip(inputs, features, kernels, strides, strict=True)
        )
        deep_first = range(stages - 1, 0, -1)
        self.ups = nn.ModuleList(
            _Up(kit, features[i], features[i - 1], tuple(strides[i]), up) for i in deep_first
        )
        one = (1,) * dim
        self.decoder = nn.ModuleList(
            block(kit, 2 * features[i - 1], features[i - 1], tuple(kernels[i - 1]), one) for i in deep_first
        )
        self.upsamplings = chosen_first(up, _UPS)
        self.dropout = kit.dropout(dropout)
        self.widths = tuple(features[::-1])
        self.head = kit.conv(features[0], classes, 1)
        self.add_heads(features[0], heads)
        self.apply(initialize)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> one map per stage, full resolution first."""
        maps = [x]
        for stage in self.encoder:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One level per stage, the last (B, features[0], *S); first and last after dropout."""
        *skips, deepest = maps
        levels = [self.dropout(deepest)]
        for up, stage, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            levels.append(stage(torch.cat((up(levels[-1]), skip), dim=1)))
        levels[-1] = self.dropout(levels[-1])
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, D, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.head(features))


class ConvNorm(nn.Module):
    """Convolution and instance norm. No bias: the norm would remove it."""

    def __init__(
        self, kit: Layers, i: int, o: int, kernel: tuple[int, ...], stride: tuple[int, ...], pad: bool = True
    ) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel) if pad else (0,) * len(kernel)
        self.conv = kit.conv(i, o, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        self.norm = InstanceNorm(o)

    def forward(self, x: Tensor) -> Tensor:
        """(B, i, *S) -> (B, o, *S')."""
        return cast(Tensor, self.norm(self.conv(x)))


class _Plain(nn.Module):
    """Two times convolution, norm, activation."""

    def __init__(self, kit: Layers, i: int, o: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.first = ConvNorm(kit, i, o, kernel, stride)
        self.second = ConvNorm(kit, o, o, kernel, (1,) * len(stride))

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(x), SLOPE, inplace=True)
        return F.leaky_relu(self.second(x), SLOPE, inplace=True)


class _Residual(_Plain):
    """The same with the input added before the last activation."""

    def __init__(self, kit: Layers, i: int, o: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__(kit, i, o, kernel, stride)
        changes = i != o or any(s > 1 for s in stride)
        # As large as the stride, so that no voxel of the input is skipped.
        self.project = ConvNorm(kit, i, o, stride, stride, pad=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.leaky_relu(self.first(x), SLOPE, inplace=True))
        return F.leaky_relu(y + self.project(x), SLOPE, inplace=True)


class _Up(nn.Module):
    """Up-sampling by ``stride`` to ``o`` channels."""

    def __init__(self, kit: Layers, i: int, o: int, stride: tuple[int, ...], kind: str) -> None:
        super().__init__()
        self.mode = {"transposed": "", "linear": kit.linear_mode, "nearest": "nearest"}[kind]
        self.scale = [float(s) for s in stride]
        self.conv: nn.Module
        if self.mode:
            self.conv = kit.conv(i, o, 1)
        else:
            self.conv = kit.up_conv(i, o, stride, stride)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.interpolate(x, scale_factor=self.scale, mode=self.mode) if self.mode else x


def initialize(module: nn.Module) -> None:
    """Kaiming-normal for the leaky ReLU, biases 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_sizes(
    dim: int,
    features: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
    up: str = "transposed",
) -> None:
    """Raise UsageError with every misfit at once."""
    stages = len(features)
    problems = []
    if not features or min(features) < 1:
        problems.append(f"features must be positive, got {list(features)}")
    for word, values in (("strides", strides), ("kernels", kernels)):
        if len(values) != stages or any(len(v) != dim for v in values):
            problems.append(
                f"{word} must have {stages} stages of {dim} axes, got {[list(v) for v in values]}"
            )
    if not problems and any(s != 1 for s in strides[0]):
        problems.append(f"the first stride must be all ones, got {list(strides[0])}")
    if any(k % 2 == 0 or k < 1 for kernel in kernels for k in kernel):
        problems.append("kernels must be odd")
    if any(s < 1 for stride in strides for s in stride):
        problems.append("strides must be positive")
    if up not in _UPS:
        problems.append(f"up must be 'transposed', 'linear' or 'nearest', got {up!r}")
    if problems:
        raise UsageError(
            f"the U-Net cannot be built: {'; '.join(problems)}", hint="fix the network part of the plan"
        )
