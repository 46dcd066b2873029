"""Kill commands at random moments, two of them at a time in one folder, and count what becomes of them.

``python -m benchmarks.kills --kills 20`` starts, for each of train, predict, evaluate, init, sweep, tune and
export, two processes that write into the same folder, and kills one or both of them (SIGKILL), and so on
until the kills are done. The moment is counted from the first change that they make in the folder, and lies
between nothing and what the work takes from there to its end, each twentieth of it once: by a clock that
starts with the process, a busy machine would be killed before its work or after it. What has ended well is
set aside, so that there is always something to do. Then the command runs undisturbed. Counted is how each
process ended (finished, refused because the folder was in use, killed, or anything else, with its last line),
whether the undisturbed one ended well, which half-written files it left, and which files of an undisturbed
result are not in its own. ``export --overwrite`` has an earlier export to lose: its result is not set aside,
and counted is how often it was not whole after a kill. Exports are short beside their imports: copies of this
process make them. Counts are kept in benchmarks/results/kills.json, command by command, the page beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._machine import store
from tests.bad_input.ground import make_ground

import semiseg.delivery.zipped  # noqa: F401 for those that are copied
from semiseg import cli

HERE = Path(__file__).resolve().parents[1]
RESULTS = HERE / "benchmarks" / "results"
SMALL = ("--set", "plan.patch=[8,8,8]", "--set", "plan.features=[2,4]", "--device", "cpu")
TRAIN = ("train", "data", *SMALL, "-j", "0", "--iterations", "300", "--set", "train.checkpoint_minutes=0.001")
TUNE = ("tune", "data", "--method", "mean_teacher", "--labeled", "2", "--iterations", "8", "--folds", "2")
SPEC = """
name: kills
datasets: [data]
methods: [supervised, mean_teacher]
labeled: [2]
seeds: [0]
bounds: false
iterations: 8
set: {plan.patch: [8, 8, 8], plan.features: [2, 4]}
"""
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*TRAIN, "--run", "run", "--resume"),
    "predict": ("predict", "-i", "many", "-m", "trained", "--device", "cpu", "-o", "out"),
    "evaluate": ("evaluate", "labels", "predictions", "-o", "scores", "--overwrite", "-j", "1"),
    "init": ("init", "many", "-o", "made", "-j", "1"),
    "sweep": ("sweep", "spec.yaml", "-j", "1", "--devices", "cpu", "-o", "swept"),
    "tune": (*TUNE, "--trials", "2", *SMALL, "-o", "tuned", "--resume"),
    "export": ("export", "trained", "-o", "left", "--to", "zip"),
    "export --overwrite": ("export", "trained", "-o", "left", "--to", "zip", "--overwrite"),
}
OUTPUT = {
    "train": "run",
    "predict": "out",
    "evaluate": "scores",
    "init": "made",
    "sweep": "swept",
    "tune": "tuned",
    "export": "left",
    "export --overwrite": "left",
}
"""Folders that they write into."""
NEED_A_MODEL = ("predict", "export", "export --overwrite")
COPIED = ("export", "export --overwrite")
"""Whose work is short beside the imports: copies of this process do it, which has imported what they need."""


def main() -> int:
    """Keep the counts of each command; exit 1 where an undisturbed run failed after the kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="these commands")
    parser.add_argument("--minutes", type=float, default=60.0, help="for each command, at most")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    bad = False
    for name in given.only or COMMANDS:
        with tempfile.TemporaryDirectory(prefix="semiseg-kills-") as folder:
            row = torment(name, Path(folder), given.kills, 60 * given.minutes)
        bad |= row["then"] != "finished" or bool(row["left"] or row["lost"])
        sys.stdout.write(f"{name}: {row}\n")
        sys.stdout.flush()
        file = given.results / "kills.json"
        rows = json.loads(file.read_text())["rows"] if file.is_file() else {}
        rows = {**rows, name: row}
        command = f"python -m benchmarks.kills --kills {given.kills}"
        store(
            given.results, "kills", "Kills, two commands in one folder", command, page(rows), {"rows": rows}
        )
    return int(bad)


def page(rows: dict[str, dict[str, Any]]) -> str:
    """How processes ended, one row per command."""
    kinds = sorted(
        {kind for row in rows.values() for kind in row["ended"]}, key=lambda kind: (len(kind), kind)
    )
    head = [
        "command",
        *kinds,
        "earlier result gone",
        "then, undisturbed",
        "half-written files left",
        "files lost",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(kinds) + "---:|---|---:|---:|"]
    for name in filter(rows.__contains__, COMMANDS):
        row = rows[name]
        cells = [
            name,
            *(row["ended"].get(kind, 0) for kind in kinds),
            row.get("gone", ""),
            row["then"],
            row["left"],
            len(row["lost"]) if "lost" in row else "-",  # of older rows it is not known
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def torment(name: str, folder: Path, kills: int, seconds: float) -> dict[str, Any]:
    """Kill so often, run once to the end: how the processes ended, and what is left behind."""
    prepare(name, folder)
    began, output = time.monotonic(), folder / OUTPUT[name]
    process = start(name, folder)
    wait_for_change(output, seen(output), [process])
    first = time.monotonic()
    if outcome(process) != "finished":
        raise SystemExit(f"{name} does not end well undisturbed")
    work, wanted, keeps = time.monotonic() - first, results(output), name == "export --overwrite"
    if not keeps:
        set_aside(output, 0)
    chance, counts, moments, gone = random.Random(name), Counter[str](), list[float](), 0
    parts = [(part + chance.random()) / kills for part in range(kills)]
    chance.shuffle(parts)
    while counts["killed"] < kills and time.monotonic() - began < seconds:
        part = parts.pop() if parts else chance.random()
        found = one_round(name, folder, work * part, chance.choice((1, 2, 2)))
        counts.update(found)
        if "killed" in found:
            moments.append(round(part, 2))
        gone += keeps and not wanted <= results(output)
        done = {"finished", "refused (done already)"} & set(found) or results(output) >= wanted
        if done and not keeps:
            set_aside(output, counts.total())  # also of one that was killed after its last file
    last = outcome(start(name, folder))
    left = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if half_written(path)]
    lost = sorted(wanted - results(output))
    row = {"ended": dict(sorted(counts.items())), "moments": sorted(moments), "work_seconds": round(work, 1)}
    row |= {"gone": gone} if keeps else {}
    return {**row, "then": last, "left": len(left), "where": left, "lost": lost}


def seen(output: Path) -> dict[Path, int]:
    """Every file of a folder with its time; also of what is being built beside it."""
    places = [output, *output.parent.glob(f".{output.name}.*")]
    files = [path for place in places for path in (place, *place.rglob("*"))]
    found = {}
    for path in files:
        with contextlib.suppress(OSError):
            found[path] = path.stat().st_mtime_ns
    return found


def wait_for_change(output: Path, before: dict[Path, int], processes: list[Process]) -> None:
    """Until something is written there, or nobody lives who could."""
    while seen(output) == before and any(process.poll() is None for process in processes):
        time.sleep(0.01)


def results(output: Path) -> set[str]:
    """The files of a result, without locks; trials by their order, as one that died leaves a gap."""
    trials = sorted(path.name for path in (output / "trials").glob("*"))
    found = set()
    for path in output.rglob("*"):
        first, *rest = parts = path.relative_to(output).parts
        if first == "trials" and rest:
            parts = (first, str(trials.index(rest[0])), *rest[1:])
        if path.is_file() and not path.name.startswith((".", "events.out")):
            found.add("/".join(parts))
    return found


def half_written(path: Path) -> bool:
    """Hidden files and folders that are no locks: that is how unfinished ones are called here."""
    return path.name.startswith(".") and not path.name.endswith((".lock", ".cache"))


def prepare(name: str, folder: Path) -> None:
    """What the command needs."""
    make_ground(folder)
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "many").mkdir()
    for copy in range(12):
        os.link(folder / "scans" / "scan_0_0000.nii.gz", folder / "many" / f"scan_{copy:02d}_0000.nii.gz")
    if name in NEED_A_MODEL and outcome(start("train", folder, "--run", "trained")) != "finished":
        raise SystemExit("the model that predicts could not be trained")


def one_round(name: str, folder: Path, seconds: float, kills: int) -> list[str]:
    """Two at a time, of which so many are killed so long after the first change: how they ended."""
    output = folder / OUTPUT[name]
    before = seen(output)
    pair = [start(name, folder) for _ in range(2)]
    wait_for_change(output, before, pair)
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in pair):
        time.sleep(0.01)
    alive = [process for process in pair if process.poll() is None]
    for process in alive[:kills]:
        process.send_signal(signal.SIGKILL)
    return [outcome(process) for process in pair]


def set_aside(output: Path, number: int) -> None:
    """What was done once is begun anew."""
    if output.is_dir():
        output.rename(output.with_name(f"{output.name}-{number}"))


class Copy:
    """A command in a copy of this process; what is asked of it is what is asked of a ``Popen``."""

    def __init__(self, words: Sequence[str], folder: Path, home: Path) -> None:
        self.returncode: int | None = None
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ["SEMISEG_HOME"] = str(home)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(self.errors.fileno(), 2)
            code = 1
            try:
                code = cli.main([*words])
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for its end: nothing, and what it said on stderr."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("copy", timeout)
            time.sleep(0.01)
        self.errors.seek(0)
        return "", self.errors.read()


Process = subprocess.Popen[str] | Copy


def start(name: str, folder: Path, *more: str) -> Process:
    """The command as a process of its own."""
    words = [*COMMANDS[name], "--no-progress", *more]
    if name in COPIED:
        return Copy(words, folder, folder / "home")
    return subprocess.Popen(
        [sys.executable, "-m", "semiseg", *words],
        cwd=folder,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "SEMISEG_HOME": str(folder / "home"), "PYTHONPATH": str(HERE / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: Process) -> str:
    """How a process ended, in a word or with its last line."""
    try:
        _, err = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.kill()
        return "hang"
    if process.returncode == 0:
        return "finished"
    if process.returncode == -signal.SIGKILL:
        return "killed"
    if "in use by" in err and "Traceback" not in err:
        return "refused (in use)"
    if "TARGET_EXISTS" in err or "exists and is not empty" in err:
        return "refused (done already)"
    errors = [line for line in err.splitlines() if line.strip()]
    return f"ended with {process.returncode}: {errors[-1] if errors else 'no word'}"


if __name__ == "__main__":
    sys.exit(main())
