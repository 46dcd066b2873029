"""Peak memory of predicting a long CT with many classes stays below what docs/prediction.md states."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

SLACK = 16 * 2**20
"""Of windows, small arrays and the allocator."""

CHILD = """
import resource
import numpy as np
import torch
from semiseg.settings.config import InferenceConfig
from semiseg.core import SegOutput
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.images.grid import Grid
from semiseg.prediction.members import Member
from semiseg.prediction.model import Model

class Tiny(torch.nn.Module):
    divisor = (8, 8, 8)

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(1, {classes}, 1)

    def forward(self, x):
        return SegOutput(self.layer(x))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

shape, patch = {shape}, {patch}
plan = Plan(
    dim=3,
    orientation="native",
    spacing={spacing},
    channels=(ChannelPlan(name="CT", scheme="ct", mean=100, std=300, p005=-900, p995=1500),),
    labels={{str(k): k for k in range({classes})}},
    patch=patch,
)
torch.manual_seed(0)
model = Model((Member(plan, Tiny().eval()),), InferenceConfig())
model.segment(np.zeros((1, 16, 16, 16), np.int16), Grid((16, 16, 16), np.diag([0.8, 0.8, 1.0, 1.0])))
image = np.zeros((1, *shape), np.int16)
image[0, ::2] = 50  # touched, so that it is in memory
before = peak()
model.segment(image, Grid(shape, np.diag([0.8, 0.8, 1.0, 1.0])), entropy={entropy})
print(peak() - before)
"""


def stated(shape: tuple[int, ...], step_rows: int, classes: int, *, entropy: bool) -> int:
    """The formula of docs/prediction.md, beyond the scan as it was read."""
    voxels, plane = int(np.prod(shape)), shape[1] * shape[2]
    return voxels * (10 + 8 * entropy) + 4 * classes * step_rows * plane


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize(
    ("spacing", "entropy"),
    [
        ((None, None, None), False),
        pytest.param((None, None, None), True, marks=pytest.mark.slow),
        pytest.param((1.6, 1.6, 2.0), False, marks=pytest.mark.slow),
    ],
)
def test_peak_memory_is_what_the_page_says(spacing: tuple[float | None, ...], entropy: bool) -> None:
    shape, patch, classes = (128, 128, 150), (32, 32, 32), 10  # 512 x 512 x 600 and 128, by 1/4
    code = CHILD.format(shape=shape, patch=patch, classes=classes, spacing=spacing, entropy=entropy)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "0"},
    )
    assert done.returncode == 0, done.stderr
    used = int(done.stdout)
    allowed = stated(shape, patch[0] + patch[0] // 2, classes, entropy=entropy) + SLACK
    assert used <= allowed, f"{used / 2**20:.0f} MiB, stated {allowed / 2**20:.0f} MiB"
    assert allowed < 4 * classes * int(np.prod(shape))  # all probabilities at once would not pass
