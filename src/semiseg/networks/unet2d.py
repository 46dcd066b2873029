"""The 2D U-Net of SSL4MIS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import UsageError, unknown_name
from semiseg.networks.base import SegNetwork, chosen_first
from semiseg.networks.layers import Dropout, Layers, layers

_WIDTHS = (16, 32, 64, 128, 256)
_SLOPE = 0.01
_UPS = ("linear", "transposed", "nearest", "cubic")


class UNet2D(SegNetwork):
    """The small U-Net of SSL4MIS, behind most published 2D results on ACDC and Prostate.

    Batch norm, leaky ReLU, element-wise dropout that grows with depth, bilinear up-sampling with aligned
    corners after a 1x1 convolution, a 3x3 head. 1,813,764 parameters for one channel and four classes.
    Checkpoints published with SSL4MIS, UA-MT-2D, CPS, URPC, BCP and others load (same keys).

    Paper: after Ronneberger et al., U-Net, MICCAI 2015, arXiv 1505.04597; the layout is that of the
    SSL4MIS benchmark (Luo et al., 2020).

    Args:
        dim: 2, or 3 for the twin with 3D layers (no published reference).
        dropout: rate in each of the five encoder levels; all 0 turns it off.
        up: a 1x1 convolution and then ``linear`` (published), ``nearest`` or, in 2D, ``cubic`` interpolation;
            or ``transposed``, a learned up-convolution. The decoders of MC-Net differ in this alone.
    """

    encoder_parts = ("encoder",)

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        dropout: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
        up: str = "linear",
    ) -> None:
        super().__init__(dim, in_channels, classes)
        if len(dropout) != len(_WIDTHS):
            raise UsageError(
                f"unet2d has {len(_WIDTHS)} levels, got {len(dropout)} dropout rates",
                hint="give one rate per level, full resolution first",
            )
        kinds = _UPS if dim == 2 else _UPS[:3]  # there is no tricubic interpolation
        if up not in kinds:
            raise unknown_name("up", up, kinds)
        self.upsamplings = chosen_first(up, kinds)
        self.divisor, self.widths = (16,) * dim, _WIDTHS[::-1]
        kit = layers(dim)
        self.encoder = _Encoder(kit, in_channels, dropout)
        self.decoder = _Decoder(kit, classes, up)
        self.add_heads(_WIDTHS[0], heads)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the five encoder maps, full resolution first."""
        return cast("list[Tensor]", self.encoder(x))

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The five maps -> five levels, the deepest map first and (B, 16, *S) last."""
        return cast("list[Tensor]", self.decoder(maps))

    def classify(self, features: Tensor) -> Tensor:
        """(B, 16, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.decoder.out_conv(features))


class _Block(nn.Module):
    """Two convolutions with batch norm and leaky ReLU, dropout in between."""

    def __init__(self, kit: Layers, i: int, o: int, rate: float) -> None:
        super().__init__()
        self.conv_conv = nn.Sequential(
            kit.conv(i, o, 3, padding=1),
            kit.batch_norm(o),
            nn.LeakyReLU(_SLOPE),
            Dropout(rate),
            kit.conv(o, o, 3, padding=1),
            kit.batch_norm(o),
            nn.LeakyReLU(_SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv_conv(x))


class _Down(nn.Module):
    def __init__(self, kit: Layers, i: int, o: int, rate: float) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(kit.max_pool(2), _Block(kit, i, o, rate))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.maxpool_conv(x))


class _Encoder(nn.Module):
    def __init__(self, kit: Layers, in_channels: int, dropout: Sequence[float]) -> None:
        super().__init__()
        self.in_conv = _Block(kit, in_channels, _WIDTHS[0], dropout[0])
        for level in range(1, 5):
            down = _Down(kit, _WIDTHS[level - 1], _WIDTHS[level], dropout[level])
            setattr(self, f"down{level}", down)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.in_conv(x)]
        for level in range(1, 5):
            maps.append(getattr(self, f"down{level}")(maps[-1]))
        return maps


class _Up(nn.Module):
    def __init__(self, kit: Layers, i: int, o: int, up: str) -> None:
        super().__init__()
        self.mode = {"linear": kit.linear_mode, "nearest": "nearest", "cubic": "bicubic"}.get(up)
        if self.mode is None:
            self.up = kit.up_conv(i, o, 2, stride=2)
        else:
            self.conv1x1 = kit.conv(i, o, 1)
        self.conv = _Block(kit, 2 * o, o, 0.0)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.mode is None:
            x = self.up(x)
        else:
            corners = None if self.mode == "nearest" else True
            x = F.interpolate(self.conv1x1(x), scale_factor=2.0, mode=self.mode, align_corners=corners)
        return cast(Tensor, self.conv(torch.cat((skip, x), dim=1)))


class _Decoder(nn.Module):
    def __init__(self, kit: Layers, classes: int, up: str) -> None:
        super().__init__()
        for level in range(1, 5):
            setattr(self, f"up{level}", _Up(kit, _WIDTHS[5 - level], _WIDTHS[4 - level], up))
        self.out_conv = kit.conv(_WIDTHS[0], classes, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The levels; the head is applied by the network."""
        levels = [maps[4]]
        for level in range(1, 5):
            levels.append(getattr(self, f"up{level}")(levels[-1], maps[4 - level]))
        return levels
