"""What data parallel training costs on this machine: steps of one process beside steps of two gloo ranks.

    python benchmarks/ranks.py                # a U-Net on 2 + 2 patches of 64 x 64 x 64, one thread per rank
    python benchmarks/ranks.py --patch 32 32 32 --steps 4 --results /tmp

Each rank takes half of the samples and half of the threads. Reported are the seconds of a step, and of
averaging the gradients within it (one flat all-reduce after each backward pass), waiting included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _machine import store

from semiseg import networks
from semiseg.core import Batch, Clock
from semiseg.machine.fabric import launched
from semiseg.machine.hardware import keep_freed_memory
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.settings.config import OptimizerConfig
from semiseg.training import update
from semiseg.training.optim import build_optimizer
from semiseg.training.update import Precision, average_gradients

RESULTS = Path(__file__).resolve().parent / "results"


def work(ranks: int, patch: list[int], steps: int, out: Path) -> None:
    """Take steps as one of the ranks; the first one writes the seconds of each."""
    keep_freed_memory()
    with launched("cpu", ranks) as fabric:
        torch.manual_seed(0)
        torch.set_num_threads(max(1, int(os.environ["THREADS"]) // ranks))

        def make_net() -> torch.nn.Module:
            return networks.build("unet", dim=3, in_channels=1, classes=2, features=(16, 32, 64, 128))

        method = MeanTeacher(make_net).to(memory_format=torch.channels_last_3d)
        optimizers = {"net": build_optimizer(method.net, OptimizerConfig())}
        share = 2 // ranks
        x = torch.randn(2 * share, 1, *patch).contiguous(memory_format=torch.channels_last_3d)
        batch = Batch(x[:share], torch.randint(0, 2, (share, *patch)), {"weak": x[share:]})
        waits = timed_averages()
        times, averages = [], []
        for k in range(steps + 2):
            waits.clear()
            fabric.barrier()
            began = time.perf_counter()
            update.iterate(
                fabric,
                method,
                batch,
                optimizers,
                Clock(k, 1000),
                Precision(os.environ["BITS"], fabric.device),
            )
            times.append(time.perf_counter() - began)
            averages.append(sum(waits))
        if fabric.global_rank == 0:
            values = sum(p.numel() for p in method.net.parameters())
            out.write_text(json.dumps({"seconds": times[2:], "averaging": averages[2:], "values": values}))


def timed_averages() -> list[float]:
    """Note how long each averaging takes, waiting for the other rank included."""
    seconds: list[float] = []
    plain = average_gradients

    def timed(*given: Any) -> None:
        began = time.perf_counter()
        plain(*given)
        seconds.append(time.perf_counter() - began)

    update.average_gradients = timed
    return seconds


def run(ranks: int, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        command = [
            sys.executable,
            __file__,
            "--work",
            str(ranks),
            "--out",
            str(out),
            "--steps",
            str(args.steps),
        ]
        environment = {**os.environ, "THREADS": str(args.threads), "BITS": args.precision}
        environment["OMP_NUM_THREADS"] = str(max(1, args.threads // ranks))
        subprocess.run([*command, "--patch", *map(str, args.patch)], check=True, env=environment)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 64, 64])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--rounds", type=int, default=2, help="one process and two ranks in turn, so many times"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both ranks together")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "32"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.patch, args.steps, args.out)
        return
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(args.rounds):
        for ranks, runs in found.items():
            runs.append(run(ranks, args))
    middle = {
        ranks: {
            key: statistics.median(s for one in runs for s in one[key]) for key in ("seconds", "averaging")
        }
        for ranks, runs in found.items()
    }
    report = {
        "patch": args.patch,
        "precision": args.precision,
        "threads": args.threads,
        "gradient_values": found[2][0]["values"],
        "one_process": middle[1]["seconds"],
        "two_ranks": middle[2]["seconds"],
        "two_ranks_over_one_process": middle[2]["seconds"] / middle[1]["seconds"],
        "averaging_share_of_the_step": middle[2]["averaging"] / middle[2]["seconds"],
        "runs": found,
    }
    size = "x".join(map(str, args.patch))
    text = (
        f"A Mean Teacher step of a U-Net of {report['gradient_values']:,} weights on 2 + 2 patches of {size} "
        f"({args.precision}): {middle[1]['seconds']:.3f} s in one process with {args.threads} threads, "
        f"{middle[2]['seconds']:.3f} s on two gloo ranks that share out samples and threads "
        f"({report['two_ranks_over_one_process']:.2f} of it). Averaging the gradients takes "
        f"{report['averaging_share_of_the_step']:.1%} of the ranks' step, waiting for each other included."
    )
    command = " ".join(["python benchmarks/ranks.py", *words(args)])
    store(args.results, "ranks", "Two ranks beside one process", command, text, report)
    print(text)


def words(args: argparse.Namespace) -> list[str]:
    """The arguments that measure something else than the default does."""
    found = [] if args.patch == [64, 64, 64] else ["--patch", *map(str, args.patch)]
    return [*found, *([] if args.precision == "bf16" else ["--precision", args.precision])]


if __name__ == "__main__":
    main()
