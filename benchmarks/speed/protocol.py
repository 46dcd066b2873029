"""How long a whole run of a published protocol takes, and how busy the GPU is meanwhile.

    python benchmarks/speed/protocol.py DATASET --recipe la --methods mean_teacher ua_mt
    python benchmarks/speed/protocol.py DATASET --recipe la --iterations 300       # a look at the speed

It is `semiseg train` with nothing changed but the number of labels. Minutes are those of the training, from
the first iteration to the last checkpoint; preparing the scans (once per data set) is told apart. The use of
the GPU is the mean of what its driver says twice a second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks._machine import machine  # noqa: E402

ASK = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0")


class Busy:
    """Asks a device twice a second how busy it is, for as long as the context lasts."""

    def __init__(self, ask: Callable[[], float | None], every: float = 0.5) -> None:
        self.ask, self.every, self.percent = ask, every, list[float]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            percent = self.ask()
            if percent is None:
                return
            self.percent.append(percent)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mean(self) -> float | None:
        """Percent; None where nobody answers."""
        return statistics.mean(self.percent) if self.percent else None


def ask_driver() -> float | None:
    """What NVIDIA's driver says of the first GPU, in percent; None without one."""
    if shutil.which(ASK[0]) is None:
        return None
    done = subprocess.run(ASK, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 and done.stdout.strip() else None


def one(args: argparse.Namespace, method: str, runs: Path) -> dict[str, Any]:
    """Train once and tell."""
    import torch

    import semiseg

    started = time.perf_counter()
    with Busy(ask_driver) as busy:
        run = semiseg.train(
            args.dataset,
            method=method,
            recipe=args.recipe,
            labeled=args.labeled,
            iterations=args.iterations,
            settings=args.set,
            run=runs / method,
            device=args.device,
        )
    wall = time.perf_counter() - started
    session = run.manifest["sessions"][-1]
    cuda = args.device.startswith("cuda")
    return {
        "method": method,
        "iterations": session["step"],
        "minutes": session["seconds"] / 60,
        "minutes_with_preparation": wall / 60,
        "milliseconds_per_iteration": 1000 * session["seconds"] / session["step"],
        "precision": run.manifest["precision"],
        "gpu_percent": busy.mean,
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
    }


def table(content: dict[str, Any]) -> str:
    """A Markdown table, one line per run."""
    lines = [
        f"# A whole run: {content['title']}",
        "",
        f"Command: `{content['command']}`.",
        "",
        "| method | iterations | minutes | with preparation | ms per iteration | GPU busy | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        busy = "" if row["gpu_percent"] is None else f"{row['gpu_percent']:.0f} %"
        peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
        times = f"{row['minutes']:.2f} | {row['minutes_with_preparation']:.2f}"
        each = f"{row['milliseconds_per_iteration']:.1f}"
        lines.append(f"| {row['method']} | {row['iterations']} | {times} | {each} | {busy} | {peak} |")
    about = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    return "\n".join([*lines, "", f"Machine: {about}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="la")
    parser.add_argument("--methods", nargs="+", default=["mean_teacher", "ua_mt"])
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--iterations", type=int, help="default: the protocol's")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    flags = f"--recipe {args.recipe} --labeled {args.labeled} --device {args.device}"
    flags += f" --iterations {args.iterations}" if args.iterations else ""
    flags += "".join(f" --set {setting}" for setting in args.set)
    command = (
        f"python benchmarks/speed/protocol.py {args.dataset.name} {flags} --methods {' '.join(args.methods)}"
    )
    with tempfile.TemporaryDirectory() as runs:
        found = [one(args, method, Path(runs)) for method in args.methods]
    content = {"title": args.dataset.name, "command": command, "machine": machine(), "rows": found}
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f"protocol_{args.recipe}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(content), encoding="utf-8")


if __name__ == "__main__":
    main()
