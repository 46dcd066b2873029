"""Many classes of very different size: Dice of each, of a few methods, on synthetic scans.

    OMP_NUM_THREADS=1 python benchmarks/many_classes.py

Thirteen ellipsoids at places of their own, the largest 500 times the volume of the smallest, with shared gray
values: a class is told by where it is. No patient is behind them. All methods have the same labels,
iterations and batch; the last weights are scored.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402

from semiseg import images  # noqa: E402
from semiseg.dataset.dataset import Dataset  # noqa: E402
from semiseg.evaluation.evaluate import evaluate_folders  # noqa: E402
from semiseg.images.grid import Grid  # noqa: E402
from semiseg.settings.resolve import resolve  # noqa: E402
from semiseg.training.train import train  # noqa: E402

SHAPE = (12, 64, 64)
RADII = (15.0, 11.0, 9.0, 7.5, 6.0, 5.0, 4.3, 3.7, 3.2, 2.7, 2.3, 1.9, 1.5)
"""In the plane, in voxels."""
CENTERS = (
    (17, 18),
    (16, 49),
    (50, 50),
    (44, 22),
    (57, 34),
    (35, 38),
    (30, 58),
    (57, 9),
    (35, 6),
    (4, 33),
    (59, 22),
    (4, 59),
    (46, 36),
)
LEVELS = (0.45, 0.6, 0.75, 0.9)
"""Gray values, in turn."""
METHODS = ("supervised", "mean_teacher", "cps", "dhc")


def scan(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of one scan; pose and sizes vary."""
    z, y, x = np.indices(SHAPE)
    image, label = rng.normal(0.25, 0.03, SHAPE), np.zeros(SHAPE, np.uint8)
    shift, scale = rng.normal(0, 1.5, 2), rng.uniform(0.92, 1.08)
    for k, (center, radius) in enumerate(zip(CENTERS, RADII, strict=True), start=1):
        cy, cx = (np.array(center) - 32) * scale + 32 + shift + rng.normal(0, 0.5, 2)
        a, b = radius * rng.uniform(0.85, 1.15, 2)
        depth = max(0.35 * radius, 1.2)
        inside = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 + ((z - 5.5) / depth) ** 2 < 1
        label[inside] = k
        image[inside] = LEVELS[k % len(LEVELS)] + rng.normal(0, 0.02)
    return (100 * (image + rng.normal(0, 0.07, SHAPE))).astype(np.float32), label


def dataset(folder: Path, labeled: int, unlabeled: int, test: int, seed: int) -> Path:
    """A dataset folder; the truth of unlabeled scans is never written."""
    grid = Grid(SHAPE, np.diag([4.0, 1.0, 1.0, 1.0]))
    for number, (part, count, known) in enumerate(
        (("Tr", labeled, True), ("Un", unlabeled, False), ("Ts", test, True))
    ):
        for kind in ["images", *["labels"] * known]:
            (folder / f"{kind}{part}").mkdir(parents=True)
        for i in range(count):
            image, label = scan(np.random.default_rng([seed, number, i]))
            case = f"scan_{part.lower()}_{i:03d}"
            images.write(folder / f"images{part}" / f"{case}_0000.nii.gz", image, grid)
            if known:
                images.write(folder / f"labels{part}" / f"{case}.nii.gz", label, grid)
    labels = {"background": 0, **{f"class {k:02d}": k for k in range(1, len(RADII) + 1)}}
    about = {
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": labeled,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def dice(root: Path, work: Path, method: str, args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Mean Dice of each class over the test scans."""
    flags = {
        "method.name": method,
        "train.iterations": args.iterations,
        "train.seed": seed,
        "select": "last",
        "plan.dim": 2,
        "plan.patch": (64, 64),
        "plan.features": (12, 24, 48),
        "plan.batch": 8,
        "train.precision": "32",
    }
    config = resolve(flags=flags, settings=args.set, environment={})
    data = Dataset.open(root)
    run = train(data, config, runs=work / "runs", device="cpu", workers=0)
    out = work / f"{method}-{seed}"
    run.predict(root / "imagesTs", out, device="cpu")
    cases = evaluate_folders(root / "labelsTs", out, dataset=data).cases
    names = list(data.labels)[1:]
    found = {name: [case.metrics[name]["Dice"] for case in cases if name in case.metrics] for name in names}
    return {name: statistics.fmean(v for v in values if v is not None) for name, values in found.items()}


def table(rows: dict[str, dict[str, list[float]]], sizes: dict[str, int]) -> str:
    """Markdown: a line per class, a column per method."""
    lines = [f"| class | voxels | {' | '.join(rows)} |", f"|---|---|{'---|' * len(rows)}"]
    for name, voxels in sizes.items():
        cells = " | ".join(f"{100 * statistics.fmean(found[name]):.1f}" for found in rows.values())
        lines.append(f"| {name} | {voxels} | {cells} |")
    for title, names in (
        ("largest six", list(sizes)[:6]),
        ("smallest seven", list(sizes)[6:]),
        ("all", list(sizes)),
    ):
        cells = " | ".join(
            f"{100 * statistics.fmean(statistics.fmean(found[n]) for n in names):.1f}"
            for found in rows.values()
        )
        lines.append(f"| **{title}** | | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--labeled", type=int, default=3)
    parser.add_argument("--unlabeled", type=int, default=16)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--scans", type=int, default=0, help="seed of the scans")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--name", default="many_classes")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        root = dataset(
            Path(work) / "Dataset001_Ellipsoids", args.labeled, args.unlabeled, args.test, args.scans
        )
        label = scan(np.random.default_rng([args.scans, 0, 0]))[1]
        sizes = {f"class {k:02d}": int((label == k).sum()) for k in range(1, len(RADII) + 1)}
        rows: dict[str, dict[str, list[float]]] = {}
        for method in args.methods:
            found = [dice(root, Path(work), method, args, seed) for seed in range(args.seeds)]
            rows[method] = {name: [one[name] for one in found] for name in sizes}
    text = (
        f"Dice in percent on {args.test} test scans, {args.labeled} labeled and {args.unlabeled} unlabeled "
        f"scans of {'x'.join(map(str, SHAPE))} voxels, {args.iterations} iterations, {args.seeds} seed"
        f"{'s' * (args.seeds > 1)}; voxels are those of one labeled scan.\n\n{table(rows, sizes)}"
    )
    extra = "".join(f" --set {setting}" for setting in args.set)
    extra += f" --scans {args.scans}" if args.scans else ""
    extra += f" --methods {' '.join(args.methods)}" if args.methods != list(METHODS) else ""
    command = f"python benchmarks/many_classes.py --iterations {args.iterations} --seeds {args.seeds}{extra}"
    figures: dict[str, Any] = {"rows": rows, "voxels": sizes}
    store(args.results, args.name, "Many classes of very different size", command, text, figures)


if __name__ == "__main__":
    main()
