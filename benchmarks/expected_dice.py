"""Expected Dice beside true Dice: `python benchmarks/expected_dice.py DATASET RUN [--mirrored]`.

    python benchmarks/expected_dice.py DATASET RUN --name hippocampus
    python benchmarks/expected_dice.py                                  # the page again

The run predicts training cases that it has not learned the labels of; their labels are opened here, and
nothing is chosen by them but which score of doubt is the default. For each number of calibration scans, some
of these cases are drawn at random to calibrate by, as a validation list would, and the others are told an
expected Dice with an interval; 50 draws. A run with a ``calibration.json`` (`semiseg train --calibrate`) is
also told by that. Rows per case are kept in benchmarks/results/expected_dice.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store, table  # noqa: E402

from semiseg.dataset.case import LabeledCase, load_case, load_label  # noqa: E402
from semiseg.dataset.dataset import Dataset  # noqa: E402
from semiseg.evaluation.case import evaluate  # noqa: E402
from semiseg.labeling.facts import Facts  # noqa: E402
from semiseg.prediction.doubt import FILE, SCORES, Calibration, Doubt, Known  # noqa: E402  # noqa: E402
from semiseg.prediction.model import Model  # noqa: E402
from semiseg.runs.run import load_run  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
TITLE = "Expected Dice"
COMMAND = "python benchmarks/expected_dice.py DATASET RUN --name NAME [--mirrored]"
CALIBRATE_BY = (8, 20, 40)
DRAWS = 50
MIRRORED = "disagreement"
WORDS = {
    "entropy": "entropy over the scan / predicted volume",
    "inside": "mean entropy in the prediction",
    "soft_dice": "1 - Soft Dice Confidence",
    MIRRORED: "1 - Dice with the mirrored views",
}

Row = dict[str, Any]


def measured(dataset: Path, folder: Path, *, most: int, mirrored: bool, device: str) -> list[Row]:
    """Doubt and true Dice of each case that the run has not seen as labeled."""
    run, opened = load_run(folder), Dataset.open(dataset)
    seen = {*run.split["labeled"], *run.split["val"]}
    cases = [case for case in opened.annotated if case.id not in seen][-most:]
    model = Model.load(folder, device)
    facts = Facts({case.id: case for case in cases}, model)
    rows = []
    for number, case in enumerate(cases, start=1):
        row = _row(case, model)
        if mirrored:
            row[MIRRORED] = facts.disagreement(case.id)
        rows.append(row)
        if number % 10 == 0:
            print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
    return rows


def _row(case: LabeledCase, model: Model) -> Row:
    image, grid, _ = load_case(case, len(model.plan.channels))
    doubt = Doubt(model.plan)
    labels = model.infer(model.prepare(image, grid), also=doubt.add).result().labels
    ignore = model.plan.ignore_value
    found = evaluate(
        labels, load_label(case, grid), grid.spacing, model.structures, distances=False, ignore=ignore
    )
    dice = [metrics["Dice"] for metrics in found.values() if metrics["Dice"] == metrics["Dice"]]
    told = doubt.result()
    return {"case": case.id, "dice": float(np.mean(dice)), **{score: told[score] for score in SCORES}}


def figures(rows: Sequence[Row], score: str, count: int, seed: int = 0) -> Row:
    """How well ``count`` cases calibrate a score for the others: mean over random draws."""
    rng, gaps, held, wide = np.random.default_rng(seed), [], [], []
    for _ in range(DRAWS):
        order = rng.permutation(len(rows))
        known = [Known(rows[i]["case"], rows[i]["dice"], rows[i]) for i in order[:count]]
        told = _told(Calibration(known, "drawn", score=score), [rows[i] for i in order[count:]])
        gaps.append(told["mae"])
        held.append(told["held"])
        wide.append(told["width"])
    return {"mae": float(np.mean(gaps)), "held": float(np.mean(held)), "width": float(np.mean(wide))}


def _told(calibration: Calibration, rows: Sequence[Row]) -> Row:
    """Mean absolute error, share of intervals that hold, and their mean width."""
    pairs = [(found, row["dice"]) for row in rows if (found := calibration.expected(row)) is not None]
    return {
        "mae": float(np.mean([abs(found.value - dice) for found, dice in pairs])),
        "held": float(np.mean([found.low <= dice <= found.high for found, dice in pairs])),
        "width": float(np.mean([found.high - found.low for found, _ in pairs])),
    }


def risk_area(rows: Sequence[Row], score: str) -> float:
    """AURC: the mean of 1 - Dice over the most certain scans, averaged over how many of them are taken."""
    order = np.argsort([row[score] for row in rows], kind="stable")
    risks = np.array([1 - row["dice"] for row in rows])[order]
    return float(np.mean(np.cumsum(risks) / np.arange(1, len(risks) + 1)))


def page(data: dict[str, Row]) -> str:
    """A table of the scores and one of the intervals for each run."""
    parts = []
    for name, one in data.items():
        rows = one["rows"]
        dice = np.array([row["dice"] for row in rows])
        scores = [score for score in WORDS if score in rows[0]]
        head = ["score", "Spearman with Dice", "AURC"]
        first = [
            [WORDS[s], f"{stats.spearmanr([r[s] for r in rows], dice)[0]:.2f}", f"{risk_area(rows, s):.4f}"]
            for s in scores
        ]
        best = float(np.mean(np.cumsum(np.sort(1 - dice)) / np.arange(1, len(dice) + 1)))
        first += [
            ["the true Dice itself", "-1.00", f"{best:.4f}"],
            ["none (mean risk)", "", f"{1 - dice.mean():.4f}"],
        ]
        second = []
        for count in CALIBRATE_BY:
            if count + 10 > len(rows):
                continue
            middle = float(np.mean(np.abs(dice - np.median(dice))))
            for s in scores:
                found = figures(rows, s, count)
                aim = min(0.9, count / (count + 1))
                second.append(
                    [
                        str(count),
                        WORDS[s],
                        f"{found['mae']:.4f}",
                        f"{middle:.4f}",
                        f"{100 * found['held']:.0f} %",
                        f"{100 * aim:.0f} %",
                        f"{found['width']:.3f}",
                    ]
                )
        own = one.get("own")
        text = [
            f"**{name}**: {len(rows)} cases, Dice {100 * dice.mean():.1f} "
            f"(from {100 * dice.min():.1f} to {100 * dice.max():.1f})"
        ]
        text += [table(head, first)]
        text += [
            table(
                [
                    "scans to calibrate by",
                    "score",
                    "mean abs. error",
                    "of always saying the median",
                    "intervals that hold",
                    "aim",
                    "mean width",
                ],
                second,
            )
        ]
        if own:
            text.append(
                f"By the run's own calibration ({own['source']}): mean absolute error {own['mae']:.4f}, "
                f"{100 * own['held']:.0f} % of the intervals hold, mean width {own['width']:.3f}."
            )
        parts.append("\n\n".join(text))
    return "\n\n".join(parts)


def main(words: Sequence[str] | None = None) -> None:
    """Measure a run and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--name", default="run", help="of the run on the page")
    parser.add_argument("--most", type=int, default=100, help="cases at most")
    parser.add_argument("--mirrored", action="store_true", help="also the disagreement with mirrored views")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    file = options.results / "expected_dice.json"
    data: dict[str, Row] = json.loads(file.read_text())["runs"] if file.is_file() else {}
    if options.run is not None:
        rows = measured(
            options.dataset, options.run, most=options.most, mirrored=options.mirrored, device=options.device
        )
        own = Calibration.load(options.run / FILE)
        told = {"source": own.source, **_told(own, rows)} if own is not None and own.usable else None
        data[options.name] = {"rows": rows, "own": told}
    store(options.results, "expected_dice", TITLE, COMMAND, page(data), {"runs": data})


if __name__ == "__main__":
    main()
