"""What unlabeled scans are worth on the demo's phantoms: `python benchmarks/demo.py OUT --seeds 100 101 ...`

Settings of `semiseg demo` are chosen on seeds from 100 on (`--name demo_chosen`); the seeds 0 to 4 are run
once with what was chosen (`--name demo`). Runs that are finished in OUT are not run again. The tables go to
benchmarks/results/NAME.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from _machine import store

import semiseg
from semiseg.demo.phantoms import make_phantom_dataset

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "demo_chosen": "Settings of the demo, chosen on these seeds",
    "demo": "The demo's phantoms, on seeds that nothing was chosen on",
}
HEAD = ("setting", "method", "seeds", "Dice", "difference from supervised, per seed", "above", "s")


def scored(dataset: Path, run: Path, method: str, iterations: int, seed: int) -> dict[str, float]:
    """Mean Dice over the test phantoms and seconds of training."""
    begin = time.perf_counter()
    semiseg.train(
        dataset, method=method, iterations=iterations, seed=seed, run=run, device="cpu", resume=True
    )
    seconds = time.perf_counter() - begin
    semiseg.predict(dataset / "imagesTs", run / "test", run, device="cpu", overwrite=True)
    found = semiseg.evaluate(dataset / "labelsTs", run / "test", dataset=dataset)
    return {"dice": found.mean("Dice"), "seconds": seconds}


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row per setting and method: mean Dice, and its differences from supervised training."""
    lines = []
    for setting, arms in found.items():
        base = arms["supervised"]
        for method, seeds in arms.items():
            shared = sorted(set(seeds) & set(base), key=int)
            more = [seeds[seed]["dice"] - base[seed]["dice"] for seed in shared]
            lines.append(
                [
                    setting,
                    method,
                    ", ".join(shared),
                    f"{mean(seeds[seed]['dice'] for seed in shared):.3f}",
                    " ".join(f"{d:+.3f}" for d in more),
                    f"{sum(d > 0 for d in more)} of {len(more)}",
                    f"{mean(seeds[seed]['seconds'] for seed in shared):.0f}",
                ]
            )
    return lines


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows(found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not there yet and write the table of all that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", choices=TITLES, default="demo_chosen")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100])
    parser.add_argument("--methods", nargs="+", default=["mean_teacher"])
    parser.add_argument("--labeled", type=int, default=2)
    parser.add_argument("--unlabeled", type=int, default=48)
    parser.add_argument("--test", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=250)
    args = parser.parse_args(argv)
    path = RESULTS / f"{args.name}.json"
    content = {"found": json.loads(path.read_text())["found"] if path.is_file() else {}}
    setting = f"{args.labeled} labeled, {args.unlabeled} unlabeled, {args.iterations} iterations"
    for seed in args.seeds:
        for method in ["supervised", *args.methods]:
            arm = content["found"].setdefault(setting, {}).setdefault(method, {})
            if str(seed) in arm:
                continue
            place = args.out / f"{args.labeled}_{args.unlabeled}_{args.test}" / str(seed)
            dataset = place / "data"
            if not (dataset / "dataset.json").is_file():
                make_phantom_dataset(
                    dataset, labeled=args.labeled, unlabeled=args.unlabeled, test=args.test, seed=seed
                )
            run = place / f"{method}_{args.iterations}"
            arm[str(seed)] = scored(dataset, run, method, args.iterations, seed)
            command = (
                f"python benchmarks/demo.py OUT --name {args.name} --seeds {' '.join(map(str, args.seeds))}"
            )
            store(RESULTS, args.name, TITLES[args.name], command, table(content["found"]), content)


if __name__ == "__main__":
    main()
