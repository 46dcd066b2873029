"""The 3D-ResVNet of MCF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.networks.layers import Layers, kaiming, layers
from semiseg.networks.vnet import VNet
from semiseg.settings.options import Length, Share

_BLOCKS = (3, 4, 6, 3)
"""Residual blocks per level, as in a ResNet-34."""


class ResVNet(VNet):
    """A narrow ResNet-34 as encoder with the decoder of ``vnet``: the partner of the V-Net in MCF.

    The stem keeps the resolution, each of the four levels halves it; skips are *added*. 17,930,354 parameters
    for one channel and two classes, at 1.8 times the multiplications of ``vnet``. Dropout is before the last
    convolution only. Checkpoints published with MCF load (same keys).

    Paper: Wang et al., MCF, CVPR 2023; the encoder after He et al., CVPR 2016, arXiv 1512.03385. The released
    class ignores its number of input channels and is always built for one; here it counts.

    Args:
        dim: 3, or 2 for the twin with 2D layers (no published reference).
        filters: width of the stem; it doubles at each of the four down-samplings.
        dropout_rate: channel-wise, before the last convolution.
        up: as in ``vnet``.
    """

    encoder_parts = ("resnet_encoder",)

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        filters: Length = 16,
        dropout_rate: Share = 0.5,
        up: str = "transposed",
    ) -> None:
        super().__init__(
            dim=dim,
            in_channels=in_channels,
            classes=classes,
            filters=filters,
            dropout_rate=dropout_rate,
            up=up,
        )
        for name in (*VNet.encoder_parts, "heads"):
            delattr(self, name)
        self.resnet_encoder = _Encoder(layers(dim), in_channels, filters)
        self.add_heads(filters, heads)
        self.apply(kaiming)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the five maps of the way down, full resolution first."""
        return cast("list[Tensor]", self.resnet_encoder(x))

    def decode(self, maps: Sequence[Tensor], *, dropout: bool = True) -> list[Tensor]:
        """The five maps -> five levels, the last (B, filters, *S) after dropout."""
        levels = super().decode(maps, dropout=False)
        if dropout:
            levels[-1] = self.dropout(levels[-1])
        return levels


class _Encoder(nn.Module):
    """A stem without pooling, then four levels of residual blocks, named as in torchvision's ResNet."""

    def __init__(self, kit: Layers, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = kit.conv(in_channels, width, 7, padding=3, bias=False)
        self.bn1 = kit.batch_norm(width)
        for level, count in enumerate(_BLOCKS, start=1):
            first = _Residual(kit, width, 2 * width, stride=2)
            width *= 2
            blocks = [first, *(_Residual(kit, width, width) for _ in range(count - 1))]
            setattr(self, f"layer{level}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.relu(self.bn1(self.conv1(x)))]
        for level in range(1, len(_BLOCKS) + 1):
            maps.append(getattr(self, f"layer{level}")(maps[-1]))
        return maps


class _Residual(nn.Module):
    """Two convolutions with batch norm, and the input, projected where its shape changes."""

    def __init__(self, kit: Layers, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = kit.conv(i, o, 3, stride, 1, bias=False)
        self.bn1 = kit.batch_norm(o)
        self.conv2 = kit.conv(o, o, 3, 1, 1, bias=False)
        self.bn2 = kit.batch_norm(o)
        self.downsample = nn.Sequential()
        if stride > 1:
            self.downsample = nn.Sequential(kit.conv(i, o, 1, stride, bias=False), kit.batch_norm(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))
