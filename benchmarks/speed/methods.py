"""What a step of each method costs, beside a supervised one on as many images and beside the arithmetic.

    python benchmarks/speed/methods.py DATASET --labeled 8                 # the default recipe on own data
    python benchmarks/speed/methods.py --recipe la --device cuda --set train.compile=graphs
    python benchmarks/speed/methods.py DATASET --memory-only               # what a step takes, on a CPU

All methods are put together as for a run and take their own iterations in turn, in one process, so that
other load on the machine meets all of them. Reported are medians over rounds; a ratio is taken within each
round. The limit is the time that a step's floating-point operations take at the rate of matrix products in
the number format of our steps, measured in the same run; a step cannot be faster than 1x of it. Without
DATASET a few left atria serve, real ones where they are there. The results go to
benchmarks/results/NAME.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from benchmarks._machine import store, typed  # noqa: E402
from benchmarks.speed import clock, limits, scans  # noqa: E402
from benchmarks.speed.items.step import middle  # noqa: E402
from benchmarks.speed.run import REAL  # noqa: E402
from benchmarks.speed.setting import Setting  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from semiseg import methods  # noqa: E402
from semiseg.machine.fabric import launched, repeatable  # noqa: E402
from semiseg.machine.hardware import keep_freed_memory  # noqa: E402
from semiseg.preparation.plan import NetworkPlan  # noqa: E402
from semiseg.preparation.prepare import prepare  # noqa: E402
from semiseg.settings import environment  # noqa: E402
from semiseg.settings.resolve import resolve, with_network  # noqa: E402
from semiseg.training.loop import Loop  # noqa: E402
from semiseg.training.session import Session  # noqa: E402

Times = dict[str, dict[str, list[float]]]


def loops(args: argparse.Namespace, root: Path, names: Sequence[str]) -> dict[str, Loop]:
    """Method -> its loop, in the middle of its schedule."""
    found = {}
    for name in names:
        flags = {"method.name": name, "data.labeled": args.labeled, "train.iterations": args.iterations}
        config = resolve(recipe=args.recipe, flags=flags, settings=[*args.set, "select=last"])
        config = with_network(config, NetworkPlan().name)
        cache = environment.read().cache
        prepared = prepare(root, config, cache=cache, device=args.fabric.device.type, workers=args.workers)
        found[name] = middle(Session(args.fabric, prepared, config))
    return found


def operations(loop: Loop) -> float:
    """Floating-point operations of one iteration, counted while it runs."""
    with FlopCounterMode(display=False) as counter:
        loop.iterate_once()
    return float(counter.get_total_flops())


def two_steps(args: argparse.Namespace, root: Path, name: str) -> None:
    """A method put together, and two iterations of it."""
    (loop,) = loops(args, root, [name]).values()
    for _ in range(2):
        loop.iterate_once()


def memory(args: argparse.Namespace, root: Path) -> dict[str, float]:
    """MB that two iterations of each method take at most on a CPU, each in a process of its own."""
    # nothing is trained here before: what this process had freed, the others would take first
    return {name: limits.peak_alone(partial(two_steps, args, root, name)) for name in args.methods}


def memory_table(peaks: dict[str, float]) -> str:
    """A Markdown table, one line per method."""
    lines = [
        "What two iterations of each method take at most, in a process of its own, beyond the imports; the "
        "prepared cases are part of it.",
        "",
        "| method | MB | beside supervised |",
        "|---|---:|---:|",
    ]
    base = peaks["supervised"]
    return "\n".join(lines + [f"| {name} | {mb:.0f} | {mb / base:.2f} |" for name, mb in peaks.items()])


def measure(found: dict[str, Loop], rounds: int, warm: int, device: torch.device) -> Times:
    """Seconds of wall and CPU time of every method's step in every round."""
    return clock.alternate({name: loop.iterate_once for name, loop in found.items()}, rounds, warm, device)


def rows(
    times: Times, flops: dict[str, float], rate: float, peaks: dict[str, float], counted: str = "cpu"
) -> list[dict[str, Any]]:
    """A row for each method."""
    base, result = times["supervised"], []
    for name, found in times.items():
        ratios = {
            kind: statistics.median(a / b for a, b in zip(found[kind], base[kind], strict=True))
            for kind in ("wall", "cpu")
        }
        seconds = statistics.median(found["wall"])
        row = {"method": name, "seconds": seconds, "ratio": ratios, "flops": flops[name]}
        of_limit = statistics.median(found[counted]) * rate / flops[name]
        result.append({**row, "of_limit": of_limit, "peak_mb": peaks.get(name)})
    return result


def table(content: dict[str, Any]) -> str:
    """A Markdown table, one line per method."""
    name, rate = limits.ours(content["limits"])
    lines = [
        "Median step of each method on the same patches (supervised: all of them labeled), taken in turn in "
        "one process; the ratio is the median over rounds of the ratio to the supervised step of that round. "
        f"The limit is the step's operations at the rate of a {name} matrix product measured in this run, "
        f"{rate / 1e9:.0f} GFLOP per second (on a CPU: CPU second). Memory is what two "
        "iterations take at most: on a CPU of a process of their own, beyond the imports, cases included.",
        "",
        "| method | seconds | ratio, wall | ratio, CPU | GFLOP | times the limit | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        ratios = f"{row['ratio']['wall']:.2f} | {row['ratio']['cpu']:.2f}"
        limit = f"{row['flops'] / 1e9:.1f} | {row['of_limit']:.2f}"
        memory = "-" if row.get("peak_mb") is None else f"{row['peak_mb']:.0f}"
        lines.append(f"| {row['method']} | {row['seconds']:.4g} | {ratios} | {limit} | {memory} |")
    return "\n".join(lines)


def run(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Everything, and what is written."""
    with launched(args.device) as args.fabric, repeatable("train.deterministic=false" not in args.set):
        device = args.fabric.device
        if device.type == "cpu":
            keep_freed_memory()
        peaks = memory(args, root) if device.type == "cpu" else {}
        found = loops(args, root, args.methods)
        flops = {name: operations(loop) for name, loop in found.items()}
        times = measure(found, args.rounds, args.warm, device)
        peaks = peaks or {name: limits.peak_of(loop.iterate_once, device) for name, loop in found.items()}
        measured = limits.measured(device)
    return {
        "limits": measured,
        "rows": rows(
            times,
            flops,
            limits.ours(measured)[1],
            {name: peak for name, peak in peaks.items() if peak is not None},
            limits.counted(device),
        ),
        "seconds": times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("--name", help="of the result files (default: steps_DATASET)")
    parser.add_argument("--methods", nargs="+", default=methods.names())
    parser.add_argument("--labeled", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=6000, help="length of the schedules")
    parser.add_argument("--recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    shown = args.dataset.name if args.dataset else "LeftAtrium"
    args.name = args.name or f"steps_{shown.rpartition('_')[2].lower()}"
    args.title = f"Cost of a step: {shown}"
    extra = "".join(f" --set {setting}" for setting in args.set)
    extra += f" --recipe {args.recipe}" if args.recipe else ""
    extra += f" --device {args.device}" if args.device != "cpu" else ""
    args.command = (
        f"python benchmarks/speed/methods.py{f' {shown}' if args.dataset else ''} --labeled {args.labeled} "
        f"--rounds {args.rounds}{extra}"
    )
    args.methods = ["supervised", *(name for name in args.methods if name != "supervised")]
    with tempfile.TemporaryDirectory() as work:
        data = REAL if REAL.is_dir() else None
        setting = Setting(torch.device(args.device), False, data, Path(work))
        root = args.dataset or scans.folder(setting, scans.LEFT_ATRIUM)
        if args.memory_only:
            with launched("cpu") as args.fabric, repeatable(True):
                peaks = memory(args, root)
            name, title = args.name.replace("steps", "memory"), args.title.replace("Cost", "Memory")
            store(args.results, name, title, typed(), memory_table(peaks), {"mb": peaks})
            return
        content = run(args, root)
    store(args.results, args.name, args.title, args.command, table(content), content)


if __name__ == "__main__":
    main()
