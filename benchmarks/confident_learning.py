"""How long confident learning on two training patches takes: voxel by voxel beside ours, in alternation.

The usual way is that of the usual library: NumPy for thresholds and cuts, sparse counting of confident
labels, and a Python loop over all voxels at the end. Ours is ``semiseg.parts.confident_learning``. Masks
must be equal, or the run fails.

    python benchmarks/confident_learning.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from _machine import machine
from scipy import sparse

from semiseg.parts.confident_learning import label_issues

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE = (112, 112, 80)
CLASSES = (2, 4)


def usual(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Both filters on labels (n,) and probabilities (n, K)."""
    n, classes = p.shape
    counts = np.bincount(labels, minlength=classes)
    joint = usual_joint(labels, p, counts)
    by_class, by_rate = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for k in range(classes):
        of_class = labels == k
        wrong = counts[k] - joint[k, k]
        by_class |= of_class & (p[:, k] < np.partition(p[of_class, k], wrong)[wrong])
        for j in range(classes):
            if j != k and joint[k, j] > 0:
                margin = p[:, j] - p[:, k]
                cut = -np.partition(-margin[of_class], joint[k, j] - 1)[joint[k, j] - 1]
                by_rate |= of_class & (margin >= cut)
    issues = by_class & by_rate
    for i, likeliest in enumerate(p.argmax(axis=1)):
        if likeliest == labels[i]:
            issues[i] = False
    return issues


def usual_joint(labels: np.ndarray, p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The calibrated confident joint, in whole numbers."""
    classes = p.shape[1]
    thresholds = np.array([p[labels == k, k].mean() for k in range(classes)])
    confident = p >= thresholds - 1e-6
    reached = confident.sum(axis=1)
    guess = np.where(reached > 1, p.argmax(axis=1), confident.argmax(axis=1))[reached > 0]
    pairs = (np.ones(len(guess), dtype=np.int64), (labels[reached > 0], guess))
    joint = sparse.coo_matrix(pairs, shape=(classes, classes)).toarray().astype(float)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    joint = joint / joint.sum(axis=1, keepdims=True) * counts[:, None]
    joint = joint / joint.sum() * counts.sum()
    whole = np.round(joint)
    for row, exact in zip(whole, joint, strict=True):
        missing = int(np.round(exact.sum()) - row.sum())
        order = np.argsort(exact - row)
        row[order[len(row) - missing :] if missing > 0 else order[: -missing or 0]] += np.sign(missing)
    return np.maximum(whole, np.eye(classes)).astype(int)


def patches(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth probabilities of two patches (2, K, *S), and labels that disagree with them here and there."""
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn((2, classes, *(n // 8 for n in SHAPE)), generator=generator)
    z = F.interpolate(coarse, SHAPE, mode="trilinear")
    labels = (z + 0.5 * torch.randn(z.shape, generator=generator)).argmax(1)
    return labels, z.softmax(1)


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def measure(repeats: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for classes in CLASSES:
        labels, p = patches(classes)

        def ours(labels: torch.Tensor = labels, p: torch.Tensor = p) -> np.ndarray:
            return label_issues(labels, p).numpy().ravel()

        def loop(labels: torch.Tensor = labels, p: torch.Tensor = p) -> np.ndarray:
            flat = p.movedim(1, -1).reshape(-1, p.shape[1])
            return usual(labels.numpy().ravel(), flat.numpy())

        times: dict[str, list[float]] = {"usual": [], "ours": []}
        for _ in range(repeats):
            spent, wanted = seconds(loop)
            times["usual"].append(spent)
            spent, got = seconds(ours)
            times["ours"].append(spent)
            if not np.array_equal(got, wanted):
                raise SystemExit(f"{classes} classes: {(got != wanted).sum()} voxels differ")
        slow, fast = (statistics.median(times[k]) for k in ("usual", "ours"))
        row = {"classes": classes, "voxels": labels.numel(), "flagged": int(got.sum())}
        rows.append({**row, "usual_s": slow, "ours_s": fast, "ratio": slow / fast})
        print(f"{classes} classes  usual {slow:.3f} s  ours {fast:.3f} s  {slow / fast:5.1f}x", flush=True)
    return rows


def report(result: dict[str, object], rows: list[dict[str, object]]) -> str:
    about = result["machine"]
    shape = "x".join(map(str, (2, *SHAPE)))
    lines = [
        f"# Confident learning: label issues of {shape} voxels",
        "",
        "CPU seconds (median), usual way (NumPy, sparse counts, a Python loop over the voxels) and "
        "`semiseg.parts.confident_learning.label_issues` in alternation in one process; all masks equal.",
        "",
        f"Command: `{result['command']}`.",
        "",
        "| classes | flagged voxels | usual s | ours s | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        times = f"{row['usual_s']:.3f} | {row['ours_s']:.3f} | {row['ratio']:.1f}x"
        lines.append(f"| {row['classes']} | {row['flagged']} | {times} |")
    lines += ["", "Machine: " + ", ".join(f"{k} {v}" for k, v in about.items()) + "."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the .json and .md go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.repeats)
    result: dict[str, object] = {
        "command": f"python benchmarks/confident_learning.py --repeats {options.repeats}",
        "machine": machine(),
        "repeats": options.repeats,
        "rows": rows,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    for ending, text in ((".json", json.dumps(result, indent=2) + "\n"), (".md", report(result, rows))):
        (options.results / f"confident_learning{ending}").write_text(text, encoding="utf-8")
    print(f"written to {options.results}")


if __name__ == "__main__":
    main()
