"""Where the time of a prediction goes, and what other windows would change: `... DATASET RUN [RUN ...]`.

CPU seconds of one thread per scan, for reading, preparing, the forward passes and the way back, with the
run's settings and with other batches and overlaps of windows; Dice and HD95 beside them. Scans are training
cases that the runs have not seen as labeled. The results go to benchmarks/results/prediction_time.{json,md}.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.held_out import cases_of  # noqa: E402

from semiseg.dataset.case import LabeledCase, load_case, load_label  # noqa: E402
from semiseg.evaluation.results import evaluate_pairs  # noqa: E402
from semiseg.prediction.model import Model  # noqa: E402
from semiseg.runs.run import load_run  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PARTS = ("reading", "preparing", "forward passes", "way back")
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one window at a time": {"window_batch": 1},
    "eight windows at a time": {"window_batch": 8},
    "overlap 0.25": {"overlap": 0.25},
    "overlap 0": {"overlap": 0.0},
}


def measured(model: Model, cases: Sequence[LabeledCase]) -> dict[str, Any]:
    """Seconds per scan of each part, and scores; a first scan is not counted."""
    spent, pairs = dict.fromkeys(PARTS, 0.0), []
    for number, case in enumerate([cases[0], *cases]):
        times = [time.process_time()]
        scan, grid, _ = load_case(case)
        times.append(time.process_time())
        prepared = model.prepare(scan, grid)
        times.append(time.process_time())
        inferred = model.infer(prepared)
        times.append(time.process_time())
        labels = inferred.result().labels
        times.append(time.process_time())
        if number:
            for part, (before, after) in zip(PARTS, itertools.pairwise(times), strict=True):
                spent[part] += (after - before) / len(cases)
            pairs.append((case.id, labels, load_label(case, grid), grid))
    scores = evaluate_pairs(iter(pairs), dict(itertools.islice(model.label_values.items(), 1, None)))
    return {"seconds": spent, "dice": scores.mean("Dice"), "hd95": scores.mean("HD95")}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A row per run and setting."""
    lines = [f"| run | patch | windows | {' | '.join(f'{p}, s' for p in PARTS)} | Dice | HD95, mm |"]
    lines.append("|---|---|---|" + "---:|" * (len(PARTS) + 2))
    for row in rows:
        seconds = " | ".join(f"{row['seconds'][part]:.3f}" for part in PARTS)
        about = f"{row['run']} | {row['patch']} | {row['setting']}"
        lines.append(f"| {about} | {seconds} | {row['dice']:.4f} | {row['hd95']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--cases", type=int, default=10, help="from the end of the training order")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for folder in args.run:
        run = load_run(folder)
        cases = cases_of(args.dataset, run, "development", args.cases)
        about = {"run": folder.name, "patch": "x".join(map(str, run.plan.patch))}
        for name, overrides in SETTINGS.items():
            model = Model.load(folder, "cpu", overrides=overrides)
            rows.append({**about, "setting": name, **measured(model, cases)})
    names = " ".join(folder.name for folder in args.run)
    command = f"python benchmarks/prediction_time.py {args.dataset.name} {names} --cases {args.cases}"
    store(
        args.results,
        "prediction_time",
        "Where the time of a prediction goes",
        command,
        table(rows),
        {"rows": rows},
    )
    print(table(rows))


if __name__ == "__main__":
    main()
