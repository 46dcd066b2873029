"""The DenseUNet-161 of TCSM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError
from semiseg.networks.base import SegNetwork
from semiseg.networks.layers import Layers, layers
from semiseg.settings.options import Length, Share

_BOTTLENECK = 4
_LAST = 64


class DenseUNet(SegNetwork):
    """A DenseNet-161 as encoder, and a light decoder that adds the skips.

    Each layer of a dense block sees all earlier ones and adds ``growth`` channels. The decoder doubles the
    resolution (linear, aligned corners), adds the skip of that resolution, and halves or keeps the channels
    with one convolution. 49,527,778 parameters for three channels and two classes. The keys below ``rn.`` are
    those of torchvision's ``densenet161().features``; nothing is downloaded, weights start at random.

    Paper: Huang et al., Densely Connected Convolutional Networks, CVPR 2017, arXiv 1608.06993; as a U-Net in
    Li et al., H-DenseUNet, IEEE TMI 2018, arXiv 1709.07330, in the layout of TCSM, arXiv 1903.00348.

    In TCSM's code the last dropout stays on in prediction unless each call turns it off. Here it is on in
    training only.

    Args:
        dim: 2, or 3 for the twin with 3D layers (no published reference).
        growth: channels that each dense layer adds.
        blocks: layers of the four dense blocks.
        stem: channels after the first convolution.
        dropout: element-wise, after each dense layer.
        last_dropout: channel-wise, before the last norm.
    """

    encoder_parts = ("rn",)

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        growth: Length = 48,
        blocks: Sequence[Length] = (6, 12, 36, 24),
        stem: Length = 96,
        dropout: Share = 0.2,
        last_dropout: Share = 0.3,
    ) -> None:
        super().__init__(dim, in_channels, classes)
        if len(blocks) != 4:
            raise UsageError(f"denseunet has 4 dense blocks, got {len(blocks)}", hint="give four numbers")
        self.divisor = (32,) * dim
        kit = layers(dim)
        self.rn = _Encoder(kit, in_channels, growth, blocks, stem, dropout)
        first, second, third, deepest = self.rn.widths
        self.widths = (deepest, second, first, stem, stem, _LAST)
        self.up1 = _Up(kit, deepest, second, skip=third)
        self.up2 = _Up(kit, second, first)
        self.up3 = _Up(kit, first, stem)
        self.up4 = _Up(kit, stem, stem)
        self.bn1 = kit.batch_norm(_LAST)
        self.conv1 = kit.conv(stem, _LAST, 3, padding=1)
        self.conv2 = kit.conv(_LAST, classes, 1)
        self.drop, self.mode = kit.dropout(last_dropout), kit.linear_mode
        self.add_heads(_LAST, heads)
        self.apply(_initialize)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the maps of the stem and of the four blocks, at 1/2, 1/4, ..., 1/32."""
        return cast("list[Tensor]", self.rn(x))

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The five maps -> six levels, the deepest map first and (B, 64, *S) last."""
        *skips, x = maps
        levels = [x]
        for up in (self.up1, self.up2, self.up3, self.up4):
            levels.append(up(levels[-1], skips.pop()))
        x = self.drop(self.conv1(_double(levels[-1], self.mode)))
        levels.append(F.relu(self.bn1(x)))
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, 64, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.conv2(features))


class _Layer(nn.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution; what comes out is put beside what came in."""

    def __init__(self, kit: Layers, i: int, growth: int, rate: float) -> None:
        super().__init__()
        self.norm1 = kit.batch_norm(i)
        self.conv1 = kit.conv(i, _BOTTLENECK * growth, 1, bias=False)
        self.norm2 = kit.batch_norm(_BOTTLENECK * growth)
        self.conv2 = kit.conv(_BOTTLENECK * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.norm1(x)))
        new = self.conv2(F.relu(self.norm2(new)))
        return torch.cat((x, self.dropout(new)), dim=1)


def _block(kit: Layers, i: int, growth: int, count: int, rate: float) -> nn.Sequential:
    block = nn.Sequential()
    for n in range(count):
        block.add_module(f"denselayer{n + 1}", _Layer(kit, i + n * growth, growth, rate))
    return block


class _Transition(nn.Module):
    """Half the channels at half the resolution."""

    def __init__(self, kit: Layers, i: int) -> None:
        super().__init__()
        self.norm = kit.batch_norm(i)
        self.conv = kit.conv(i, i // 2, 1, bias=False)
        self.pool = F.avg_pool2d if kit.linear_mode == "bilinear" else F.avg_pool3d

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(F.relu(self.norm(x))), 2)


class _Encoder(nn.Module):
    """DenseNet without its classifier; the keys are those of torchvision."""

    def __init__(
        self, kit: Layers, in_channels: int, growth: int, blocks: Sequence[int], stem: int, rate: float
    ) -> None:
        super().__init__()
        self.conv0 = kit.conv(in_channels, stem, 7, stride=2, padding=3, bias=False)
        self.norm0 = kit.batch_norm(stem)
        self.pool0 = kit.max_pool(3, stride=2, padding=1)
        widths: list[int] = []
        width = stem
        for level, count in enumerate(blocks, start=1):
            self.add_module(f"denseblock{level}", _block(kit, width, growth, count, rate))
            width += count * growth
            widths.append(width)
            if level < len(blocks):
                self.add_module(f"transition{level}", _Transition(kit, width))
                width //= 2
        self.norm5 = kit.batch_norm(width)
        self.widths = tuple(widths)
        """Channels after each block."""

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.relu(self.norm0(self.conv0(x)))]
        x = self.pool0(maps[0])
        for level in range(1, len(self.widths)):
            maps.append(self.get_submodule(f"denseblock{level}")(x))
            x = self.get_submodule(f"transition{level}")(maps[-1])
        x = self.get_submodule(f"denseblock{len(self.widths)}")(x)
        return [*maps, F.relu(self.norm5(x))]


class _Up(nn.Module):
    """Twice the resolution, plus the skip (brought to the same channels if they differ), one convolution."""

    def __init__(self, kit: Layers, i: int, o: int, skip: int | None = None) -> None:
        super().__init__()
        self.mode = kit.linear_mode
        self.x_conv = kit.conv(i, o, 3, padding=1)
        self.x_conv_ = nn.Identity() if skip is None else kit.conv(skip, i, 1)
        self.bn = kit.batch_norm(o)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = _double(x, self.mode) + self.x_conv_(skip)
        return F.relu(self.bn(self.x_conv(x)))


def _double(x: Tensor, mode: str) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode=mode, align_corners=True)


def _initialize(module: nn.Module) -> None:
    """Convolutions with a bias are those of the decoder: Xavier as published, He et al. in the encoder."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        if module.bias is None:
            nn.init.kaiming_normal_(module.weight)
        else:
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
