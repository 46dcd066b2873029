"""Peak memory and time of predicting one generated CT of ten classes, network aside (a 1x1x1 convolution).

python benchmarks/prediction_memory.py                               # 512 x 512 x 600, about 4 GB
python benchmarks/prediction_memory.py --shape 256 256 300 --patch 64 --results /tmp
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from _machine import store

from semiseg.core import SegOutput
from semiseg.images.grid import Grid
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model
from semiseg.preparation.plan import ChannelPlan, Plan

CLASSES = 10
RESULTS = Path(__file__).resolve().parent / "results"


class Tiny(torch.nn.Module):
    divisor = (8, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> SegOutput:
        return SegOutput(self.layer(x))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 600))
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    shape, patch = tuple(options.shape), options.patch
    plan = Plan(
        dim=3,
        orientation="native",
        spacing=(None, None, None),
        channels=(ChannelPlan(name="CT", scheme="ct", mean=100, std=300, p005=-900, p995=1500),),
        labels={str(k): k for k in range(CLASSES)},
        patch=(patch,) * 3,
    )
    torch.manual_seed(0)
    model = Model((Member(plan, Tiny().eval()),))
    model.segment(np.zeros((1, 16, 16, 16), np.int16), Grid((16, 16, 16), np.eye(4)))  # imports and copies
    rng, scan = np.random.default_rng(0), np.empty((1, *shape), np.int16)
    for row in scan[0]:
        row[...] = rng.integers(-1000, 1500, shape[1:])
    before, began = peak_gib(), time.process_time()
    model.segment(scan, Grid(shape, np.diag([0.8, 0.8, 1.0, 1.0])))
    stated = (10 * scan.size + 4 * CLASSES * (patch + patch // 2) * shape[1] * shape[2]) / 2**30
    figures = {
        "shape": shape,
        "patch": patch,
        "classes": CLASSES,
        "before_gib": before,
        "peak_gib": peak_gib(),
        "stated_gib": stated,
        "cpu_seconds": time.process_time() - began,
    }
    size = "x".join(map(str, shape))
    text = (
        f"A CT of {size} with {CLASSES} classes, patches of {patch}x{patch}x{patch}, a network of one "
        f"convolution: peak {figures['peak_gib']:.2f} GiB, of which {before:.2f} GiB are the program and the "
        f"scan. Prediction adds {figures['peak_gib'] - before:.2f} GiB; by the formula of docs/prediction.md "
        f"it is {stated:.2f} GiB. {figures['cpu_seconds']:.0f} CPU seconds."
    )
    command = f"python benchmarks/prediction_memory.py --shape {size.replace('x', ' ')} --patch {patch}"
    store(options.results, "prediction_memory", "Memory of a large prediction", command, text, figures)
    print(text)


if __name__ == "__main__":
    main()
