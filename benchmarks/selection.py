"""Best checkpoint on the test cases beside the last weights: `benchmarks/selection.py DATASET --work W`

The test cases of DATASET become the validation list of a copy made of links, and every method is scored on
them all along its training. The best of these scores is what many papers report; the last one is what this
project reports. The runs are marked (their dataset is called "scored on test cases") and serve nothing else:
weights, settings and methods are never chosen by them. Runs that are finished in W are not run again. The
table, which also holds the learning curves, goes to benchmarks/results/selection_NAME.{json,md}.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _machine import store, table, typed
from development import write as write_dataset

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.runs.log import VALIDATION_PREFIX, read_metrics

RESULTS = Path(__file__).parent / "results"
DICE = f"{VALIDATION_PREFIX}dice"
Curve = dict[str, float]
"""Iteration -> mean Dice of the test cases."""


def watched(folder: Path, out: Path) -> Path:
    """A copy of the dataset whose validation list is the test list."""
    if not (out / "splits.json").is_file():
        dataset = Dataset.open(folder)
        training = dataset.annotated
        order = (dataset.splits.order if dataset.splits else None) or tuple(case.id for case in training)
        write_dataset(dataset, out, training, dataset.test, order, "scored on test cases", validation=True)
    return out


def curve(run: Path) -> Curve:
    """Mean Dice of the test cases at each validation of a run."""
    return {
        str(int(float(row["step"]))): round(float(row[DICE]), 5) for row in read_metrics(run) if DICE in row
    }


def page(found: Mapping[str, Mapping[str, Curve]]) -> str:
    """Two tables: last and best score of each run, and the curves."""
    rows, curves = [], []
    for method, seeds in found.items():
        for seed, scores in seeds.items():
            last = list(scores.values())[-1]
            best = max(scores, key=scores.__getitem__)
            rows.append(
                [method, seed, f"{last:.4f}", f"{scores[best]:.4f}", best, f"{scores[best] - last:+.4f}"]
            )
            curves.append([f"{method}, seed {seed}", *(f"{value:.3f}" for value in scores.values())])
    steps = list(next(iter(next(iter(found.values())).values())))
    head = ("method", "seed", "last weights", "best on test", "at iteration", "gained by choosing")
    return "\n\n".join(
        [
            "Mean Dice of the foreground on the test cases. Nothing but this table is made of these runs.",
            table(head, rows),
            "The same scores along the training:",
            table(("iteration", *steps), curves),
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not there yet, one after the other, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder of runs")
    parser.add_argument("--name", required=True, help="of the table, such as hippocampus")
    parser.add_argument("--methods", nargs="+", default=["supervised", "mean_teacher", "fixmatch"])
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100, help="iterations between two scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args(argv)
    dataset = watched(args.dataset, args.work / "data")
    found: dict[str, dict[str, Curve]] = {}
    for seed in args.seeds:
        for method in args.methods:
            run = args.work / f"{method}_{seed}"
            semiseg.train(
                dataset,
                method=method,
                labeled=args.labeled,
                iterations=args.iterations,
                seed=seed,
                run=run,
                resume=True,
                settings=["select=last", f"validation.every={args.every}", "train.compile=false"],
            )
            found.setdefault(method, {})[str(seed)] = curve(run)
            write(args, found)


def write(args: argparse.Namespace, found: Mapping[str, Mapping[str, Curve]]) -> None:
    """The results of what has been run."""
    about: dict[str, Any] = {
        "labeled": args.labeled,
        "iterations": args.iterations,
        "every": args.every,
        "found": found,
    }
    title = f"Best checkpoint on the test cases beside the last weights: {args.dataset.name}"
    store(RESULTS, f"selection_{args.name}", title, typed(), page(found), about)


if __name__ == "__main__":
    main()
