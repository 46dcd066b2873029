"""The V-Net as it was published in 2016."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from semiseg.errors import unknown_name
from semiseg.networks.base import SegNetwork
from semiseg.networks.layers import Layers, layers
from semiseg.settings.options import Share


class VNet2016(SegNetwork):
    """The original V-Net: 5x5x5 convolutions, PReLU, a residual in every stage, concatenated skips.

    Heavy (65,175,314 parameters for one channel and two classes) and rarely what a paper of today calls
    V-Net: that is ``vnet``. ``variant="mattmacy"`` is the best-known PyTorch port: batch norm, dropout, fewer
    convolutions per stage, a two-step head; its checkpoints load (same keys). Two of the port's faults are
    mended: it repeated the input along the batch instead of the channels for the first residual, and its
    batch norm used batch statistics in eval mode.

    Paper: Milletari et al., V-Net, 3DV 2016, arXiv 1606.04797.

    Args:
        dim: 3, or 2 for the twin with 2D layers.
        in_channels: C; the first residual repeats the channels cyclically up to 16.
        heads: extra 1x1x1 convolutions on the last features (32 channels), name -> channels.
        variant: ``paper`` or ``mattmacy``.
        activation: ``prelu`` (one slope per channel) or ``elu``.
        dropout: rate in the ``mattmacy`` variant; the paper has none.
    """

    encoder_parts = ("in_tr", "down_tr32", "down_tr64", "down_tr128", "down_tr256")

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        variant: str = "paper",
        activation: str = "prelu",
        dropout: Share = 0.5,
    ) -> None:
        super().__init__(dim, in_channels, classes)
        if variant not in _VARIANTS:
            raise unknown_name("variant", variant, _VARIANTS)
        if activation not in ("prelu", "elu"):
            raise unknown_name("activation", activation, ("prelu", "elu"))
        layout = _VARIANTS[variant]
        kit = _Kit(layers(dim), layout.norm, activation)
        self.divisor, self.widths = (16,) * dim, (256, *layout.up)
        self.in_tr = _Input(kit, in_channels)
        for width, convs in layout.down.items():
            rate = dropout if layout.norm and width >= 128 else 0.0
            setattr(self, f"down_tr{width}", _Down(kit, width, convs, rate))
        deeper = 256
        for width, convs in layout.up.items():
            rate = dropout if layout.norm and width >= 128 else 0.0
            skip_rate = dropout if layout.norm else 0.0
            setattr(self, f"up_tr{width}", _Up(kit, deeper, width, convs, rate, skip_rate))
            deeper = width
        self.out_tr = _Head(kit, classes) if layout.norm else kit.layers.conv(32, classes, 1)
        self.add_heads(32, heads)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the five maps of the way down, full resolution first."""
        maps = [self.in_tr(x)]
        for width in (32, 64, 128, 256):
            maps.append(getattr(self, f"down_tr{width}")(maps[-1]))
        return maps

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The five maps -> five levels, the deepest before any dropout and (B, 32, *S) last."""
        *skips, deepest = maps
        levels = [deepest]
        for width in (256, 128, 64, 32):
            levels.append(getattr(self, f"up_tr{width}")(levels[-1], skips.pop()))
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, 32, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.out_tr(features))


@dataclass(frozen=True)
class _Layout:
    """Convolutions by stage, named by its width, and whether they are batch-normalized."""

    down: Mapping[int, int]
    up: Mapping[int, int]
    norm: bool


_VARIANTS = {
    "paper": _Layout({32: 2, 64: 3, 128: 3, 256: 3}, {256: 3, 128: 3, 64: 2, 32: 1}, norm=False),
    "mattmacy": _Layout({32: 1, 64: 2, 128: 3, 256: 2}, {256: 2, 128: 2, 64: 1, 32: 1}, norm=True),
}


@dataclass(frozen=True)
class _Kit:
    """What every stage is made of."""

    layers: Layers
    with_norm: bool
    activation: str

    def act(self, width: int) -> nn.Module:
        return nn.PReLU(width) if self.activation == "prelu" else nn.ELU(inplace=True)

    def norm(self, width: int) -> nn.Module:
        return self.layers.batch_norm(width) if self.with_norm else nn.Identity()

    def stack(self, width: int, convs: int) -> nn.Sequential:
        """The convolutions of a stage. In the paper the residual is added before the last activation."""
        return nn.Sequential(*(_Unit(self, width, act=self.with_norm or i < convs - 1) for i in range(convs)))


class _Unit(nn.Module):
    """Convolution of size 5, norm, activation."""

    def __init__(self, kit: _Kit, width: int, act: bool) -> None:
        super().__init__()
        self.relu1 = kit.act(width) if act else nn.Identity()
        self.conv1 = kit.layers.conv(width, width, 5, padding=2)
        self.bn1 = kit.norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.relu1(self.bn1(self.conv1(x))))


class _Input(nn.Module):
    """The first stage, to 16 channels."""

    def __init__(self, kit: _Kit, in_channels: int) -> None:
        super().__init__()
        self.conv1 = kit.layers.conv(in_channels, 16, 5, padding=2)
        self.bn1 = kit.norm(16)
        self.relu1 = kit.act(16)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        repeated = torch.cat([x] * -(-16 // c), dim=1)[:, :16]
        return cast(Tensor, self.relu1(self.bn1(self.conv1(x)) + repeated))


class _Down(nn.Module):
    """Half the resolution, twice the width."""

    def __init__(self, kit: _Kit, width: int, convs: int, rate: float) -> None:
        super().__init__()
        self.down_conv = kit.layers.conv(width // 2, width, 2, stride=2)
        self.bn1 = kit.norm(width)
        self.relu1 = kit.act(width)
        self.relu2 = kit.act(width)
        self.do1 = kit.layers.dropout(rate)
        self.ops = kit.stack(width, convs)

    def forward(self, x: Tensor) -> Tensor:
        down = self.relu1(self.bn1(self.down_conv(x)))
        return cast(Tensor, self.relu2(self.ops(self.do1(down)) + down))


class _Up(nn.Module):
    """Twice the resolution: ``width // 2`` new channels beside as many of the skip."""

    def __init__(self, kit: _Kit, deeper: int, width: int, convs: int, rate: float, skip_rate: float) -> None:
        super().__init__()
        self.up_conv = kit.layers.up_conv(deeper, width // 2, 2, stride=2)
        self.bn1 = kit.norm(width // 2)
        self.relu1 = kit.act(width // 2)
        self.relu2 = kit.act(width)
        self.do1 = kit.layers.dropout(rate)
        self.do2 = kit.layers.dropout(skip_rate)
        self.ops = kit.stack(width, convs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        up = self.relu1(self.bn1(self.up_conv(self.do1(x))))
        both = torch.cat((up, self.do2(skip)), dim=1)
        return cast(Tensor, self.relu2(self.ops(both) + both))


class _Head(nn.Module):
    """The port's head: a convolution of size 5 to the classes, then one of size 1."""

    def __init__(self, kit: _Kit, classes: int) -> None:
        super().__init__()
        self.conv1 = kit.layers.conv(32, classes, 5, padding=2)
        self.bn1 = kit.norm(classes)
        self.conv2 = kit.layers.conv(classes, classes, 1)
        self.relu1 = kit.act(classes)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv2(self.relu1(self.bn1(self.conv1(x)))))
