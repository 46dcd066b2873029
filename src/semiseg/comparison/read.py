"""One run folder read as scores, or why it has none.

From what a user names (run folders, their parents, sweeps) to runs with scores and missing cells.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.comparison.result import Bound, Cost, Floats, MissingCell, RunScores, Source
from semiseg.errors import SemisegError, UsageError, near_path
from semiseg.evaluation import conventions
from semiseg.evaluation.case import METRICS
from semiseg.evaluation.tables import damaged_scores
from semiseg.machine.files import read_json
from semiseg.prediction.members import ENSEMBLE, members_of, trained_plan
from semiseg.preparation.plan import Plan
from semiseg.runs.log import read_metrics
from semiseg.runs.run import Run, load_run
from semiseg.runs.score import to_score

log = logging.getLogger("semiseg.compare")

SOURCES: tuple[Source, ...] = ("test", "held-out", "validation")

ALWAYS = ("Dice", "Jaccard")
"""Metrics of every evaluation; the columns of others are blank where they were not asked for."""


def read_run(
    folder: Path, *, variant: str = "", bound: Bound | None = None, scores: Path | None = None
) -> RunScores | MissingCell:
    """The scores of a run: those in ``test``, else in ``held_out`` (of a fold), else in ``validation``.

    Of a run without scores: why it has none, and the command that would give it some. The keywords are what
    a sweep says of it beside its folder.

    Raises:
        UsageError: not a run folder, or one with damaged files.
    """
    run = load_run(folder)
    places = {source: folder / source.replace("-", "_") for source in SOURCES}
    places["test"] = scores or places["test"]
    for source in SOURCES:
        if (places[source] / "summary.json").is_file():
            try:
                return _scored(run, source, places[source], variant, bound)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                raise _unusable(run, places[source], error) from None
    return _unscored(run, variant)


def _scored(run: Run, source: Source, place: Path, variant: str, bound: Bound | None) -> RunScores:
    summary = _summary(place / "summary.json")
    classes = tuple(summary["labels"])
    cases, scores = _table(place / "metrics.csv", classes)
    manifest, config = run.manifest, run.config
    curve = tuple(read_metrics(run.folder))
    entries = [entry for entry in summary["metric_per_case"] if "case" in entry]
    if {entry["case"] for entry in entries} != set(cases):
        raise damaged_scores(place / "metrics.csv", ValueError("its cases are not those of summary.json"))
    return RunScores(
        folder=run.folder,
        dataset=str(manifest["dataset"]),
        method=config.method.name,
        variant=variant,
        network=config.network.name,
        recipe=config.recipe,
        labeled=int(manifest["labeled"]),
        fold=config.data.fold,
        seed=config.train.seed,
        iterations=int((manifest.get("sessions") or [{"step": 0}])[-1]["step"]),
        source=source,
        cases=cases,
        classes=classes,
        scores=scores,
        convention=summary["convention"],
        nsd_tolerance_mm=float(summary["nsd_tolerance_mm"]),
        unit=str(summary.get("unit") or conventions.find(summary["convention"]).unit),
        config=config.model_dump(mode="json"),
        plan=_plan(run).model_dump(mode="json"),
        manifest=manifest,
        split=run.split,
        curve=curve,
        cost=_cost(manifest, curve),
        predictions=place,
        files={
            entry["case"]: (entry.get("reference_file"), entry.get("prediction_file")) for entry in entries
        },
        bound=bound,
        notices=_notices(summary),
    )


def _plan(run: Run) -> Plan:
    """The plan of the training; the checkpoint has it where ``plan.json`` was changed since."""
    plan = run.plan
    if run.manifest.get("plan_sha256", plan.sha256()) == plan.sha256():
        return plan
    try:
        return trained_plan(run.folder)
    except SemisegError as error:
        log.warning(
            "%s was changed after the training, and is used: %s", run.folder / "plan.json", error.message
        )
        return plan


def _summary(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
        for key in ("labels", "convention", "nsd_tolerance_mm", "metric_per_case"):
            content[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged_scores(path, error) from None
    return dict(content)


def _table(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """The cases of a ``metrics.csv`` and metric -> (cases, classes); an empty field is NaN."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        if not text.endswith("\n") or any(None in row or None in row.values() for row in rows):
            raise ValueError("it is cut off, or some line is")
        cases = tuple(dict.fromkeys(row["case"] for row in rows))
        place = {(case, label): (i, k) for i, case in enumerate(cases) for k, label in enumerate(classes)}
        scores = {m: np.full((len(cases), len(classes)), np.nan) for m in METRICS if rows and m in rows[0]}
        for row in rows:
            for metric, values in scores.items():
                values[place[row["case"], row["class"]]] = float(row[metric] or "nan")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise damaged_scores(path, error) from None
    measured = (m for m, values in scores.items() if m in ALWAYS or not np.isnan(values).all())
    return cases, {metric: scores[metric] for metric in measured}


def _unusable(run: Run, scores: Path, error: Exception) -> UsageError:
    what = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
    return UsageError(
        f"{run.folder} has a damaged manifest.json or {scores.name}/summary.json ({what})",
        hint="restore the file, score the predictions again, or compare without this run",
        code="BAD_RUN",
    )


def _cost(manifest: Mapping[str, Any], curve: Sequence[Mapping[str, str | float]]) -> Cost:
    speeds = [float(row["iterations_per_second"]) for row in curve if row.get("iterations_per_second")]
    sessions = manifest.get("sessions") or []
    # Of the device where there is one, else of the process.
    memory = [float(s.get("device_memory_gb") or s.get("memory_gb") or 0) for s in sessions]
    return Cost(
        step_seconds=float(np.median(1 / np.array(speeds))) if speeds and min(speeds) > 0 else math.nan,
        minutes=sum(session["seconds"] for session in sessions) / 60 if sessions else math.nan,
        memory_gb=max(memory, default=0) or math.nan,
        parameters=float(manifest.get("parameters") or "nan"),
    )


def _notices(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What the evaluation had to say; every case that it could not score by name."""
    lost = dict(summary.get("failed") or {})
    lost |= {case: "no prediction" for case in summary.get("missing") or () if case not in lost}
    return (*(f"{case}: {why}" for case, why in lost.items()), *(summary.get("notices") or ()))


def _unscored(run: Run, variant: str) -> MissingCell:
    config, manifest = run.config, run.manifest
    reason, command = _next_step(run, manifest)
    return MissingCell(
        dataset=str(manifest.get("dataset", "")),
        name=variant or config.method.name,
        labeled=manifest.get("labeled"),
        fold=config.data.fold,
        seed=config.train.seed,
        reason=reason,
        command=command,
        folder=run.folder,
    )


def _next_step(run: Run, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Why a run has no scores, and the command to type."""
    if "dataset" not in manifest:
        return "training has not started", ""
    if not run.finished:
        step = (manifest.get("sessions") or [{}])[-1].get("step", 0)
        command = str(manifest.get("command", ""))
        again = f"{command.removesuffix(' --resume')} --resume" if command.startswith("semiseg ") else ""
        return f"training is not finished (iteration {step})", again
    predicting, scoring = to_score(run.folder, str(manifest["dataset"]))
    if any(path.suffix not in (".json", ".csv") for path in (run.folder / "test").glob("*.*")):
        return "predicted, but not scored", scoring  # label maps of any format
    return "no scores", f"{predicting} && {scoring}"


LEDGER = "sweep.json"


class Collected(NamedTuple):
    """What was found."""

    runs: tuple[RunScores, ...]
    missing: tuple[MissingCell, ...]


def collect(paths: Iterable[Path]) -> Collected:
    """Read every run in or below the paths; a run that is named twice counts once.

    Raises:
        UsageError: a path that does not exist or holds no run, or damaged files.
    """
    found: dict[object, RunScores | MissingCell] = {}
    for path in paths:
        for folder, item in _entries(path):
            found.setdefault(object() if folder is None else folder.resolve(), item)
    runs = tuple(item for item in found.values() if isinstance(item, RunScores))
    return Collected(runs, tuple(item for item in found.values() if isinstance(item, MissingCell)))


def _entries(path: Path) -> Iterator[tuple[Path | None, RunScores | MissingCell]]:
    """(run folder if there is one, run or missing cell) of everything in or below a path."""
    if not path.exists():
        near = near_path(path)
        raise UsageError(
            f"{path} does not exist" + (f".{near}" if near else ""),
            hint="give run folders, their parent, or a sweep",
            code="NOT_FOUND",
        )
    places = [path.parent] if path.name == LEDGER else list(_places(path))
    if not places:
        raise UsageError(
            f"no run in {path}: no folder below it has a config.yaml and a manifest.json",
            hint="give the folder that `semiseg train` printed, or one above it",
            code="NO_RUNS",
        )
    for place in places:
        if (place / LEDGER).is_file():
            yield from _of_sweep(place)
        else:
            yield place, read_run(place)


def _places(path: Path) -> Iterator[Path]:
    """Sweeps and run folders in or below a folder, and folds of a cross-validation there; nothing inside of a
    sweep or run is looked at again.
    """
    for root, folders, files in os.walk(path):
        if ENSEMBLE in files:
            yield from (member for member in members_of(Path(root)) if member.is_dir())
        if LEDGER in files or {"config.yaml", "manifest.json"} <= set(files):
            folders.clear()
            yield Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _of_sweep(sweep: Path) -> Iterator[tuple[Path | None, RunScores | MissingCell]]:
    for cell in _cells(sweep / LEDGER):
        folder = sweep / cell["run"] if cell.get("run") else None
        if cell["state"] != "done" or folder is None or not folder.is_dir():
            yield None, _missing_cell(sweep, cell)
            continue
        scores = sweep / cell["scores"] if cell.get("scores") else None
        yield folder, read_run(folder, variant=cell["variant"], bound=cell.get("bound"), scores=scores)


def _missing_cell(sweep: Path, cell: Mapping[str, Any]) -> MissingCell:
    error = cell.get("error") or {}
    why = f": {error['message']}" if error.get("message") else ""
    state = cell["state"] if cell["state"] != "done" else "done, but its run folder is gone"
    return MissingCell(
        dataset=cell["dataset"],
        name=cell["variant"],
        labeled=cell["labeled"],
        fold=cell["fold"],
        seed=cell["seed"],
        reason=f"{state}{why}",
        command=f"semiseg sweep {shlex.quote(str(sweep / 'spec.yaml'))}",
        folder=sweep / cell["run"] if cell.get("run") else None,
    )


def _cells(ledger: Path) -> list[dict[str, Any]]:
    try:
        cells = list(read_json(ledger)["cells"])
        for cell in cells:
            for key in ("dataset", "variant", "labeled", "fold", "seed", "state"):
                cell[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read the sweep {ledger}: {error}",
            hint="`semiseg sweep SPEC.yaml` writes it again",
            code="BAD_SWEEP",
        ) from None
    return cells
