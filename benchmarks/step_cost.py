"""What a step of each method costs beside a supervised one on as many images: `semiseg train`'s own steps.

    python benchmarks/step_cost.py DATASET --labeled 8

All methods are put together as for a run and take their steps in turn, in one process, so that other load on
the machine meets all of them. Reported are medians over rounds; a ratio is taken within each round. The first
rounds are not counted. The results go to benchmarks/results/NAME.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from _machine import machine

from semiseg import methods, settings
from semiseg.allocator import keep_freed_memory
from semiseg.data.dataset import Dataset
from semiseg.engine.loop import Loop
from semiseg.experiment import resolved
from semiseg.launch import launched
from semiseg.prepare import prepare
from semiseg.resolve import resolve
from semiseg.session import Session

RESULTS = Path(__file__).parent / "results"


def loops(args: argparse.Namespace) -> dict[str, Loop]:
    """Method -> its loop, in the middle of its schedule."""
    found = {}
    dataset = Dataset.open(args.dataset)
    for name in args.methods:
        flags = {"method.name": name, "data.labeled": args.labeled, "train.iterations": args.iterations}
        config = resolved(
            resolve(recipe=args.recipe, flags=flags, settings=args.set), args.fabric.device.type
        )
        prepared = prepare(dataset, config, settings.read().cache, device=args.fabric.device.type, workers=2)
        loop = found[name] = Session(args.fabric, prepared, config).loop()
        loop.step = loop.total // 2  # past every hold-off, with every term at work
        loop.method.on_stage_start(loop.clock(loop.step)[0].name)
        loop.build_optimizers()
    return found


def measure(found: dict[str, Loop], rounds: int, warm: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of wall and CPU time of every method's step in every round."""
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in found}
    for k in range(warm + rounds):
        for name, loop in found.items():
            wall, cpu = time.perf_counter(), time.process_time()
            loop.iterate_once()
            if k >= warm:
                times[name]["wall"].append(time.perf_counter() - wall)
                times[name]["cpu"].append(time.process_time() - cpu)
    return times


def table(times: dict[str, dict[str, list[float]]], args: argparse.Namespace) -> str:
    """A Markdown table, one line per method."""
    base = times["supervised"]
    lines = [
        f"# {args.title}",
        "",
        "Median step of each method on the same patches (supervised: all of them labeled), taken in turn in "
        "one process; the ratio is the median over rounds of the ratio to the supervised step of that round. "
        f"Command: `{args.command}`.",
        "",
        "| method | seconds | ratio, wall | ratio, CPU |",
        "|---|---|---|---|",
    ]
    for name, found in times.items():
        wall, cpu = (
            statistics.median(a / b for a, b in zip(found[kind], base[kind], strict=True))
            for kind in ("wall", "cpu")
        )
        lines.append(f"| {name} | {statistics.median(found['wall']):.3f} | {wall:.2f} | {cpu:.2f} |")
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    return "\n".join([*lines, "", f"Machine: {described}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--name", help="of the result files (default: steps_DATASET)")
    parser.add_argument("--methods", nargs="+", default=methods.names())
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=1000, help="length of the schedules")
    parser.add_argument("--recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm", type=int, default=4)
    args = parser.parse_args()
    root = Path(args.dataset)
    args.name = args.name or f"steps_{root.name}"
    args.title = f"Cost of a step: {root.name}"
    args.command = (
        f"python benchmarks/step_cost.py {root.name} --labeled {args.labeled} --rounds {args.rounds}"
    )
    args.command += "".join(f" --set {setting}" for setting in args.set)
    args.methods = ["supervised", *(name for name in args.methods if name != "supervised")]
    with launched() as args.fabric:
        if args.fabric.device.type == "cpu":
            keep_freed_memory()
        times = measure(loops(args), args.rounds, args.warm)
    content: dict[str, Any] = {"command": args.command, "machine": machine(), "seconds": times}
    (RESULTS / f"{args.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / f"{args.name}.md").write_text(table(times, args))


if __name__ == "__main__":
    main()
