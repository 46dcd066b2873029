"""The 3D U-Net of SSL4MIS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import unknown_name
from semiseg.networks.base import SegNetwork, chosen_first
from semiseg.networks.layers import Layers, PlainInstanceNorm, kaiming, layers
from semiseg.settings.options import Share

_WIDTHS = (16, 32, 64, 128, 256)
_UPS = ("linear", "nearest")


class UNet3D(SegNetwork):
    """The 3D U-Net (``unet_3D``) of SSL4MIS, behind its published results on BraTS.

    Instance norm without parameters, so nothing depends on the rest of the batch; max-pooling down, trilinear
    interpolation up, skips concatenated. 5,884,050 parameters for one channel and two classes. Checkpoints
    published with SSL4MIS load (same keys).

    Paper: after Cicek et al., 3D U-Net, MICCAI 2016, arXiv 1606.06650; the layout is that of the SSL4MIS
    benchmark (Luo et al., 2020).

    Args:
        dim: 3, or 2 for the twin with 2D layers (no published reference).
        dropout: rate of the element-wise dropout on the deepest and on the last feature map.
        up: ``linear`` (published) or ``nearest`` interpolation, neither with weights of its own.
    """

    encoder_parts = ("conv1", "conv2", "conv3", "conv4", "center")

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        dropout: Share = 0.3,
        up: str = "linear",
    ) -> None:
        super().__init__(dim, in_channels, classes)
        if up not in _UPS:
            raise unknown_name("up", up, _UPS)
        self.upsamplings = chosen_first(up, _UPS)
        self.divisor, self.widths = (16,) * dim, _WIDTHS[::-1]
        kit = layers(dim)
        for level, (i, o) in enumerate(zip((in_channels, *_WIDTHS[:3]), _WIDTHS[:4], strict=True), start=1):
            setattr(self, f"conv{level}", _Block(kit, i, o))
        self.pool = kit.max_pool(2)
        self.center = _Block(kit, _WIDTHS[3], _WIDTHS[4])
        for level in (4, 3, 2, 1):
            setattr(self, f"up_concat{level}", _Up(kit, _WIDTHS[level], _WIDTHS[level - 1], up))
        self.dropout = nn.Dropout(dropout)
        self.final = kit.conv(_WIDTHS[0], classes, 1)
        self.add_heads(_WIDTHS[0], heads)
        self.apply(kaiming)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the five maps of the way down, full resolution first, before any dropout."""
        maps = []
        for level in (1, 2, 3, 4):
            maps.append(getattr(self, f"conv{level}")(x))
            x = self.pool(maps[-1])
        return [*maps, self.center(x)]

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The five maps -> five levels, the last (B, 16, *S); first and last after dropout."""
        levels = [self.dropout(maps[4])]
        for level in (4, 3, 2, 1):
            levels.append(getattr(self, f"up_concat{level}")(levels[-1], maps[level - 1]))
        levels[-1] = self.dropout(levels[-1])
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, 16, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.final(features))


class _Block(nn.Module):
    """Twice convolution, instance norm, ReLU."""

    def __init__(self, kit: Layers, i: int, o: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(kit.conv(i, o, 3, padding=1), PlainInstanceNorm(), nn.ReLU())
        self.conv2 = nn.Sequential(kit.conv(o, o, 3, padding=1), PlainInstanceNorm(), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv2(self.conv1(x)))


class _Up(nn.Module):
    """Interpolates the deeper map, puts the skip before it, and convolves."""

    def __init__(self, kit: Layers, i: int, o: int, up: str) -> None:
        super().__init__()
        self.mode = kit.linear_mode if up == "linear" else up
        self.conv = _Block(kit, i + o, o)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode=self.mode)
        return cast(Tensor, self.conv(torch.cat((skip, x), dim=1)))
