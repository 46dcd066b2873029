"""Jobs: processes that survive the server, one at a time on each device; what they led to is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.errors import SemisegError
from semiseg.machine.worker import alive, birth, start
from semiseg.studio.places import Places
from semiseg.studio.queue import Queue

QUICK = ["recipes"]
SLEEP = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    places.studio.mkdir()
    return places


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def add(queue: Queue, words: list[str], kind: str = "rank") -> str:
    return str(queue.add(queue.reserve(kind), words, device="cpu", title="x")["id"])


def sleeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that do nothing until they are asked to end."""

    def begin(command: object, log: Path, **options: object) -> subprocess.Popen[bytes]:
        return start(["-c", SLEEP], log, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("semiseg.studio.queue.start", begin)


def test_a_job_runs_and_its_result_is_told(places: Places) -> None:
    queue, told = Queue(places), []
    queue.after.append(lambda job: told.append((job["id"], job["state"])))
    good, bad = add(queue, QUICK), add(queue, ["recipes", "no_such_recipe"])
    queue.look()
    assert (queue.get(good)["state"], queue.get(bad)["state"]) == ("running", "queued")  # one at a time
    until(lambda: (queue.look(), len(told) == 2)[1])
    assert told == [(good, "done"), (bad, "failed")]
    assert queue.get(bad)["error"]["code"] == "UNKNOWN_RECIPE"
    queue.look()
    assert len(told) == 2


def test_a_server_that_starts_again_finds_its_jobs(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper(monkeypatch)
    first = Queue(places)
    running, waiting = add(first, QUICK), add(first, QUICK)
    first.look()
    pid = first.get(running)["pid"]
    second = Queue(places)  # the first one is gone without a word
    second.look()
    states = [second.get(name)["state"] for name in (running, waiting)]
    assert states == ["running", "queued"]
    second.stop(waiting)
    second.stop(running)
    first._processes[running].wait(timeout=30)
    assert not alive(pid, second.get(running)["born"])
    second.look()
    assert second.get(running)["state"] == "stopped"
    assert second.get(waiting)["state"] == "stopped"


def test_a_killed_job_is_told_and_can_go_on(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        sleeper(patched)
        queue = Queue(places)
        name = add(queue, QUICK, "train")
        queue.look()
    os.kill(queue.get(name)["pid"], signal.SIGKILL)
    until(lambda: (queue.look(), queue.get(name)["state"] != "running")[1])
    assert queue.get(name)["state"] == "failed"
    assert queue.get(name)["error"]["code"] == "KILLED"
    assert queue.resume(name)["words"][-1] == "--resume"
    assert queue.get(name)["state"] == "queued"
    with pytest.raises(SemisegError, match="is queued"):
        queue.remove(name)
    queue.stop(name)
    queue.remove(name)
    assert queue.list() == []


def test_a_number_that_another_process_has_now_is_not_ours() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        born = birth(process.pid)
        assert alive(process.pid, born)
        assert not alive(process.pid, "another boot-1")
    finally:
        process.kill()
        process.wait()
    assert not alive(process.pid, born)


def test_the_queue_has_an_end(places: Places) -> None:
    queue = Queue(places)
    for _ in range(20):
        add(queue, QUICK)
    with pytest.raises(SemisegError, match="20 jobs wait"):
        queue.reserve("rank")
