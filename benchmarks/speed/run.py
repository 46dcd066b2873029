"""Our paths beside plain ones in the style of the published codes, in alternation: `benchmarks/speed/run.py`.

    python benchmarks/speed/run.py                            # everything: about an hour on two cores
    python benchmarks/speed/run.py --only loader step3d.ua_mt --malloc default tuned
    python benchmarks/speed/run.py --quick --results /tmp     # tiny sizes, to see that it works

Every case has a fresh process, in which both sides take turns under the same memory setting and number of
threads, so that other load on the machine meets both. Memory is measured in a process of its own for each
side. Rows of earlier commands stay in benchmarks/results/speed.json until the same case is measured again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a waiting thread is no work, on either side

from benchmarks.speed import items, report, work  # noqa: E402

from semiseg.machine.hardware import cores  # noqa: E402

REAL = ROOT.parent / "shared" / "data"


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def case_names(job: work.Job, wanted: list[str]) -> list[str]:
    """All cases of the wanted items."""
    import torch
    from benchmarks.speed.setting import Setting

    setting = Setting(torch.device(job.device), job.quick, job.data, job.work)
    return [case.name for case in items.find(wanted, setting)]


def measure(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A row per case and memory setting."""
    data = options.data if options.data and options.data.is_dir() else None

    def job(name: str, malloc: str) -> work.Job:
        return work.Job(
            name, options.device, options.quick, data, folder, options.threads, malloc, options.repeats
        )

    for name in apart(case_names, job("", "default"), options.only):
        for malloc in options.malloc:
            row = {} if options.memory == "only" else apart(work.time_both, job(name, malloc))
            if options.memory != "no":
                row["memory_mb"] = {
                    side: apart(work.memory_of, job(name, malloc), side) for side in ("plain", "ours")
                }
            yield {"case": name, "malloc": malloc, "place": items.place(name), **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(items.ITEMS), help="items or cases: item.what")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, help="rounds that count (default: each case's own)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--malloc", nargs="+", choices=work.MALLOC, default=["default"])
    parser.add_argument("--memory", choices=("yes", "no", "only"), default="yes")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--data", type=Path, default=REAL, help="folder of Dataset101_LeftAtrium")
    parser.add_argument("--work", type=Path, help="keep the files made on the way here")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--name", help="of the result files (default: speed, speed_cuda)")
    options = parser.parse_args()
    name = options.name or ("speed" if options.device == "cpu" else "speed_cuda")
    with tempfile.TemporaryDirectory() as fresh:
        for row in measure(options, options.work or Path(fresh)):
            print(report.line(row), flush=True)
            report.write(options.results / f"{name}.json", row, sys.argv[1:])


if __name__ == "__main__":
    main()
