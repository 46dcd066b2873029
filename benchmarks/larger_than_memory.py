"""Training from a dataset that does not fit its memory: crops read from disk beside crops from memory.

    python benchmarks/larger_than_memory.py              # 3 GB of cases, 0.5 GB of memory for them
    python benchmarks/larger_than_memory.py --gb 40 --folder /data/tmp

Writes cases of noise, makes the same batches from memory and from disk (in processes of their own), compares
their sums, and reports seconds per batch and the most memory that each process had. Files just written lie in
the system's cache; ``--cold`` asks the kernel to drop them before every batch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _machine import store

from semiseg.batches import augment
from semiseg.batches.batches import Batches, Prefetch
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.preparation.resident import make_resident

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE = (128, 256, 256)


def write_cases(folder: Path, gb: float) -> int:
    """Images of 33 MB and labels of 8 MB, until there are ``gb`` of them."""
    rng = np.random.default_rng(0)
    count = max(4, round(gb * 1e9 / (5 * np.prod(SHAPE))))
    for i in range(count):
        np.save(folder / f"{i}_image.npy", rng.random((1, *SHAPE), np.float32))
        np.save(folder / f"{i}_label.npy", np.zeros(SHAPE, np.uint8))
    return count


def cases(folder: Path, count: int) -> list[SimpleNamespace]:
    found = []
    for i in range(count):
        image = np.load(folder / f"{i}_image.npy", mmap_mode="r")
        case = SimpleNamespace(id=str(i), image=image)
        if i < count // 2:
            case.label = np.load(folder / f"{i}_label.npy", mmap_mode="r")
        found.append(case)
    return found


def drop(folder: Path) -> None:
    """Ask the kernel to forget what it has of the files."""
    for path in folder.glob("*.npy"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Make batches as a run does, with pauses of the length of a step in which the next one is made."""
    device = torch.device("cpu")
    plan = Plan(
        dim=3,
        spacing=(1.0, 1.0, 1.0),
        channels=(ChannelPlan(name="MRI", scheme="none"),),
        labels={"background": 0, "box": 1},
        patch=tuple(args.patch),
    )
    residents = make_resident(cases(args.folder, args.count), device, memory_gb=args.memory)
    half = args.count // 2
    batches = Batches(residents[:half], residents[half:], plan, augment.build("crop", plan), (2, 2))
    sums, seconds, waits = [], [], []
    for k in range(args.batches):
        if args.cold:
            drop(args.folder)
        began = time.perf_counter()
        batch = batches(k)
        seconds.append(time.perf_counter() - began)
        sums.append(float(batch.x_l.double().sum() + batch.x_u["weak"].double().sum()))
    with Prefetch(batches, args.batches) as ahead:
        for k in range(args.batches):
            if args.cold:
                drop(args.folder)
            began = time.perf_counter()
            ahead(k)
            waits.append(time.perf_counter() - began)
            time.sleep(0.2)
    return {
        "on_disk": residents[0].on_disk,
        "sums": sums,
        "seconds_per_batch": statistics.median(seconds[1:]),
        "seconds_waited_when_made_ahead": statistics.median(waits[1:]),
        "most_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gb", type=float, default=3.0)
    parser.add_argument("--memory", type=float, default=0.5, help="GB that the cases may take")
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        print(json.dumps(work(args)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        count = write_cases(Path(folder), args.gb)
        found = {
            name: one(args, folder, count, memory)
            for name, memory in (("disk", args.memory), ("memory", 10 * args.gb))
        }
    if found["disk"].pop("sums") != found["memory"].pop("sums"):
        raise SystemExit("the batches differ")
    report = {
        "cases_gb": args.gb,
        "memory_for_cases_gb": args.memory,
        "patch": args.patch,
        "cold": args.cold,
        **found,
    }
    command = f"python benchmarks/larger_than_memory.py --gb {args.gb:g} --memory {args.memory:g}"
    text = page(args, found)
    store(
        args.results,
        "larger_than_memory",
        "Cases that do not fit the memory",
        command + " --cold" * args.cold,
        text,
        report,
    )
    print(text)


def page(args: argparse.Namespace, found: dict[str, dict[str, Any]]) -> str:
    """A line per place of the cases."""
    size = "x".join(map(str, args.patch))
    dropped = "dropped from" if args.cold else "in"
    lines = [
        f"{args.gb:g} GB of cases of {'x'.join(map(str, SHAPE))}, batches of 2 + 2 patches of {size}; on "
        f"disk, {args.memory:g} GB of memory may hold cases, and the files are {dropped} the system's cache. "
        "The batches are equal. Made ahead, a batch has the 0.2 s of a step for it.",
        "",
        "| cases lie | ms per batch | ms waited when made ahead | most memory of the process, GB |",
        "|---|---|---|---|",
    ]
    for name, one in (("on disk", found["disk"]), ("in memory", found["memory"])):
        times = f"{1e3 * one['seconds_per_batch']:.1f} | {1e3 * one['seconds_waited_when_made_ahead']:.1f}"
        lines.append(f"| {name} | {times} | {one['most_memory_gb']:.2f} |")
    return "\n".join(lines)


def one(args: argparse.Namespace, folder: str, count: int, memory: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", folder, "--count", str(count), "--memory", str(memory)]
    command += ["--patch", *map(str, args.patch), "--batches", str(args.batches)]
    command += ["--cold"] * args.cold
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
