"""CPU seconds until a light command of the command line has answered, beside an empty Python.

    python benchmarks/start_up.py

Each is started in a process of its own, in turn; the least of the rounds counts, since other work shares the
cores. The aim is half a second. Tests see to it that none of these commands loads torch or MONAI.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from _machine import store

RESULTS = Path(__file__).resolve().parent / "results"
COMMANDS = ("--help", "--version", "methods", "methods ua_mt", "networks", "recipes", "train --help")


def spent() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(words: list[str]) -> float:
    before = spent()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return spent() - before


def measured(rounds: int) -> dict[str, float]:
    """What was started -> the least CPU seconds."""
    starts = {"(empty Python)": ["-c", "pass"]}
    starts |= {f"semiseg {command}": ["-m", "semiseg", *command.split()] for command in COMMANDS}
    found = dict.fromkeys(starts, float("inf"))
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
    found = measured(args.rounds)
    title, command = "Start of the command line", "python benchmarks/start_up.py"
    store(args.results, "start_up", title, command, table(found), {"seconds": found})
    print(table(found))


if __name__ == "__main__":
    main()
