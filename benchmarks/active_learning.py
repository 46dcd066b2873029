"""Dice against number of labels for each strategy of `semiseg next`: does the ranking save labels?

    python benchmarks/active_learning.py DATASET --work FOLDER                 # all cells that are missing
    python benchmarks/active_learning.py DATASET --work FOLDER --minutes 50    # starts none after 50 minutes
    python benchmarks/active_learning.py                                       # the page again
    python benchmarks/active_learning.py Dataset103_ACDC90 --work FOLDER --name active_learning_acdc \
        --pool 70 --development 30 --first 400 --iterations 200 \
        --strategies random foreground_random clasp_pe entropy mixed

A pool of training cases plays the unlabeled scans; other training cases (the last of the order), which no
strategy can choose, are what Dice is measured on, because the default strategy is chosen here: test cases
stay closed. For each seed the first labels are drawn at random and are the same for all strategies; each
round adds so many labels and trains on from the weights of the round before, for the same number of
iterations. A cell that is done is kept in FOLDER and not done again, so a killed run goes on where it was.
Scans of one patient are all in the pool or all held out; within the pool each scan is chosen for itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store, table, typed  # noqa: E402

import semiseg  # noqa: E402
from semiseg.dataset.case import LabeledCase, load_case, load_label, plain  # noqa: E402
from semiseg.dataset.dataset import Dataset  # noqa: E402
from semiseg.dataset.split_file import Fold, SplitFile  # noqa: E402
from semiseg.evaluation.case import evaluate  # noqa: E402
from semiseg.prediction.model import Model  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
NAME = "active_learning"
STRATEGIES = ("random", "foreground_random", "clasp_pe", "entropy", "coreset", "mixed")
START = "start"
"""Stands for the first round, which all strategies share."""

Cell = dict[str, Any]


class Study:
    """One dataset, its pool and its held-out cases."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        opened = Dataset.open(options.dataset)
        annotated = list(opened.annotated)
        self.pool = annotated[: options.pool]
        self.held_out = annotated[-options.development :]
        if len(annotated) < options.pool + options.development:
            raise SystemExit(f"{len(annotated)} labeled cases are too few: lower --pool or --development")
        rule = opened.splits.patients if opened.splits else None
        if rule is not None:
            pool, held_out = ({rule.patient(c.id) for c in cases} for cases in (self.pool, self.held_out))
            if pool & held_out:
                raise SystemExit("scans of one patient on both sides: change --pool or --development")
        self.dataset = opened
        self.work = Path(options.work)

    def run(self) -> list[Cell]:
        """Do the cells that are missing, as long as there is time; all that are there."""
        until = time.monotonic() + 60 * self.options.minutes
        found = []
        for seed in self.options.seeds:
            for cell in self._cells(seed):
                file = self._file(cell)
                if not file.is_file():
                    if time.monotonic() > until:
                        continue
                    self._do(cell, file)
                found.append(json.loads(file.read_text()))
        return found

    def _cells(self, seed: int) -> Iterator[Cell]:
        first, *others = self.options.rounds
        yield {"seed": seed, "strategy": START, "labels": first}
        for labels in others:
            for strategy in self.options.strategies:
                yield {"seed": seed, "strategy": strategy, "labels": labels}

    def _file(self, cell: Cell) -> Path:
        return self._folder(cell) / "cell.json"

    def _folder(self, cell: Cell) -> Path:
        return self.work / f"seed-{cell['seed']}" / cell["strategy"] / f"labels-{cell['labels']}"

    def _before(self, cell: Cell) -> Cell | None:
        """The cell whose weights and labels this one goes on from."""
        place = self.options.rounds.index(cell["labels"])
        if place == 0:
            return None
        strategy = START if place == 1 else cell["strategy"]
        return {**cell, "strategy": strategy, "labels": self.options.rounds[place - 1]}

    def _do(self, cell: Cell, file: Path) -> None:
        before, folder = self._before(cell), self._folder(cell)
        chosen, reasons = self._choose(cell, before)
        began = time.monotonic()
        options = self.options
        run = semiseg.train(
            self._lists(chosen),
            method="supervised",
            iterations=options.first if before is None else options.iterations,
            seed=cell["seed"],
            run=folder / "run",
            plan=self._run_of(before) / "plan.json" if before else None,
            start_from=self._run_of(before) if before else None,
            device=options.device,
            settings=options.set,
            workers=0,
            resume=True,
        )
        seconds = time.monotonic() - began
        dice = self._dice(Model.load(run.folder, options.device))
        content = {**cell, "chosen": chosen, "reasons": reasons, "seconds": round(seconds, 1), **dice}
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(file)
        print(f"seed {cell['seed']} {cell['strategy']} {cell['labels']}: Dice {dice['dice']:.4f}", flush=True)

    def _run_of(self, cell: Cell | None) -> Path:
        if cell is None:
            raise ValueError("the first round has no run before it")
        return self._folder(cell) / "run"

    def _choose(self, cell: Cell, before: Cell | None) -> tuple[list[str], list[str]]:
        """The labels of a round: those of the round before, and what the strategy adds."""
        if before is None:
            rng = np.random.default_rng(cell["seed"])
            names = sorted(case.id for case in self.pool)
            return [str(name) for name in rng.permutation(names)[: cell["labels"]]], []
        known = json.loads(self._file(before).read_text())["chosen"]
        folded = self._lists(known)
        pool = [plain(case) for case in self.pool if case.id not in set(known)]
        asked = replace(folded, annotated=self._labeled(known), unannotated=tuple(pool))
        ranking = semiseg.next_cases(
            asked,
            self._run_of(before),
            strategy=cell["strategy"],
            n=cell["labels"] - len(known),
            seed=cell["seed"],
            device=self.options.device,
        )
        return [*known, *(one.id for one in ranking.cases)], [one.reason for one in ranking.cases]

    def _labeled(self, names: Sequence[str]) -> tuple[LabeledCase, ...]:
        by_id = {case.id: case for case in self.pool}
        return tuple(by_id[name] for name in names)

    def _lists(self, chosen: Sequence[str]) -> Dataset:
        """The dataset with these labels; the rest of the pool is unlabeled, all others are in no list."""
        rest = tuple(case.id for case in self.pool if case.id not in set(chosen))
        lists = SplitFile("active learning", (Fold(tuple(chosen), rest, ()),), ())
        return replace(self.dataset, splits=lists, split_faults=())

    def _dice(self, model: Model) -> dict[str, Any]:
        """Mean Dice over classes and held-out cases."""
        per_case = []
        for case in self.held_out:
            image, grid, _ = load_case(case, len(model.plan.channels))
            found = evaluate(
                model.segment(image, grid).labels,
                load_label(case, grid),
                grid.spacing,
                model.structures,
                distances=False,
            )
            per_case.append(float(np.mean([metrics["Dice"] for metrics in found.values()])))
        return {"dice": float(np.mean(per_case)), "cases": per_case}


def page(rows: list[Cell], about: dict[str, Any]) -> str:
    """Dice per strategy and number of labels, and the difference to both baselines."""
    counts = sorted({row["labels"] for row in rows})
    names = [
        name
        for name in (*STRATEGIES, "disagreement", "typiclust")
        if any(r["strategy"] == name for r in rows)
    ]
    head = [
        "strategy",
        *(f"{n} labels" for n in counts),
        "mean of the rounds",
        "against random",
        "against foreground_random",
    ]
    body = []
    for name in names:
        line = [name]
        for n in counts:
            found = [r["dice"] for r in rows if r["labels"] == n and r["strategy"] in (name, START)]
            line.append(_mean(found))
        body.append(
            [
                *line,
                _mean(list(_curves(rows, name).values())),
                _paired(rows, name, "random"),
                _paired(rows, name, "foreground_random"),
            ]
        )
    text = [
        f"{about['pool']} scans to choose from, {about['development']} held-out training scans to measure "
        f"on, {len({r['seed'] for r in rows})} seeds; supervised training, {about['first']} iterations on "
        f"the first labels, then {about['iterations']} more each round from the weights before it.",
        table(head, body),
        "Dice in percent, mean and standard deviation over seeds. A difference is paired by seed: the mean "
        "over rounds after the first, in points, with the number of seeds in which it is above zero. With so "
        "few seeds only large differences mean anything.",
    ]
    return "\n\n".join(text)


def _curves(rows: list[Cell], name: str) -> dict[int, float]:
    """Seed -> mean Dice over the rounds after the first, where all of them are done."""
    later = sorted({row["labels"] for row in rows if row["strategy"] != START})
    curves = {}
    for seed in {row["seed"] for row in rows}:
        found = [r["dice"] for r in rows if r["seed"] == seed and r["strategy"] == name]
        if len(found) == len(later) and found:
            curves[seed] = float(np.mean(found))
    return curves


def _paired(rows: list[Cell], name: str, other: str) -> str:
    mine, theirs = _curves(rows, name), _curves(rows, other)
    gaps = [100 * (mine[seed] - theirs[seed]) for seed in mine if seed in theirs]
    if not gaps or name == other:
        return ""
    return f"{np.mean(gaps):+.2f} ({sum(gap > 0 for gap in gaps)} of {len(gaps)})"


def _mean(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("--work", type=Path, help="where runs and finished cells are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--rounds", type=int, nargs="+", default=[4, 8, 12, 16])
    parser.add_argument("--first", type=int, default=300, help="iterations of the first round")
    parser.add_argument("--iterations", type=int, default=150, help="of each later round")
    parser.add_argument("--pool", type=int, default=80)
    parser.add_argument("--development", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the trainings")
    parser.add_argument("--name", default=NAME, help="of the result")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    if (options.dataset is None) != (options.work is None):
        parser.error("give DATASET and --work, or neither to write the page again")
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, and write the page."""
    options = arguments(words)
    if options.dataset is None:
        known = json.loads((options.results / f"{options.name}.json").read_text())
        rows, about, command = known["rows"], known["about"], known["command"]
    else:
        rows, command = Study(options).run(), typed()
        about = {key: getattr(options, key) for key in ("pool", "development", "first", "iterations")}
        about["dataset"] = Path(options.dataset).name
    if rows:
        store(
            options.results,
            options.name,
            f"What to label next: {about['dataset'].partition('_')[2] or about['dataset']}",
            command,
            page(rows, about),
            {"about": about, "rows": rows},
        )


if __name__ == "__main__":
    main()
