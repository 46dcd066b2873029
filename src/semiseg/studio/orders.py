"""What is ordered in the studio as command lines: train on all labels, predict the rest, rank it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from semiseg import methods
from semiseg.errors import DataError, UsageError, plural, unknown_name
from semiseg.labeling.store import Labels
from semiseg.machine import provenance
from semiseg.machine.files import write_json
from semiseg.settings.flags import configured
from semiseg.studio.places import Places
from semiseg.studio.queue import Job, Queue, result_of
from semiseg.studio.rounds import snapshot, training_round, unlabeled_scans

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([hms]?)")
_MINUTES = {"h": 60.0, "m": 1.0, "": 1.0, "s": 1 / 60}

PILE = 300
"""Scans that are ranked without being asked to; each one has to be read."""


class Orders:
    """Makes jobs, and the jobs that follow them."""

    def __init__(self, labels: Labels, places: Places, queue: Queue) -> None:
        self.labels, self.places, self.queue = labels, places, queue
        queue.after.append(self._follow)

    def train(
        self,
        *,
        method: str | None = None,
        max_time: str | float | None = None,
        iterations: int | None = None,
        device: str = "auto",
        start_from: str | None = None,
        accepted: float = 1.0,
        calibrate: bool = False,
        then_predict: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> Job:
        """Train on all labels that there are now, on accepted predictions with the weight ``accepted``.

        ``calibrate`` trains on folds of them, too, so that predictions come with an expected Dice.

        Raises:
            UsageError: unknown names, a time that is none, a run that does not exist.
            DataError: there is no label.
        """
        minutes = minutes_of(max_time)
        settings = {**(settings or {}), **({} if accepted == 1 else {"data.accepted": accepted})}
        if method is not None and ":" not in method and method not in methods.names():
            raise unknown_name("method", method, methods.names())
        wanted = configured(method=method, iterations=iterations, max_time=minutes, settings=settings)
        name = wanted.method.name
        from_run = self.places.run(start_from) if start_from else None
        where = resolved_device(device)
        split = self.labels.dataset.split(accepted=accepted)  # tells of no label before a folder is made
        labeled = len(split.labeled)
        folder = self.queue.reserve("train")
        run = self._next_run()
        dataset = training_round(self.labels, self.places.rounds / run)
        words = ["train", str(dataset), "--method", name]
        words += ["--run", str(self.places.runs / run), "--device", where]
        words += ["--iterations", str(iterations)] if iterations else []
        words += ["--max-time", f"{minutes:g}"] if minutes else []
        words += ["--calibrate"] if calibrate else []
        words += [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        if from_run is not None:
            words += ["--start-from", str(from_run), "--plan", str(from_run / "plan.json")]
        title = f"{name}, {labeled} label{'s' * (labeled != 1)}"
        then = ["predict", "rank"] if then_predict else []
        about = {"run": run, "labels": labeled, "then": then, "start_from": start_from}
        return self.queue.add(folder, words, device=where, title=title, **about)

    def predict(
        self,
        run: str,
        *,
        cases: list[str] | None = None,
        uncertainty: bool = True,
        device: str = "auto",
        then: list[str] | None = None,
    ) -> Job:
        """Predict unlabeled scans with a run; those that it has predicted already are left.

        Raises:
            UsageError: no such run or case.
            DataError: there is nothing to predict.
        """
        model = self.places.run(run)
        scans = unlabeled_scans(self.labels, cases)
        if not scans:
            raise DataError("every scan has a label", hint="add scans to imagesUn", code="NO_SCANS")
        where = resolved_device(device)
        folder = self.queue.reserve("predict")
        dataset = snapshot(self.labels, folder / self.labels.dataset.name, labeled=[], unlabeled=scans)
        output = self.places.predictions_of(run)
        words = _predicting(dataset / "imagesUn", output, model, where)
        words += ["--uncertainty"] if uncertainty else []
        about = {"run": run, "total": len(scans), "cases": [c.id for c in scans], "then": then or []}
        return self.queue.add(
            folder, words, device=where, title=f"predict {plural(len(scans), 'scan')}", **about
        )

    def rank(
        self,
        *,
        strategy: str = "default",
        n: int = 5,
        slices: bool = False,
        run: str | None = None,
        device: str = "auto",
    ) -> Job:
        """Rank the unlabeled scans, with the newest run where there is one (UsageError: no such run)."""
        run = run or self.newest()
        where = resolved_device(device)
        folder = self.queue.reserve("rank")
        words = ["next", str(self.labels.root), "-n", str(n), "--strategy", strategy, "--device", where]
        words += ["--slices"] if slices else []
        if run is not None:
            words += ["-m", str(self.places.run(run))]
            if run in self.places.predicted_runs():
                words += ["--predictions", str(self.places.predictions_of(run))]
        title = f"what to label next ({strategy})"
        return self.queue.add(folder, words, device=where, title=title, run=run, then=[])

    def welcome(self) -> Job | None:
        """Rank a pile of scans that was just opened: without a label or a ranking, and not too large."""
        labels = self.labels
        fresh = not self.places.ranking.is_file() and not self.queue.list() and not labels.dataset.annotated
        return self.rank() if fresh and 0 < len(labels.cases) <= PILE else None

    def predict_files(self, run: str, source: Path, output: Path, *, device: str = "auto") -> Job:
        """Predict scans that are no part of the dataset."""
        where = resolved_device(device)
        folder = self.queue.reserve("predict")
        words = _predicting(source, output, self.places.run(run), where)
        about: dict[str, Any] = {"run": run, "total": None, "cases": [], "then": []}
        return self.queue.add(folder, words, device=where, title="predict a scan that was sent", **about)

    def newest(self) -> str | None:
        """The newest run that can predict."""
        runs = [name for name in self.places.run_names() if finished(self.places.runs / name)]
        return runs[-1] if runs else None

    def _follow(self, job: Job) -> None:
        """What a job that is done leads to."""
        if job["state"] != "done":
            return
        if job["kind"] == "rank":
            self._keep_ranking(job)
        then: list[str] = list(job.get("then", []))
        try:
            if then[:1] == ["predict"]:
                self.predict(job["run"], device=job["device"], then=then[1:])
            elif then[:1] == ["rank"]:
                self.rank(run=job["run"], device=job["device"])
        except (DataError, UsageError):  # everything has a label by now, or the queue is full
            return

    def _keep_ranking(self, job: Job) -> None:
        found = result_of(self.places.jobs / job["id"]) or {}
        told = {key: found.get(key) for key in ("strategy", "cases")}
        write_json(self.places.ranking, {**told, "run": job.get("run"), "time": provenance.now()})

    def _next_run(self) -> str:
        taken = [*self.places.run_names(), *(e.name for e in self.places.rounds.glob("round-*"))]
        numbers = [int(match[1]) for name in taken if (match := re.fullmatch(r"round-(\d+)", name))]
        return f"round-{max(numbers, default=0) + 1:03d}"


def _predicting(source: Path, output: Path, model: Path, device: str) -> list[str]:
    return ["predict", "-i", str(source), "-o", str(output), "-m", str(model), "--device", device]


def finished(run: Path) -> bool:
    """Whether a run has a model to predict with."""
    return any((run / "checkpoints" / f"{name}.ckpt").is_file() for name in ("final", "best", "last"))


def minutes_of(text: str | float | None) -> float | None:
    """Minutes of ``20m``, ``1.5h``, ``90s`` or a number of minutes (UsageError: none of these)."""
    if text is None or text == "":
        return None
    match = _TIME.fullmatch(str(text).strip())
    if match is None or not float(match[1]) > 0:
        raise UsageError(f"{text!r} is not a duration", hint="such as 20m, 1.5h or 90s", code="BAD_TIME")
    return float(match[1]) * _MINUTES[match[2]]


def resolved_device(name: str) -> str:
    """The device that a name means here, by which jobs are queued.

    Raises:
        UsageError: not the name of a device.
        DeviceError: a device that this machine does not have.
    """
    if name == "cpu":
        return name
    from semiseg.machine.hardware import select_device

    found = select_device(name)
    return f"cuda:{found.index or 0}" if found.type == "cuda" else found.type
