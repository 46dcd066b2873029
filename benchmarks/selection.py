"""Scores along the training: `benchmarks/selection.py DATASET --work W --name NAME`

Without a validation list the test cases of DATASET become the validation list of a copy made of links, and
every method is scored on them all along its training. The best of these scores is what many papers report;
the last one is what this project reports. The runs are marked (their dataset is called "scored on test
cases") and serve nothing else: weights, settings and methods are never chosen by them.

With one (`benchmarks/development.py DATASET DEV --validation`) these are learning curves on development
cases.

Runs that are finished in W are not run again. The table goes to
benchmarks/results/{selection,curves}_NAME.{json,md}, of curves also a plot.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _machine import store, table, typed
from development import write as write_dataset
from matplotlib import rc_context
from matplotlib.figure import Figure

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.drawing.palette import COLOR_BLIND_SAFE
from semiseg.runs.log import VALIDATION_PREFIX, read_metrics

RESULTS = Path(__file__).parent / "results"
DICE = f"{VALIDATION_PREFIX}dice"
Curve = dict[str, tuple[float, float]]
"""Iteration -> mean Dice of the foreground, and minutes of training until there."""


def watched(dataset: Dataset, out: Path) -> Path:
    """A copy of the dataset whose validation list is the test list."""
    if not (out / "splits.json").is_file():
        training = dataset.annotated
        order = (dataset.splits.order if dataset.splits else None) or tuple(case.id for case in training)
        write_dataset(dataset, out, training, dataset.test, order, "scored on test cases", validation=True)
    return out


def curve(run: Path) -> Curve:
    """The score at each validation of a run; the time of validations does not count."""
    found: Curve = {}
    minutes, before = 0.0, 0.0
    for row in read_metrics(run):
        step = float(row["step"])
        if speed := row.get("iterations_per_second"):
            minutes += (step - before) / float(speed) / 60
            before = step
        if DICE in row:
            found[str(int(step))] = (round(float(row[DICE]), 5), round(minutes, 2))
    return found


def selection(found: Mapping[str, Mapping[str, Curve]]) -> str:
    """Last and best score of each run on the test cases, and all of them."""
    rows = []
    for method, seeds in found.items():
        for seed, scores in seeds.items():
            last, _ = list(scores.values())[-1]
            at = max(scores, key=scores.__getitem__)
            best, _ = scores[at]
            rows.append([method, seed, f"{last:.4f}", f"{best:.4f}", at, f"{best - last:+.4f}"])
    head = ("method", "seed", "last weights", "best on test", "at iteration", "gained by choosing")
    return "\n\n".join(
        [
            "Mean Dice of the foreground on the test cases. Nothing but this table is made of these runs.",
            table(head, rows),
            "The same scores along the training:",
            curves(found),
        ]
    )


def curves(found: Mapping[str, Mapping[str, Curve]]) -> str:
    """A line of scores and one of minutes for each run."""
    rows = []
    for method, seeds in found.items():
        for seed, scores in seeds.items():
            rows.append([f"{method}, seed {seed}", *(f"{dice:.3f}" for dice, _ in scores.values())])
            rows.append(["minutes", *(f"{minutes:.1f}" for _, minutes in scores.values())])
    steps = list(next(iter(next(iter(found.values())).values())))
    return table(("iteration", *steps), rows)


def plot(found: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Dice against minutes of training, a line per run."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    for color, (method, seeds) in zip(COLOR_BLIND_SAFE, found.items(), strict=False):
        for number, scores in enumerate(seeds.values()):
            dice, minutes = zip(*scores.values(), strict=True)
            axis.plot(minutes, dice, marker="o", markersize=3, color=color, label="" if number else method)
    axis.set(xlabel="minutes of training", ylabel="mean Dice, development cases")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    with rc_context({"svg.hashsalt": "semiseg", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not there yet, one after the other, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder of runs")
    parser.add_argument("--name", required=True, help="of the table, such as hippocampus")
    parser.add_argument("--methods", nargs="+", default=["supervised", "mean_teacher", "fixmatch"])
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labeled", type=int)
    labels.add_argument("--labeled-patients", type=int)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100, help="iterations between two scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args(argv)
    dataset = Dataset.open(args.dataset)
    development = any(fold.val for fold in dataset.splits.folds) if dataset.splits else False
    folder = args.dataset if development else watched(dataset, args.work / "data")
    found: dict[str, dict[str, Curve]] = {}
    for seed in args.seeds:
        for method in args.methods:
            run = args.work / f"{method}_{seed}"
            semiseg.train(
                folder,
                method=method,
                labeled=args.labeled,
                labeled_patients=args.labeled_patients,
                iterations=args.iterations,
                seed=seed,
                run=run,
                resume=True,
                settings=["select=last", f"validation.every={args.every}", "train.compile=false"],
            )
            found.setdefault(method, {})[str(seed)] = curve(run)
            write(args, found, development=development)


def write(args: argparse.Namespace, found: Mapping[str, Mapping[str, Curve]], *, development: bool) -> None:
    """The results of what has been run."""
    about: dict[str, Any] = {
        "labeled": args.labeled,
        "labeled_patients": args.labeled_patients,
        "iterations": args.iterations,
        "every": args.every,
        "found": found,
    }
    if development:
        title = f"Learning curves on development cases: {args.dataset.name}"
        picture = f"![Dice of development cases against minutes of training](curves_{args.name}.svg)"
        text = f"Mean Dice of the foreground, and minutes of training.\n\n{picture}\n\n{curves(found)}"
        plot(found, RESULTS / f"curves_{args.name}.svg")
        store(RESULTS, f"curves_{args.name}", title, typed(), text, about)
    else:
        title = f"Best checkpoint on the test cases beside the last weights: {args.dataset.name}"
        store(RESULTS, f"selection_{args.name}", title, typed(), selection(found), about)


if __name__ == "__main__":
    main()
