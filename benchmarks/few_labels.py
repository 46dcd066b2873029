"""Few labels on a real dataset: each method and seed trained alike, and what it reaches on the test cases.

    python benchmarks/few_labels.py DATASET --labeled 8 --methods supervised mean_teacher --seeds 0 1 2

Every run is `semiseg train`, `semiseg predict` and `semiseg evaluate` with their defaults (plus --set). Runs
that are there already are not repeated, so an interrupted benchmark goes on. The results go to
benchmarks/results/NAME.{json,md}, beside those of earlier commands of the same name: each run keeps the
command and the commit that it was made with.
"""

from __future__ import annotations

import argparse
import json
import operator
import statistics
from pathlib import Path
from typing import Any

from _machine import machine

import semiseg
from semiseg.report.console import Console

RESULTS = Path(__file__).parent / "results"
METRICS = ("Dice", "HD95", "ASD")


def one_run(args: argparse.Namespace, method: str, seed: int, labeled: int | None) -> dict[str, Any]:
    """Train, predict the test cases, score them."""
    budget = {} if labeled is None else {args.unit: labeled}
    run = semiseg.train(
        args.dataset,
        method=method,
        recipe=args.recipe,
        seed=seed,
        iterations=args.iterations,
        settings=args.set,
        runs=args.runs,
        resume=True,
        listeners=[Console(progress=False)],
        **budget,
    )
    predictions = run.folder / "test"
    root = Path(args.dataset)
    semiseg.predict(root / "imagesTs", predictions, run.folder)
    evaluation = semiseg.evaluate(root / "labelsTs", predictions, dataset=root, convention=args.convention)
    evaluation.save(predictions)
    manifest = run.manifest
    return {
        "method": method,
        "labeled": manifest["labeled"],
        "seed": seed,
        "iterations": manifest["sessions"][-1]["step"],
        "minutes": round(sum(s["seconds"] for s in manifest["sessions"]) / 60, 2),
        "cases": len(evaluation.cases),
        **{metric: evaluation.mean(metric) for metric in METRICS},
        "classes": {metric: evaluation.class_means(metric) for metric in METRICS},
        "command": args.command,
        "commit": (manifest["git"] or {}).get("commit"),
    }


def with_earlier(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The runs of earlier commands in that file, and these, in place of the same runs; supervised first."""
    earlier = json.loads(path.read_text())["runs"] if path.is_file() else []
    key = operator.itemgetter("method", "labeled", "seed", "iterations")
    found = {key(row): row for row in [*earlier, *rows]}
    order = list(dict.fromkeys(row["method"] for row in found.values()))
    order.sort(key=lambda method: (method != "supervised", method != "mean_teacher"))
    return sorted(found.values(), key=lambda row: (row["labeled"], order.index(row["method"]), row["seed"]))


def summarize(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """A Markdown table, one line per method and budget: mean and SD over seeds."""
    lines = [
        f"# {args.name}",
        "",
        f"{rows[0]['cases']} test cases. Mean over foreground classes, ± SD over seeds; distances under "
        f"the `{args.convention}` convention. {_commands(rows, args)}",
        "",
        "| method | labeled | seeds | Dice | over supervised | HD95 | ASD | minutes per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["labeled"], row["iterations"]), []).append(row)
    for (method, labeled, iterations), group in groups.items():
        cells = [_spread([row[metric] for row in group]) for metric in METRICS]
        cells.insert(1, _gain(group, groups.get(("supervised", labeled, iterations), [])))
        minutes = statistics.mean(row["minutes"] for row in group)
        lines.append(f"| {method} | {labeled} | {len(group)} | {' | '.join(cells)} | {minutes:.1f} |")
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    return "\n".join([*lines, "", f"Machine: {described}."]) + "\n"


def _gain(group: list[dict[str, Any]], supervised: list[dict[str, Any]]) -> str:
    """Mean difference in Dice on the seeds that both have."""
    base = {row["seed"]: row["Dice"] for row in supervised}
    pairs = [row["Dice"] - base[row["seed"]] for row in group if row["seed"] in base]
    return f"{statistics.mean(pairs):+.4f}" if pairs and group is not supervised else ""


def _commands(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    commands = list(dict.fromkeys(row.get("command", args.command) for row in rows))
    if len(commands) == 1:
        return f"Command: `{commands[0]}`."
    last = commands[-1]
    return f"{len(commands)} commands such as `{last}`; that of each run, and its commit, are in the JSON."


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--name", help="of the result files (default: the dataset's)")
    parser.add_argument("--methods", nargs="+", default=["supervised", "mean_teacher"])
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--unit", choices=["labeled", "labeled_patients"], default="labeled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--upper", type=int, nargs="*", default=[], help="seeds of runs on all labels")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--recipe")
    parser.add_argument("--convention", default="semiseg")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--runs", default="runs")
    args = parser.parse_args()
    args.name = args.name or Path(args.dataset).name
    seeds = " ".join(map(str, args.seeds))
    flags = f"--labeled {args.labeled} --methods {' '.join(args.methods)} --seeds {seeds}"
    extra = "".join(f" --set {setting}" for setting in args.set)
    extra += f" --upper {' '.join(map(str, args.upper))}" if args.upper else ""
    extra += f" --unit {args.unit}" if args.unit != "labeled" else ""
    extra += f" --iterations {args.iterations}" if args.iterations else ""
    extra += f" --recipe {args.recipe}" if args.recipe else ""
    extra += f" --convention {args.convention}" if args.convention != "semiseg" else ""
    args.command = f"python benchmarks/few_labels.py {Path(args.dataset).name} {flags}{extra}"
    todo = [(method, seed, args.labeled) for seed in args.seeds for method in args.methods]
    todo += [("supervised", seed, None) for seed in args.upper]
    rows: list[dict[str, Any]] = []
    for method, seed, labeled in todo:
        rows.append(one_run(args, method, seed, labeled))
        write(rows, args)


def write(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """The results of these runs, beside those of earlier commands."""
    path = RESULTS / f"{args.name}.json"
    rows = with_earlier(rows, path)
    content = {"command": args.command, "machine": machine(), "convention": args.convention, "runs": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(summarize(rows, args))


if __name__ == "__main__":
    main()
