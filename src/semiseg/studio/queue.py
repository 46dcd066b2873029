"""Trainings, predictions and rankings in the background, one at a time on each device.

A job is a command line in a process of its own, and a folder with what it is, what it printed and what came
out of it. So it survives this server, and the next server finds it again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg.errors import UsageError, unknown_name
from semiseg.machine import provenance
from semiseg.machine.files import read_json, write_json
from semiseg.machine.worker import alive, ask_to_end, birth, start
from semiseg.studio.places import Places

log = logging.getLogger("semiseg.studio")

MOST_WAITING = 20
SECONDS = 0.5
"""Between looks at the jobs."""
ACTIVE = ("queued", "running")

Job = dict[str, Any]
After = Callable[[Job], None]


class Queue:
    """The jobs of a dataset's studio."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.after: list[After] = []
        """Called with a job that has ended, once."""
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._closed = threading.Event()
        for path in sorted(places.jobs.glob("*/job.json")):
            with contextlib.suppress(OSError, ValueError):
                self._jobs[path.parent.name] = read_json(path)
        self._thread = threading.Thread(target=self._watch, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to start jobs and to look after them."""
        self._thread.start()

    def close(self) -> None:
        """Leave the jobs alone."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def list(self) -> list[Job]:
        """All jobs, newest first."""
        with self._lock:
            return [dict(job) for _, job in sorted(self._jobs.items(), reverse=True)]

    def get(self, name: str) -> Job:
        """A job by its id (UsageError: there is none)."""
        with self._lock:
            if name not in self._jobs:
                raise unknown_name("job", name, self._jobs)
            return dict(self._jobs[name])

    def folder(self, name: str) -> Path:
        """Of a job that there is."""
        return self.places.jobs / str(self.get(name)["id"])

    def reserve(self, kind: str) -> Path:
        """A folder for a new job, to prepare what it needs (UsageError: too many wait already)."""
        with self._lock:
            if sum(job["state"] == "queued" for job in self._jobs.values()) >= MOST_WAITING:
                raise UsageError(
                    f"{MOST_WAITING} jobs wait already", hint="wait, or remove some", code="QUEUE_FULL"
                )
            self.places.jobs.mkdir(parents=True, exist_ok=True)
            numbers = [int(m[1]) for e in self.places.jobs.iterdir() if (m := re.match(r"(\d+)-", e.name))]
            folder = self.places.jobs / f"{max(numbers, default=0) + 1:04d}-{kind}"
            folder.mkdir()
            return folder

    def add(self, folder: Path, words: Sequence[str], *, device: str, title: str, **about: Any) -> Job:
        """Queue ``semiseg WORDS`` as the job of a reserved folder, on a device; ``about`` is kept with it."""
        job: Job = {
            "id": folder.name,
            "kind": folder.name.partition("-")[2],
            "state": "queued",
            "device": device,
            "title": title,
            "created": provenance.now(),
            "started": None,
            "ended": None,
            "words": list(words),
            "command": shlex.join(["semiseg", *words]),
            "error": None,
            **about,
        }
        with self._lock:
            self._keep(job)
        return dict(job)

    def stop(self, name: str) -> Job:
        """Ask a job to save and end; one that waits is taken off the queue."""
        with self._lock:
            job = self._jobs[self.get(name)["id"]]
            if job["state"] == "queued":
                job |= {"state": "stopped", "ended": provenance.now()}
            elif job["state"] == "running":
                job["asked_to_stop"] = True
                ask_to_end(job["pid"], job["born"])
            self._keep(job)
            return dict(job)

    def resume(self, name: str) -> Job:
        """Queue a job that was stopped or failed again; it goes on from what it has saved.

        Raises:
            UsageError: it waits or runs.
        """
        with self._lock:
            job = self._jobs[self.get(name)["id"]]
            if job["state"] in ACTIVE:
                raise UsageError(
                    f"{name} is {job['state']}", hint="wait until it has ended", code="JOB_ACTIVE"
                )
            words = job["words"]
            if job["kind"] == "train" and "--resume" not in words:
                job["words"] = words = [*words, "--resume"]
            job |= {"state": "queued", "error": None, "ended": None, "asked_to_stop": False, "told": False}
            self._keep(job)
            return dict(job)

    def remove(self, name: str) -> None:
        """Forget a job that has ended; what it made stays (UsageError: it waits or runs)."""
        with self._lock:
            job = self.get(name)
            if job["state"] in ACTIVE:
                raise UsageError(f"{name} is {job['state']}", hint="stop it first", code="JOB_ACTIVE")
            shutil.rmtree(self.places.jobs / job["id"], ignore_errors=True)
            del self._jobs[job["id"]]

    def _keep(self, job: Job) -> None:
        self._jobs[job["id"]] = job
        write_json(self.places.jobs / job["id"] / "job.json", job)

    def _watch(self) -> None:
        while not self._closed.wait(SECONDS):
            try:
                self.look()
            except Exception:  # a full disk must not end the watch
                log.exception("the jobs could not be looked after")

    def look(self) -> None:
        """Note what has ended, and start what may."""
        with self._lock:
            for job in list(self._jobs.values()):
                if job["state"] == "running" and not self._runs(job):
                    self._note_end(job)
            busy = {job["device"] for job in self._jobs.values() if job["state"] == "running"}
            for _, job in sorted(self._jobs.items()):
                if job["state"] == "queued" and job["device"] not in busy:
                    self._begin(job)
                    busy.add(job["device"])
            ended = [job for job in self._jobs.values() if job["state"] not in ACTIVE and not job.get("told")]
        for job in ended:
            for follow in self.after:
                try:
                    follow(dict(job))
                except Exception:  # once is enough: it would fail again
                    log.exception("what follows %s could not be started", job["id"])
            with self._lock:
                job["told"] = True
                self._keep(job)

    def _runs(self, job: Job) -> bool:
        process = self._processes.get(job["id"])
        return process.poll() is None if process is not None else alive(job["pid"], job["born"])

    def _begin(self, job: Job) -> None:
        folder = self.places.jobs / job["id"]
        result = folder / "result.json"
        command = ["-m", "semiseg", *job["words"], "--json"]
        process = start(command, folder / "log.txt", stdout=result)
        self._processes[job["id"]] = process
        born = birth(process.pid)
        job |= {"state": "running", "pid": process.pid, "born": born, "started": provenance.now()}
        self._keep(job)

    def _note_end(self, job: Job) -> None:
        self._processes.pop(job["id"], None)
        result = result_of(self.places.jobs / job["id"])
        job["ended"] = provenance.now()
        if result is None:
            stopped = job.get("asked_to_stop")
            job["state"] = "stopped" if stopped else "failed"
            job["error"] = None if stopped else _KILLED
        elif result.get("ok"):
            job["state"] = "done"
        elif result.get("code") == "INTERRUPTED" or job.get("asked_to_stop"):
            job["state"] = "stopped"
        else:
            some = result.get("code") == "CASES_FAILED"  # the other scans are predicted
            job["state"] = "done" if some else "failed"
            job["error"] = {key: result.get(key) for key in ("code", "message", "hint")}
        self._keep(job)


_KILLED = {
    "code": "KILLED",
    "message": "the process was ended from outside, most often because memory ran out",
    "hint": "resume continues from the last checkpoint",
}


def result_of(folder: Path) -> dict[str, Any] | None:
    """What the command of a job printed as JSON; None where it came to no end."""
    try:
        text = (folder / "result.json").read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
