"""Sweeps for tests: tiny networks on tiny datasets, in this process or as the command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from semiseg.runs.run import Run
from semiseg.sweeping.ledger import CellState, Ledger
from semiseg.sweeping.run import Outcome
from tests.conftest import environment_of_ranks
from tests.factories import make_dataset

SETTINGS = {"plan": {"patch": [16, 16, 16], "features": [4, 8], "batch": 2}, "train.precision": "32"}


def tiny_spec(dataset: Path, **more: Any) -> dict[str, Any]:
    """Mean teacher with one label between its two bounds: three cells."""
    settings = {**SETTINGS, **more.pop("set", {})}
    spec = {"name": "tiny", "datasets": str(dataset), "methods": "mean_teacher", "labeled": 1}
    return {**spec, "iterations": 2, "set": settings, **more}


def tiny_dataset(folder: Path, **more: Any) -> Path:
    """Two labeled, two unlabeled and two test scans."""
    return make_dataset(folder, **{"labeled": 2, "unlabeled": 2, "test": 2, "shape": (16, 16, 16), **more})


def run_here(spec: dict[str, Any] | Path, folder: Path, **more: Any) -> Outcome:
    """Run a sweep in this process, with one thread as the workers of :func:`command` have."""
    from semiseg import sweep

    with one_thread():
        return sweep(spec, folder=folder, workers=0, devices="cpu", **more)


def run_on(place: str, spec: dict[str, Any] | Path, folder: Path, **more: Any) -> Outcome:
    """Run a sweep elsewhere, on the CPU."""
    from semiseg import sweep

    return sweep(spec, folder=folder, on=place, devices="cpu", **more)


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_spec(spec: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def start(spec: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    """`semiseg sweep` in a process and a session of its own."""
    command = [sys.executable, "-m", "semiseg", "sweep", str(spec), "-o", str(folder), *flags]
    return subprocess.Popen(
        command,
        env=environment_of_ranks(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output; a process that hangs is not left behind."""
    try:
        output, _ = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        process.kill()  # its workers notice, save and end
        raise
    return process.returncode, output


def wait_for(what: Callable[[], Any], seconds: float = 200.0) -> Any:
    """The first true answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"waited {seconds} s in vain")


def entries(folder: Path) -> dict[str, CellState]:
    """Title -> entry of every cell in the ledger."""
    return {entry.cell.title: entry for entry in Ledger(folder).everything().values()}


def training(folder: Path, entry: CellState, lines: int = 3) -> bool:
    """Whether the training of a cell is under way."""
    events = folder / entry.cell.place / "events.jsonl"
    return events.is_file() and events.read_bytes().count(b"\n") >= lines


def process_of(entry: CellState) -> int:
    """The process of the last attempt."""
    return int((entry.where or "").split()[1])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def scores(folder: Path) -> dict[str, str]:
    """Title -> ``metrics.csv``: every metric of every case."""
    return {
        title: (folder / entry.cell.scores / "metrics.csv").read_text(encoding="utf-8")
        for title, entry in entries(folder).items()
    }


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Title -> the exported weights."""
    from semiseg.networks import checkpoint

    return {
        title: checkpoint.load(folder / entry.cell.place / "checkpoints" / "final.ckpt", checkpoint.MODEL)[
            "predictor"
        ]
        for title, entry in entries(folder).items()
    }


def require_same(folder: Path, wanted: Path) -> None:
    """Both sweeps are done, with the very same weights and scores, each training having ended once."""
    assert {title: entry.state for title, entry in entries(folder).items()} == {
        title: "done" for title in entries(wanted)
    }
    mine, theirs = weights(folder), weights(wanted)
    for title in theirs:
        assert all(torch.equal(mine[title][key], theirs[title][key]) for key in theirs[title]), title
    assert scores(folder) == scores(wanted)
    for title, entry in entries(folder).items():
        sessions = Run(folder / entry.cell.place).manifest["sessions"]
        assert [s["reason"] for s in sessions].count("finished") == 1, title
