"""Networks whose answers are given, for tests of what a method makes of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.core import SegOutput


class Pointwise(nn.Module):
    """Logits and features of each voxel from its own intensity alone: no batch statistics, no dropout."""

    def __init__(self, dim: int, classes: int, width: int = 4) -> None:
        super().__init__()
        conv = nn.Conv2d if dim == 2 else nn.Conv3d
        self.body, self.head = conv(1, width, 1), conv(width, classes, 1)
        self.classes = classes

    def forward(self, x: Tensor) -> SegOutput:
        features = torch.tanh(self.body(x))
        return SegOutput(self.head(features), features)


class Fixed(nn.Module):
    """Gives the same logits (and features) to the whole batch, whatever it is asked."""

    def __init__(self, logits: Tensor, features: Tensor | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.features = None if features is None else nn.Parameter(features.clone())

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.logits * 1.0, None if self.features is None else self.features * 1.0)


class TwoTasks(nn.Module):
    """Gives the same logits and distances to every batch of their size; tanh gives the distances back."""

    def __init__(self, logits: Tensor, distances: Tensor) -> None:
        super().__init__()
        self.logits, self.distances = nn.Parameter(logits.clone()), nn.Parameter(distances.clone())
        self.dim, self.in_channels, self.classes = logits.ndim - 2, 1, logits.shape[1]

    def forward(self, x: Tensor) -> SegOutput:
        assert len(x) == len(self.logits)
        return SegOutput(self.logits * 1.0, None, {"sdf": torch.atanh(self.distances)})
