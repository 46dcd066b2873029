"""A tiny network and endless synthetic batches: all that a method needs to be tried out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg import methods
from semiseg.batches.targets import make_targets
from semiseg.core import SHIFTED, Batch, Method, SegOutput
from semiseg.settings.config import OptimizerConfig, ScheduleConfig, TrainConfig
from semiseg.training.loop import Loop
from semiseg.training.update import Precision

SHIFT = (3, -2, 1)
"""Of the second crop of every sample."""


class TinyNet(nn.Module):
    """Two resolutions with batch norm and dropout, so that modes, random numbers and levels matter."""

    encoder_parts = ("body", "deep")

    def __init__(
        self, dim: int, classes: int, heads: dict[str, int] | None = None, channels: int = 1
    ) -> None:
        super().__init__()
        conv, norm, drop = (
            (nn.Conv2d, nn.BatchNorm2d, nn.Dropout2d)
            if dim == 2
            else (nn.Conv3d, nn.BatchNorm3d, nn.Dropout3d)
        )
        self.dim, self.in_channels, self.classes, self.widths = dim, channels, classes, (6, 8)
        self.body = nn.Sequential(conv(channels, 8, 3, 1, 1), norm(8), nn.ReLU(), drop(0.2))
        self.deep = nn.Sequential(conv(8, 6, 3, 2, 1), norm(6), nn.ReLU())
        self.up = nn.Sequential(conv(6, 8, 1), nn.Upsample(scale_factor=2))
        self.head = conv(8, classes, 1)
        self.heads = nn.ModuleDict({name: conv(8, n, 1) for name, n in (heads or {}).items()})

    def encode(self, x: Tensor) -> list[Tensor]:
        first = self.body(x)
        return [first, self.deep(first)]

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        first, deep = maps
        return [deep, first + self.up(deep)]

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features)

    def forward(self, x: Tensor) -> SegOutput:
        levels = self.decode(self.encode(x))
        heads = {name: head(levels[-1]) for name, head in self.heads.items()}
        return SegOutput(self.classify(levels[-1]), levels[-1], heads, tuple(levels))


def batches(
    dim: int, classes: int, *, labeled: int = 2, unlabeled: int = 3, absent: int | None = None, edge: int = 12
) -> Callable[[int], Batch]:
    """Iteration -> batch; class k is where the smooth image lies in the k-th band of intensity."""
    shape = (edge,) * dim

    def image(generator: torch.Generator, n: int) -> Tensor:
        coarse = torch.randn((n, 1, *[4] * dim), generator=generator)
        mode = "bilinear" if dim == 2 else "trilinear"
        return nn.functional.interpolate(coarse, shape, mode=mode, align_corners=True)

    def at(step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        x_l, weak = image(generator, labeled), image(generator, unlabeled)
        edges = torch.linspace(-0.6, 0.6, classes - 1)
        y_l = torch.bucketize(x_l[:, 0], edges)
        if absent is not None:
            y_l[y_l == absent] = 0
        views, views_l = {"weak": weak}, {}
        for x, seen in ((weak, views), (x_l, views_l)):
            for name in ("strong", "strong2"):
                seen[name] = x + 0.3 * torch.randn(x.shape, generator=generator)
            seen[SHIFTED] = x.roll([-s for s in SHIFT[:dim]], list(range(2, dim + 2)))
        targets = make_targets(["sdf", "sdf_published"], y_l, classes)
        shifts = {"labeled": [SHIFT[:dim]] * labeled, "unlabeled": [SHIFT[:dim]] * unlabeled}
        sure = torch.rand(weak[:, 0].shape, generator=generator) > 0.1
        pseudo = torch.bucketize(weak[:, 0], edges).where(sure, 255)
        return Batch(x_l, y_l, views, targets, views_l, shifts, pseudo)

    return at


SMALL: dict[str, dict[str, object]] = {
    "cross_teaching": {
        "partner_options": {"feature_size": 8, "hidden_size": 24, "mlp_dim": 24, "num_heads": 2}
    },
    "dan": {"critic_width": 8},
    "sassnet": {"critic_width": 8},
    "dycon": {"max_patches": 128},
    "tcseg": {"mix_after": 0, "weight": 0.1},  # else most of the loss grows with the run
    "sdcl": {"rectify_weight": 0.0},  # its smallest value is ln K, so that the loss cannot fall by much
    "unimatch": {"tau": 0.5},
    "ad_mt": {"weight": 0.1, "tau": 0.5, "ema_warmup": 2, "longest_turn": 3},
    "crossmatch": {"tau": 0.5},
}
"""Sizes of the parts that a method brings itself, as tiny as the networks here, and thresholds that so short
a training reaches."""


def make(name: str, dim: int, classes: int, **options: object) -> Method:
    """A method on tiny networks, always with the same initial weights."""
    torch.manual_seed(0)
    options = {**SMALL.get(name, {}), **options}

    def make_net(heads: dict[str, int] | None = None, **choice: object) -> TinyNet:
        return TinyNet(dim, classes, heads)  # whatever network is asked for

    return methods.find(name)(make_net, **options)


def loop_for(
    method: Method,
    at: Callable[[int], Batch],
    total: int,
    *,
    folder: Path | None = None,
    fabric: Fabric | None = None,
    precision: str = "32",
    **train: object,
) -> Loop:
    """A loop with a high learning rate, so that few iterations show something."""
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    return Loop(
        fabric,
        method,
        at,
        Precision(precision, fabric.device),
        total,
        TrainConfig(**train),
        OptimizerConfig(lr=0.01),
        ScheduleConfig(name="poly"),
        folder=folder,
    )
