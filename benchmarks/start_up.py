"""CPU seconds until a light command has answered, and until a training has done its first iteration.

    python benchmarks/start_up.py

Each is started in a process of its own, in turn; the least of the rounds counts, since other work shares the
cores. The aim is 0.1 s for ``--help`` and 0.3 s for ``methods``. Tests see to it that none of the light
commands loads torch or MONAI. The training is that of ten small phantoms, prepared before or not; most of it
are imports, of which torch alone and, since torch's optimizers load it, ``torch._dynamo`` have their rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from _machine import store

RESULTS = Path(__file__).resolve().parent / "results"
PREPARED, UNPREPARED = "scans prepared before", "scans not prepared (one round)"
COMMANDS = ("--help", "--version", "methods", "methods ua_mt", "networks", "recipes", "train --help")


def spent() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(words: list[str]) -> float:
    before = spent()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return spent() - before


def measured(rounds: int, data: Path) -> dict[str, float]:
    """What was started -> the least CPU seconds."""
    starts = {"(empty Python)": ["-c", "pass"]}
    starts |= {f"semiseg {command}": ["-m", "semiseg", *command.split()] for command in COMMANDS}
    starts["(import torch)"] = ["-c", "import torch"]
    starts["(a torch optimizer)"] = ["-c", "import torch; torch.optim.SGD([torch.zeros(1)])"]
    train = (
        f"-m semiseg train {data} --method mean_teacher --iterations 1 --device cpu -j 0 --overwrite".split()
    )
    train += ["--runs", str(data.parent / "runs"), "--set", "plan.patch=[16,16,16]"]
    starts[f"semiseg train, 1 iteration, {PREPARED}"] = train
    found = dict.fromkeys(starts, float("inf"))
    found[f"semiseg train, 1 iteration, {UNPREPARED}"] = seconds(train)
    for _ in range(rounds):
        for name, words in starts.items():
            found[name] = min(found[name], seconds(words))
    return found


def table(found: dict[str, float]) -> str:
    lines = ["| command | CPU s |", "|---|---:|"]
    return "\n".join([*lines, *(f"| `{name}` | {value:.2f} |" for name, value in found.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        from semiseg.demo.phantoms import make_phantom_dataset

        os.environ["SEMISEG_HOME"] = place
        data = make_phantom_dataset(Path(place) / "Dataset001_Phantoms", labeled=4, unlabeled=5, test=1)
        found = measured(args.rounds, data)
    title, command = "Start of the command line", "python benchmarks/start_up.py"
    store(args.results, "start_up", title, command, table(found), {"seconds": found})
    print(table(found))


if __name__ == "__main__":
    main()
