"""Embeddings of a network's bottleneck by a further head; patches, the voxels that share a position of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import IGNORE, SegOutput
from semiseg.errors import UsageError
from semiseg.methods._bases import fact
from semiseg.methods.parts.displacement import pooled

EMBEDDINGS = "embeddings"
"""The name of the head in the answer of :class:`Projected`."""


class Projection(nn.Module):
    """Interpolates a map to ``scale`` times its edges and projects each position to an embedding.

    Convolution of size 1 to twice the channels, batch norm, ReLU, convolution of size 1 back, batch norm:
    256 -> 512 -> 256 in DyCON (Assefa et al. 2025, arXiv:2504.04566), 264,448 parameters there.

    Args:
        dim: 2 or 3.
        width: channels of the map and of the embeddings.
        scale: of the interpolation, with aligned corners.
    """

    def __init__(self, dim: int, width: int, *, scale: int = 2) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.mode, self.scale = "bilinear" if dim == 2 else "trilinear", scale
        self.layers = nn.Sequential(
            conv(width, 2 * width, 1), norm(2 * width), nn.ReLU(), conv(2 * width, width, 1), norm(width)
        )
        self.apply(_initialize)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, *S) -> (B, width, *(scale S))."""
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=float(self.scale), mode=self.mode, align_corners=True)
        return cast(Tensor, self.layers(x))


class Projected(nn.Module):
    """A network whose answer has one more head: the projection of its deepest level.

    A method trains and averages the two as one, and exports ``net``, which knows nothing of the head.

    Args:
        net: gives at least two levels.
        method: who asks, for the message.
        scale: see :class:`Projection`.

    Raises:
        UsageError: a network without levels.
    """

    def __init__(self, net: nn.Module, method: str, *, scale: int = 2) -> None:
        super().__init__()
        widths: tuple[int, ...] = getattr(net, "widths", ())
        if len(widths) < 2:
            raise _no_levels(net, method)
        self.method = method
        self.net = net
        self.projection = Projection(fact(net, "dim", method), widths[0], scale=scale)

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> the answer of the network with the embeddings (B, D, *s) among the heads."""
        answer: SegOutput = self.net(x)
        if not answer.levels:
            raise _no_levels(self.net, self.method)
        return answer._replace(heads={**answer.heads, EMBEDDINGS: self.projection(answer.levels[0])})


def directions(embeddings: Tensor) -> Tensor:
    """(B, D, *s) -> (B, D, N), float32, each of length 1."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.normalize(embeddings.float().flatten(2), dim=1)


def _initialize(module: nn.Module) -> None:
    """Kaiming-normal weights, and norms that differ a little from 1, as published."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _no_levels(net: nn.Module, method: str) -> UsageError:
    return UsageError(
        f"{method} needs the bottleneck of the network, and {type(net).__name__} does not give it",
        hint="choose another network (`semiseg networks`), or give yours `widths` and SegOutput(levels=...)",
    )


def shares(target: Tensor, classes: int) -> Tensor:
    """Classes (B, *S), or :data:`IGNORE`, -> (B, K, *S): 1 for a voxel's class, 0s where it is unknown."""
    every = torch.arange(classes, device=target.device).view(-1, *[1] * (target.ndim - 1))
    return (target.unsqueeze(1) == every).float()


def patch_labels(probabilities: Tensor, grid: Sequence[int], *, majority: float = 0.0) -> Tensor:
    """(B, N): the class with the largest share of each patch, of probabilities (B, K, *S).

    :data:`IGNORE` where no class has a share of ``majority``, or nothing is known (all are 0).
    """
    share, label = pooled(probabilities, grid).max(1)
    return label.where((share > 0) & (share >= majority), IGNORE)


def draw(count: int, *values: Tensor) -> list[Tensor]:
    """The same ``count`` positions, drawn at random for each scan, of each of (B, ..., N); all N if fewer."""
    n = values[0].shape[-1]
    if n <= count:
        return list(values)
    drawn = torch.rand((len(values[0]), n), device=values[0].device).topk(count).indices
    return [v.gather(-1, _spread(drawn, v)) for v in values]


def _spread(index: Tensor, like: Tensor) -> Tensor:
    between = like.shape[1:-1]
    return index.view(len(index), *[1] * len(between), -1).expand(-1, *between, -1)
