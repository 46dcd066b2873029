"""The V-Net of the left-atrium papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError, unknown_name
from semiseg.networks.base import SegNetwork, chosen_first
from semiseg.networks.layers import Layers, PlainInstanceNorm, kaiming, layers

_UPS = ("transposed", "linear", "nearest")
_INITS = ("default", "kaiming")
_NORMS = ("batch", "group", "instance", "none")
_LEVELS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CONVS = (1, 2, 3, 3, 3, 3, 3, 2, 1)
"""Convolutions per block: five going down, four going up."""


class VNet(SegNetwork):
    """The simplified V-Net of MT, UA-MT, DTC, MC-Net, BCP and their kin on the left atrium.

    3x3x3 convolutions, norm, ReLU; strided convolutions down, transposed ones up; skips are *added*; no
    residual inside a block. Checkpoints published with those papers load (same keys). Not the network of the
    paper it is named after: that is ``vnet2016``.

    Paper: Milletari et al., V-Net, 3DV 2016, arXiv 1606.04797, simplified in Yu et al., Uncertainty-Aware
    Self-Ensembling Model, MICCAI 2019, arXiv 1907.07034.

    Args:
        dim: 3, or 2 for the twin with 2D layers (no published reference).
        filters: width of the first block; it doubles at each of the four down-samplings.
        norm: ``batch``, ``group`` (16 groups), ``instance`` (no parameters) or ``none``.
        has_dropout: channel-wise dropout on the deepest feature map and before the last convolution.
        dropout_rate: of both.
        up: ``transposed`` (published), or ``linear`` or ``nearest`` interpolation and then a 3x3x3
            convolution. The decoders of MC-Net differ in this alone.
        init: weights of convolutions as PyTorch draws them (``default``), or from the normal distribution of
            He et al. (``kaiming``, arXiv 1502.01852; the V-Net of MCF).
    """

    encoder_parts = (
        *(f"block_{level}" for level in _LEVELS[:5]),
        *(f"block_{level}_dw" for level in _LEVELS[:4]),
    )

    def __init__(
        self,
        *,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        filters: int = 16,
        norm: str = "batch",
        has_dropout: bool = True,
        dropout_rate: float = 0.5,
        up: str = "transposed",
        init: str = "default",
    ) -> None:
        super().__init__(dim, in_channels, classes)
        if init not in _INITS:
            raise unknown_name("init", init, _INITS)
        if norm not in _NORMS:
            raise unknown_name("norm", norm, _NORMS)
        if filters < 1 or (norm == "group" and filters % 16):
            raise UsageError(
                f"vnet cannot have filters={filters} with norm={norm!r}",
                hint="filters must be positive, and a multiple of 16 with norm group",
            )
        if up not in _UPS:
            raise unknown_name("up", up, _UPS)
        self.upsamplings = chosen_first(up, _UPS)
        self.divisor = (16,) * dim
        kit = layers(dim)
        widths = [filters * 2 ** min(i, 8 - i) for i in range(9)]
        for i, (level, width, convs) in enumerate(zip(_LEVELS, widths, _CONVS, strict=True)):
            first = in_channels if i == 0 else width
            setattr(self, f"block_{level}", _Block(kit, norm, [first, *[width] * convs]))
            if i < 8:
                way, steps = ("dw", _down(kit, width)) if i < 4 else ("up", _up(kit, width, up))
                setattr(self, f"block_{level}_{way}", _Change(kit, norm, steps, widths[i + 1]))
        self.out_conv = kit.conv(filters, classes, 1)
        self.dropout = kit.dropout(dropout_rate if has_dropout else 0.0)
        self.widths = tuple(widths[4:])
        self.add_heads(filters, heads)
        if init == "kaiming":
            self.apply(kaiming)

    def encode(self, x: Tensor) -> list[Tensor]:
        """(B, C, *S) -> the five maps of the way down, full resolution first, before any dropout."""
        maps = [self._run("block_one", x)]
        for above, level in pairwise(_LEVELS[:5]):
            maps.append(self._run(f"block_{level}", self._run(f"block_{above}_dw", maps[-1])))
        return maps

    def decode(self, maps: Sequence[Tensor], *, dropout: bool = True) -> list[Tensor]:
        """The five maps -> five levels, the last (B, filters, *S); first and last after dropout."""
        levels = [self.dropout(maps[4]) if dropout else maps[4]]
        for below, level, skip in zip(_LEVELS[4:8], _LEVELS[5:], reversed(maps[:4]), strict=True):
            levels.append(self._run(f"block_{level}", self._run(f"block_{below}_up", levels[-1]) + skip))
        if dropout:
            levels[-1] = self.dropout(levels[-1])
        return levels

    def classify(self, features: Tensor) -> Tensor:
        """(B, filters, *S) -> logits (B, K, *S)."""
        return cast(Tensor, self.out_conv(features))

    def forward(self, x: Tensor, dropout: bool = True) -> SegOutput:
        """As every network; ``dropout=False`` turns the dropout of this call off, and nothing else."""
        self.check(x)
        return self.answer(self.decode(self.encode(x), dropout=dropout))

    def _run(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, getattr(self, name)(x))


def _norm_layer(kit: Layers, norm: str, width: int) -> list[nn.Module]:
    if norm == "batch":
        return [kit.batch_norm(width)]
    if norm == "group":
        return [nn.GroupNorm(16, width)]
    return [PlainInstanceNorm()] if norm == "instance" else []


class _Sequence(nn.Module):
    """Layers in one container named ``conv``, numbered as in the published checkpoints."""

    def __init__(self, steps: list[nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x))


class _Block(_Sequence):
    """Convolutions of size 3, each with norm and ReLU."""

    def __init__(self, kit: Layers, norm: str, widths: list[int]) -> None:
        steps: list[nn.Module] = []
        for i, o in pairwise(widths):
            steps += [kit.conv(i, o, 3, padding=1), *_norm_layer(kit, norm, o), nn.ReLU(inplace=True)]
        super().__init__(steps)


class _Change(_Sequence):
    """Another resolution and ``width`` channels, norm, ReLU."""

    def __init__(self, kit: Layers, norm: str, steps: list[nn.Module], width: int) -> None:
        super().__init__([*steps, *_norm_layer(kit, norm, width), nn.ReLU(inplace=True)])


def _down(kit: Layers, width: int) -> list[nn.Module]:
    """Half the resolution, twice the width, with a convolution of size 2."""
    return [kit.conv(width, 2 * width, 2, stride=2)]


def _up(kit: Layers, width: int, kind: str) -> list[nn.Module]:
    """Twice the resolution, half the width."""
    if kind == "transposed":
        return [kit.up_conv(width, width // 2, 2, stride=2)]
    linear = kind == "linear"
    up = nn.Upsample(scale_factor=2.0, mode=kit.linear_mode if linear else kind, align_corners=linear or None)
    return [up, kit.conv(width, width // 2, 3, padding=1)]
