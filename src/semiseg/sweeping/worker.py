"""What happens where a cell is worked at: claim it, train, predict, score, write down how it ended.

``python -m semiseg.sweeping.worker SWEEP/cells CELL`` does so in a process of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from semiseg.errors import (
    DeviceError,
    Interrupted,
    PartialError,
    SemisegError,
    UsageError,
    as_semiseg_error,
    is_out_of_memory,
    plural,
)
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.tables import write
from semiseg.machine.worker import serve
from semiseg.prediction.predict import predict
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.settings.resolve import validate
from semiseg.sweeping.grid import Scoring, SweepCell
from semiseg.sweeping.ledger import CellState, Ledger, as_error_dict
from semiseg.training.train import train


def work(cells: Path, cell_id: str, device: str = "auto", threads: int = 0) -> None:
    """Run a cell and write down how it ended; nothing where another process has it or has finished it.

    Scans are prepared and scored by as many processes as there are ``threads``.

    Raises:
        Interrupted: stopped; the cell can be gone on with.
    """
    folder = cells.parent
    ledger = Ledger(folder)
    entry = ledger.must_read(cell_id)
    with ledger.claim(entry.cell) as claim:
        if not claim.mine:
            return
        entry = ledger.must_read(cell_id)
        if entry.state == "done":
            return
        entry = entry.started(device)
        ledger.write(entry)
        began, share = time.monotonic(), share_done(folder, entry.cell)

        def end(state: Any, **more: Any) -> None:
            trained = max(share_done(folder, entry.cell) - share, 0.0)
            ledger.write(entry.ended(state, time.monotonic() - began, trained, **more))

        _guarded(entry, folder, end, device=device, workers=threads if threads > 1 else 0)


def _guarded(entry: CellState, folder: Path, end: Callable[..., None], *, device: str, workers: int) -> None:
    """Run a cell and call ``end`` with the state that it is in then."""
    try:
        result = run_cell(entry.cell, folder, device=device, workers=workers)
    except (Interrupted, KeyboardInterrupt):
        end("waiting")
        raise Interrupted(f"{entry.cell.title}: stopped") from None
    except Exception as error:
        known = as_semiseg_error(error)
        log = logging.getLogger("semiseg.sweep")
        log.error("%s failed: %s", entry.cell.title, known.message, exc_info=known is not error)
        end("dead" if is_passing(error) else "failed", error=as_error_dict(known))
    else:
        end("done", result=result)


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: memory ran out, a device or a disk failed, another command was there."""
    if isinstance(error, SemisegError) and error.code == "IN_USE":
        return True
    return isinstance(error, DeviceError | OSError) or is_out_of_memory(error)


METRICS = ("Dice", "HD95", "HD95Max", "ASD")
"""Whose means the ledger keeps; every metric of every case is in ``metrics.csv``."""


def run_cell(
    cell: SweepCell,
    folder: Path,
    *,
    device: str = "auto",
    workers: int = 0,
) -> dict[str, float | None]:
    """Bring a cell to its end; whatever is there already is used.

    Returns:
        Metric -> mean over the foreground classes; None where it is not defined.

    Raises:
        Interrupted: stopped while training; the state has been saved.
        PartialError: some cases could not be predicted or compared.
        SemisegError: anything else that a user can mend.
    """
    config = validate(cell.config)
    run = train(
        cell.root,
        config,
        run=folder / cell.place,
        device=device,
        workers=workers,
        resume=True,
        listeners=(),
    )
    scoring, scores = cell.scoring, folder / cell.scores
    if scoring.score == "test":  # validation cases were predicted at the end of the training
        _predict(run, scoring, scores, device, config)
    evaluation = evaluate_folders(
        scoring.labels,
        scores,
        dataset=cell.root,
        convention=scoring.convention,
        nsd_tolerance_mm=scoring.nsd_tolerance,
        cases=scoring.cases,
        workers=max(workers, 1),
    )
    write(evaluation, scores)
    problem = evaluation.problem()
    if problem is not None:
        raise problem
    means = {metric: evaluation.mean(metric) for metric in METRICS}
    return {metric: mean if mean == mean else None for metric, mean in means.items()}


def _predict(run: Run, scoring: Scoring, scores: Path, device: str, config: Config) -> None:
    """Predict the cases that are not there yet, or were predicted otherwise (PartialError: some failed)."""
    named = [config.network.name, *map(str, config.method.options.values())]
    allowed = [name.partition(":")[0] for name in named if ":" in name]  # by the sweep's author
    call = partial(
        predict, scoring.images, scores, run.folder, device=device, cases=scoring.cases, allow_code=allowed
    )
    try:
        report = call()
    except UsageError as error:
        if error.code != "OUTPUT_EXISTS":
            raise
        report = call(overwrite=True)
    if report.failed:
        first = report.failed[0]
        raise PartialError(
            f"{len(report.failed)} of {plural(len(report.cases), 'scan')} could not be predicted; "
            f"{first.id}: {(first.error or {}).get('message', '')}",
            hint=f"{scores / 'prediction_report.json'} lists every failure",
            code="CASES_FAILED",
        )


def share_done(folder: Path, cell: SweepCell) -> float:
    """The share of a cell's training that is done, by the last line of its run's ``events.jsonl``."""
    path = folder / cell.place / "events.jsonl"
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - 8192, 0))
            lines = stream.read().splitlines()
        return min(float(json.loads(lines[-1])["step"]) / cell.iterations, 1.0)
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def shares_done(folder: Path, cells: Iterable[SweepCell]) -> dict[str, float]:
    """Cell id -> :func:`share_done`."""
    return {cell.id: share_done(folder, cell) for cell in cells}


if __name__ == "__main__":
    sys.exit(serve(work))
