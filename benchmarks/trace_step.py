"""Where the time of a training step goes: `semiseg train`'s own steps under torch's profiler.

    python benchmarks/trace_step.py DATASET --labeled 8
    python benchmarks/trace_step.py Dataset101_LeftAtrium --recipe la --method ua_mt --trace step.json

Prints the share of each kind of operation and the fraction of the rate of this machine's matrix products, in
the number format of the run, that the whole step reaches. ``--trace`` writes a Chrome trace (for
https://ui.perfetto.dev or chrome://tracing), where gaps between the kernels of a GPU are waits. The profiler
takes a few percent; the seconds reported are those of steps without it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._machine import machine
from benchmarks.speed import limits

from semiseg.machine.fabric import launched, repeatable
from semiseg.machine.hardware import keep_freed_memory
from semiseg.preparation.plan import NetworkPlan
from semiseg.preparation.prepare import prepare
from semiseg.settings.resolve import resolve, with_network
from semiseg.training.loop import Loop
from semiseg.training.session import Session

KINDS = {
    "convolution": ("conv",),
    "norm": ("batch_norm", "instance_norm", "group_norm", "layer_norm"),
    "activation": ("relu", "threshold", "sigmoid", "gelu", "softmax", "dropout"),
    "copies and formats": ("copy", "cat", "clone", "contiguous", "flip", "rot90", "index", "fill", "zero"),
    "optimizer and averages": ("foreach", "fused", "lerp"),
    "augmentation": ("grid_sampler", "affine_grid", "upsample", "std", "randn", "normal", "bmm"),
}


def kind_of(name: str) -> str:
    """The kind of an operation, by its name."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def build(args: argparse.Namespace, fabric: Any) -> Loop:
    """The loop of a run, in the middle of its schedule."""
    flags = {"method.name": args.method, "data.labeled": args.labeled, "train.iterations": 1000}
    given = {key: value for key, value in flags.items() if value is not None}
    config = resolve(recipe=args.recipe, flags=given, settings=args.set)
    config = with_network(config, NetworkPlan().name)
    prepared = prepare(args.dataset, config, device=fabric.device.type, workers=2)
    loop = Session(fabric, prepared, config).loop()
    loop.step = loop.total // 2
    loop.method.on_stage_start(loop.clock(loop.step)[0].name)
    loop.build_optimizers()
    return loop


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_seconds(loop: Loop, count: int) -> list[float]:
    """Wall time of each of some steps."""
    device, times = loop.fabric.device, []
    for _ in range(count):
        wait(device)
        began = time.perf_counter()
        loop.iterate_once()
        wait(device)
        times.append(time.perf_counter() - began)
    return times


def shares(found: profile, device: torch.device) -> dict[str, float]:
    """Kind -> share of the time spent in operations."""
    total: defaultdict[str, float] = defaultdict(float)
    for event in found.key_averages():
        on_gpu = device.type == "cuda"
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        total[kind_of(event.key.lower())] += spent
    whole = sum(total.values())
    return {kind: spent / whole for kind, spent in sorted(total.items(), key=lambda item: -item[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--method", help="default: the recipe's")
    parser.add_argument("--recipe")
    parser.add_argument("--labeled", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--trace", type=Path, help="write a Chrome trace of one step to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    with launched(args.device) as fabric, repeatable(True):
        device = fabric.device
        if device.type == "cpu":
            keep_freed_memory()
        loop = build(args, fabric)
        step_seconds(loop, 3)
        times = step_seconds(loop, args.steps)
        with FlopCounterMode(display=False) as counter:
            loop.iterate_once()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        with profile(activities=kinds) as found:
            step_seconds(loop, 1)
        precision = loop.precision.name
        rate = limits.products(device, loop.precision.dtype or torch.float32, "wall")
    seconds = statistics.median(times)
    work = counter.get_total_flops()
    report = {
        "what": "one step: seconds (median), FLOPs, fraction of the rate of matrix products, shares of time",
        "precision": precision,
        "method": type(loop.method).__name__,
        "seconds": seconds,
        "all_seconds": times,
        "flops": work,
        "matrix_flops_per_second": rate,
        "fraction_of_matrix_rate": work / seconds / rate,
        "shares": shares(found, device),
        "machine": machine(),
    }
    if args.trace:
        found.export_chrome_trace(str(args.trace))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['method']}: {seconds:.3f} s a step, {work / 1e9:.0f} GFLOP")
    share = report["fraction_of_matrix_rate"]
    print(f"{share:.0%} of the matrix rate in {precision} ({rate / 1e9:.0f} GFLOP/s)")
    for kind, part in report["shares"].items():
        print(f"{part:7.1%}  {kind}")


if __name__ == "__main__":
    main()
