"""How long Dice, Jaccard, HD95 and ASD of a left atrium take: the usual way beside ours, in alternation.

The usual way is that of the published evaluation scripts: each metric by itself, each surface distance with
its own erosions and a distance transform of the whole volume. Ours is ``semiseg.metrics.evaluate``, which
also gives ASSD, NSD, volume errors and the counts. The four shared values must be equal, or the run fails.

    python benchmarks/metrics.py                  # synthetic masks, and real labels where they are present
    python benchmarks/metrics.py --no-edt --results OTHER_FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _machine import machine
from scipy import ndimage

from semiseg.metrics import evaluate

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
REAL = Path(os.environ.get("SEMISEG_TEST_DATA", HERE.parent.parent / "shared" / "data"))
LEFT_ATRIUM = "Dataset101_LeftAtrium"


def usual_distances(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    cross = ndimage.generate_binary_structure(source.ndim, 1)
    edge = source ^ ndimage.binary_erosion(source, cross)
    other = target ^ ndimage.binary_erosion(target, cross)
    return ndimage.distance_transform_edt(~other)[edge]


def usual(prediction: np.ndarray, reference: np.ndarray) -> list[float]:
    """Dice, Jaccard, HD95 and ASD in voxels, each from the two arrays anew."""

    def masks() -> tuple[np.ndarray, np.ndarray]:
        return prediction.astype(bool), reference.astype(bool)

    p, r = masks()
    dice = 2 * np.count_nonzero(p & r) / (np.count_nonzero(p) + np.count_nonzero(r))
    p, r = masks()
    jaccard = np.count_nonzero(p & r) / np.count_nonzero(p | r)
    p, r = masks()
    hd95 = np.percentile(np.hstack([usual_distances(p, r), usual_distances(r, p)]), 95)
    p, r = masks()
    asd = usual_distances(p, r).mean()
    return [float(v) for v in (dice, jaccard, hd95, asd)]


def ours(prediction: np.ndarray, reference: np.ndarray) -> list[float]:
    found = evaluate(prediction, reference, (1.0,) * reference.ndim, {"atrium": 1}, "uamt")["atrium"]
    return [found[m] for m in ("Dice", "Jaccard", "HD95", "ASD")]


def synthetic(seed: int, shape: tuple[int, int, int] = (190, 140, 88)) -> np.ndarray:
    """A lumpy body with four tubes, about as large as a left atrium at 0.625 mm."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij"))
    radius = np.sqrt(((grid / np.array([0.5, 0.5, 0.6]).reshape(3, 1, 1, 1)) ** 2).sum(0))
    bumps = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 8)
    mask = radius + 0.25 * bumps / bumps.std() < 1
    for side in (-0.25, 0.25):
        for level in (-0.3, 0.3):
            tube = np.hypot(grid[1] - side, grid[2] - level) < 0.09
            mask |= tube & (np.abs(grid[0]) < 0.8)
    return mask


def predictions(reference: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """A close prediction, the same with far false positives, and a poor one."""
    rng = np.random.default_rng(seed)
    close = ndimage.binary_erosion(np.roll(reference, (2, -1, 1), (0, 1, 2)))
    yield "close", close
    blobs = close.copy()
    for _ in range(3):
        low = [int(rng.integers(0, n - 10)) for n in reference.shape]
        blobs[tuple(slice(i, i + int(rng.integers(6, 10))) for i in low)] = True
    yield "far blobs", blobs
    yield "poor", ndimage.binary_dilation(np.roll(reference, (15, 8, -6), (0, 1, 2)), iterations=3)


def references(real: int) -> Iterator[tuple[str, np.ndarray]]:
    for seed in (0, 1):
        yield f"synthetic {seed}", synthetic(seed)
    folder = REAL / LEFT_ATRIUM / "labelsTs"
    for path in sorted(folder.glob("*.nii.gz"))[:real] if folder.is_dir() else []:
        from semiseg.data.formats import read

        yield f"real {path.name[:8]}", np.ascontiguousarray(read(path).array > 0)


def seconds(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    start = time.process_time()
    values = work()
    return time.process_time() - start, values


def measure(repeats: int, real: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, reference in references(real):
        for kind, prediction in predictions(reference, seed=len(rows)):
            p, r = prediction.astype(np.int64), reference.astype(np.int64)  # as the scripts hold them
            times: dict[str, list[float]] = {"usual": [], "ours": []}
            for _ in range(repeats):
                spent, wanted = seconds(lambda p=p, r=r: usual(p, r))
                times["usual"].append(spent)
                spent, got = seconds(lambda p=p, r=r: ours(p, r))
                times["ours"].append(spent)
                if not np.allclose(got, wanted, rtol=1e-9):
                    raise SystemExit(f"{name}, {kind}: ours {got}, usual {wanted}")
            slow, fast = (statistics.median(times[k]) for k in ("usual", "ours"))
            row = {"mask": name, "shape": list(r.shape), "prediction": kind, "usual_s": slow, "ours_s": fast}
            rows.append({**row, "ratio": slow / fast})
            print(
                f"{name:16} {kind:10} usual {slow:.3f} s  ours {fast:.3f} s  {slow / fast:5.1f}x", flush=True
            )
    return rows


def report(result: dict[str, object], rows: list[dict[str, object]]) -> str:
    about = result["machine"]
    lines = [
        "# Metrics: Dice, Jaccard, HD95 and ASD of one case",
        "",
        "CPU seconds (median), usual way (each metric alone, full-volume SciPy distance transforms) and "
        "`semiseg.metrics.evaluate` in alternation in one process; all values equal.",
        "",
        f"Command: `{result['command']}`. Median ratio **{result['median_ratio']:.1f}x** "
        f"({result['smallest_ratio']:.1f} to {result['largest_ratio']:.1f}).",
        "",
        "| mask | shape | prediction | usual s | ours s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        shape = "x".join(map(str, row["shape"]))
        times = f"{row['usual_s']:.3f} | {row['ours_s']:.3f} | {row['ratio']:.1f}x"
        lines.append(f"| {row['mask']} | {shape} | {row['prediction']} | {times} |")
    lines += ["", "Machine: " + ", ".join(f"{k} {v}" for k, v in about.items()) + "."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--real", type=int, default=4, help="how many real labels to use, where present")
    parser.add_argument("--no-edt", action="store_true", help="measure without the optional edt package")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where metrics.json and .md go")
    options = parser.parse_args()
    if options.no_edt:
        sys.modules["edt"] = None  # type: ignore[assignment]
    rows = measure(options.repeats, options.real)
    ratios = [float(str(row["ratio"])) for row in rows]
    result: dict[str, object] = {
        "command": " ".join(["python benchmarks/metrics.py", f"--repeats {options.repeats}"]),
        "machine": machine() | ({"edt": None} if options.no_edt else {}),
        "repeats": options.repeats,
        "median_ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "largest_ratio": max(ratios),
        "rows": rows,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "metrics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (options.results / "metrics.md").write_text(report(result, rows), encoding="utf-8")
    print(f"median ratio {result['median_ratio']:.1f}x; written to {options.results}")


if __name__ == "__main__":
    main()
