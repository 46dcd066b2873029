"""Field of view against resolution: equal training time for a plan and its neighbors, scored on training cases.

    python benchmarks/plans.py train DATASET OUT --name half --plan 1.25,1.25,1.25@56,56,48 --labeled 8 --cases 10
    python benchmarks/plans.py table OUT...

Nothing is looked at but the training part of DATASET: its last cases in the published order are held out and
scored, the first are labeled (see development.py). Every plan is trained for the same CPU seconds: the steps that
fit are reckoned from the cost of 20 steps, so that other work on the machine favors no plan, and each learning
rate comes to its end. Windows of prediction have the size of the patch, which every plan trains with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402
from benchmarks.development import development  # noqa: E402

from semiseg import api  # noqa: E402
from semiseg.engine.events import Event, Stepped  # noqa: E402

WARM, COUNTED = 10, 30
"""Steps after which the clock starts, and stops."""


def settings_of(plan: str) -> dict[str, Any]:
    """``SPACING@PATCH`` as settings; the spacing of a slice stack has two numbers."""
    spacing, _, patch = plan.partition("@")
    edges = [int(n) for n in patch.split(",")]
    mm: list[float | None] = [float(n) for n in spacing.split(",")]
    return {
        "plan.spacing": [None] * (3 - len(mm)) + mm,
        "plan.patch": edges,
        "inference.stride": [max(1, n // 2) for n in edges],
        "train.compile": False,
        "train.log_every": WARM,
    }


def step_seconds(data: Path, out: Path, given: dict[str, Any]) -> float:
    """CPU seconds of one training step."""
    clock: dict[int, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            clock[event.step] = time.process_time()

    api.train(data, iterations=COUNTED, run=out, listeners=[listen], **given)
    shutil.rmtree(out)
    return (clock[COUNTED] - clock[WARM]) / (COUNTED - WARM)


def trained(dataset: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train one plan and score it on the held-out cases."""
    data = out / "data" / dataset.name
    development(dataset, data, args.cases)
    keep_labeled(data, args.labeled)
    given: dict[str, Any] = {
        "method": "supervised",
        "labeled": args.labeled,
        "seed": args.seed,
        "settings": settings_of(args.plan),
        "device": "cpu",
        "workers": 0,
    }
    cost = step_seconds(data, out / "clock", given)
    steps = max(COUNTED, int(args.seconds / cost))
    run = api.train(data, iterations=steps, run=out / "run", **given)
    api.predict(data / "imagesTs", out / "predicted", run.folder, device="cpu")
    scores = api.evaluate(data / "labelsTs", out / "predicted", dataset=data)
    scores.save(out / "scores")
    summary = json.loads((out / "scores" / "summary.json").read_text(encoding="utf-8"))
    plan = run.plan
    return {
        "dataset": dataset.name,
        "name": args.name,
        "spacing": plan.spacing,
        "patch": plan.patch,
        "batch": plan.batch,
        "labeled": args.labeled,
        "cases": args.cases,
        "seed": args.seed,
        "seconds": args.seconds,
        "step_seconds": cost,
        "iterations": steps,
        "mean": summary["foreground_mean"],
    }


def keep_labeled(data: Path, labeled: int) -> None:
    """Leave out what supervised training does not read, so that it is not prepared either."""
    order = json.loads((data / "splits.json").read_text(encoding="utf-8"))["order"]
    for case in order[labeled:]:
        for file in [*data.glob(f"imagesTr/{case}_*"), *data.glob(f"labelsTr/{case}.*")]:
            file.unlink()
    (data / "splits.json").write_text(json.dumps({"order": order[:labeled]}) + "\n", encoding="utf-8")


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """The table."""
    yield "| data | plan | spacing mm | patch | seed | s/step | steps | Dice | HD95 mm |"
    yield "|---|---|---|---|---:|---:|---:|---:|---:|"
    for row in found:
        spacing = " x ".join(f"{mm:g}" for mm in row["spacing"] if mm is not None)
        patch = " x ".join(map(str, row["patch"]))
        cells = [row["dataset"], row["name"], spacing, patch, str(row["seed"])]
        cells += [f"{row['step_seconds']:.2f}", str(row["iterations"])]
        cells += [f"{row['mean']['Dice']:.3f}", f"{row['mean']['HD95']:.2f}"]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train")
    one.add_argument("dataset", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--name", required=True)
    one.add_argument("--plan", required=True, help="SPACING@PATCH, such as 1.25,1.25,1.25@56,56,48")
    one.add_argument("--labeled", type=int, default=8)
    one.add_argument("--cases", type=int, default=10)
    one.add_argument("--seconds", type=float, default=200.0, help="CPU seconds of training")
    one.add_argument("--seed", type=int, default=0)
    many = commands.add_parser("table")
    many.add_argument("folders", type=Path, nargs="+")
    many.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if args.command == "train":
        found = trained(args.dataset, args.out, args)
        (args.out / "plan_scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    rows = [json.loads((folder / "plan_scores.json").read_text(encoding="utf-8")) for folder in args.folders]
    command = (
        "OMP_NUM_THREADS=1 python benchmarks/plans.py train DATASET OUT --name NAME --plan SPACING@PATCH"
    )
    store(
        args.results, "plans", "Plans beside their neighbors", command, "\n".join(lines(rows)), {"rows": rows}
    )


if __name__ == "__main__":
    main()
