"""The two networks of the field in their plain form: contiguous float32, one PyTorch layer after another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stage3d(i: int, o: int, convolutions: int) -> nn.Sequential:
    """So many 3x3x3 convolutions, each with batch norm and ReLU."""
    steps: list[nn.Module] = []
    for n in range(convolutions):
        steps += [nn.Conv3d(i if n == 0 else o, o, 3, padding=1), nn.BatchNorm3d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*steps)


def resize3d(i: int, o: int) -> nn.Sequential:
    """Half or twice the resolution, by a strided convolution of size 2 there or back."""
    kind = nn.Conv3d if o > i else nn.ConvTranspose3d
    return nn.Sequential(kind(i, o, 2, stride=2), nn.BatchNorm3d(o), nn.ReLU(inplace=True))


class VNet(nn.Module):
    """The V-Net of the left-atrium scripts: (B, 1, X, Y, Z) -> logits (B, 2, X, Y, Z).

    ``dropout=False`` makes two networks with the same weights comparable.
    """

    widths = (16, 32, 64, 128, 256, 128, 64, 32, 16)
    convolutions = (1, 2, 3, 3, 3, 3, 3, 2, 1)

    def __init__(self, classes: int = 2, *, dropout: bool = True) -> None:
        super().__init__()
        self.path = nn.ModuleList()  # a stage, a change of resolution, a stage, ...
        for n, (width, count) in enumerate(zip(self.widths, self.convolutions, strict=True)):
            self.path.append(stage3d(1 if n == 0 else width, width, count))
            if n < 8:
                self.path.append(resize3d(width, self.widths[n + 1]))
        self.head = nn.Conv3d(16, classes, 1)
        self.dropout = nn.Dropout3d(0.5 if dropout else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        stages, resizes = self.path[::2], self.path[1::2]
        skips = []
        for n in range(4):
            skips.append(stages[n](x))
            x = resizes[n](skips[-1])
        x = self.dropout(stages[4](x))
        for n in range(4, 8):
            x = stages[n + 1](resizes[n](x) + skips.pop())
        return self.head(self.dropout(x))


def stage2d(i: int, o: int, rate: float) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and leaky ReLU, dropout between them."""
    return nn.Sequential(
        *(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(), nn.Dropout(rate)),
        *(nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU()),
    )


class UNet2D(nn.Module):
    """The small U-Net of the ACDC scripts: (B, 1, H, W) -> logits (B, 4, H, W)."""

    widths = (16, 32, 64, 128, 256)

    def __init__(self, classes: int = 4, *, dropout: bool = True) -> None:
        super().__init__()
        rates = (0.05, 0.1, 0.2, 0.3, 0.5) if dropout else (0.0,) * 5
        ins = (1, *self.widths[:-1])
        self.down = nn.ModuleList(stage2d(i, o, r) for i, o, r in zip(ins, self.widths, rates, strict=True))
        pairs = [(self.widths[n], self.widths[n - 1]) for n in (4, 3, 2, 1)]
        self.up = nn.ModuleList(nn.ModuleList([nn.Conv2d(i, o, 1), stage2d(2 * o, o, 0.0)]) for i, o in pairs)
        self.head = nn.Conv2d(16, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.down[0](x)]
        for stage in self.down[1:]:
            skips.append(stage(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for narrow, stage in self.up:
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=True)
            x = stage(torch.cat([skips.pop(), x], dim=1))
        return self.head(x)


def copy_weights(target: nn.Module, source: nn.Module) -> None:
    """Load the weights of our network of the same kind: names differ, the order of the layers does not."""
    names = list(target.state_dict())
    target.load_state_dict(dict(zip(names, source.state_dict().values(), strict=True)))
