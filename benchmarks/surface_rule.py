"""What decides between a k-d tree and a distance transform: the cost of a look-up and of a voxel, fitted.

Lumpy bodies of several sizes and shapes, shifted against one another by several distances. The look-up time
of a border point is fitted as ``a + b * mean distance in voxels``, the transform's as ``c * voxels of the
box``; the constants go into ``semiseg.evaluation.surface``.

    python -m benchmarks.surface_rule            # with what is installed
    python -m benchmarks.surface_rule --plain    # as if pykdtree and edt were not
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.speed.scans import lumpy

from semiseg.evaluation import surface

SHAPES = ((40, 40, 30), (96, 80, 60), (190, 140, 88))
SHIFTS = ((1, 0, 0), (3, 2, 1), (8, 4, 4), (15, 10, 8), (30, 10, 8))


def seconds(work: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="SciPy alone")
    options = parser.parse_args()
    if options.plain:
        sys.modules["edt"] = sys.modules["pykdtree"] = sys.modules["pykdtree.kdtree"] = None  # type: ignore[assignment]
    rows = []
    for shape in SHAPES:
        body = lumpy(np.random.default_rng(0), shape)[1] > 0
        for shift in SHIFTS:
            if any(2 * s >= n for s, n in zip(shift, shape, strict=True)):
                continue
            box = surface.joint_box(body, np.roll(body, shift, (0, 1, 2)))
            if box is None:
                continue
            ours, theirs = (
                surface.border(np.ascontiguousarray(mask[box]))
                for mask in (body, np.roll(body, shift, (0, 1, 2)))
            )
            source, target = (surface.border_points(mask, (1.0, 1.0, 1.0)) for mask in (ours, theirs))
            tree = seconds(lambda s=source, t=target: surface.nearest(t)(s), options.repeats)
            sweep = seconds(lambda t=theirs: surface.squared_transform(t, (1.0, 1.0, 1.0)), options.repeats)
            distance = float(surface.nearest(target)(source).mean())
            rows.append((len(source), distance, ours.size, tree, sweep))
            print(
                f"{shape!s:16} {len(source):6} points, mean distance {distance:5.1f}: "
                f"tree {1e9 * tree / len(source):6.0f} ns a point, "
                f"transform {1e9 * sweep / ours.size:5.1f} ns a voxel",
                flush=True,
            )
    points, distances, voxels, trees, sweeps = (np.array(column) for column in zip(*rows, strict=True))
    design = np.stack([np.ones_like(distances), distances], 1)
    (a, b), *_ = np.linalg.lstsq(design, 1e9 * trees / points, rcond=None)
    c = float(np.median(1e9 * sweeps / voxels))
    print(f"a look-up {a:.0f} ns + {b:.0f} ns a voxel of distance; a voxel of the transform {c:.0f} ns")


if __name__ == "__main__":
    main()
