"""One small float32 sample on a CPU: our convolutions beside PyTorch's own, alone and in a network.

    OMP_NUM_THREADS=1 python benchmarks/small_sample.py

Both take turns in one process; reported are CPU seconds, medians over rounds, and the ratio plain / ours. The
plain network is ours with ``nn.Conv3d`` in the place of every convolution: the same weights, the same values.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.speed import clock  # noqa: E402
from benchmarks.speed.setting import Call  # noqa: E402

from semiseg.networks import build  # noqa: E402
from semiseg.networks.layers import Conv3d  # noqa: E402

CPU = torch.device("cpu")
FORM = torch.channels_last_3d
MAPS = ((16, (16, 32, 16)), (32, (8, 16, 8)), (64, (4, 8, 4)))
"""Channels and voxels of the stages of a small U-Net."""


def plain(layer: nn.Module) -> nn.Module:
    """A copy that computes its convolutions as PyTorch does by itself."""
    made = copy.deepcopy(layer)
    for module in made.modules():
        if isinstance(module, Conv3d):
            module.__class__ = nn.Conv3d
    return made


def forward(layer: nn.Module, x: Tensor) -> Call:
    def call() -> None:
        with torch.no_grad():
            layer(x)

    return call


def both_ways(layer: nn.Module, x: Tensor) -> Call:
    def call() -> None:
        y = layer(x)
        (y if isinstance(y, Tensor) else y.logits).sum().backward()

    return call


def cases() -> Iterator[tuple[str, nn.Module, Tensor]]:
    """What is measured: title, layer, input that needs a gradient."""
    for channels, edges in MAPS:
        size = "x".join(map(str, edges))
        layer = Conv3d(channels, channels, 3, padding=1).to(memory_format=FORM)
        x = torch.randn(1, channels, *edges).contiguous(memory_format=FORM).requires_grad_()
        yield f"convolution, {channels} channels of {size}", layer, x
    net = build("unet", dim=3, in_channels=1, classes=3, features=(16, 32, 64)).to(memory_format=FORM)
    patch = torch.randn(1, 1, 16, 32, 16).contiguous(memory_format=FORM)
    yield "U-Net of 16-32-64 on a patch of 16x32x16", net, patch


def rows(rounds: int) -> Iterator[dict[str, Any]]:
    """A row per case and direction; values are compared before timing."""
    for title, layer, x in cases():
        other = plain(layer)
        with torch.no_grad():
            a, b = (y if isinstance(y, Tensor) else y.logits for y in (layer(x), other(x)))
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        for what, make in (("forward", forward), ("forward and backward", both_ways)):
            sides = {"plain": make(other, x), "ours": make(layer, x)}
            times = clock.alternate(sides, rounds, 3, CPU)
            yield {"title": f"{what}: {title}", "seconds": times, "ratio": clock.ratio(times, "cpu")}


def table(found: list[dict[str, Any]]) -> str:
    lines = ["| what | plain, CPU ms | ours | ratio |", "|---|---:|---:|---:|"]
    for row in found:
        milliseconds = [
            1e3 * clock.summary(row["seconds"][side]["cpu"])["median"] for side in ("plain", "ours")
        ]
        ratio = row["ratio"]
        cells = [row["title"], *(f"{value:.2f}" for value in milliseconds)]
        cells += [f"**{ratio['median']:.1f}x** [{ratio['lowest']:.1f}-{ratio['highest']:.1f}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    torch.manual_seed(0)
    found = list(rows(args.rounds))
    title = "One small sample on a CPU"
    command = f"OMP_NUM_THREADS={torch.get_num_threads()} python benchmarks/small_sample.py"
    store(args.results, "small_sample", title, command, table(found), {"rows": found})
    print(table(found))


if __name__ == "__main__":
    main()
