"""One cell from wherever it was to its scores: train, predict the cases to be scored, compare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from semiseg.config import Config
from semiseg.engine.events import Listener
from semiseg.errors import PartialError, UsageError
from semiseg.evaluation import evaluate_folders
from semiseg.experiment import train
from semiseg.prediction import predict
from semiseg.resolve import validate
from semiseg.run import Run
from semiseg.sweeping.cells import Cell, Scoring

METRICS = ("Dice", "HD95", "ASD")
"""Whose means the ledger keeps; every metric of every case is in ``metrics.csv``."""


def run_cell(
    cell: Cell, folder: Path, *, device: str = "auto", workers: int = 0, listeners: Sequence[Listener] = ()
) -> dict[str, float | None]:
    """Bring a cell to its end; whatever is there already is used.

    Args:
        cell: what is wanted.
        folder: of the sweep.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: processes that preprocess, threads that compare.
        listeners: told about the training.

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
        run_folder=folder / cell.place,
        device=device,
        workers=workers,
        resume=True,
        listeners=listeners,
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
    evaluation.save(scores)
    problem = evaluation.problem()
    if problem is not None:
        raise problem
    means = {metric: evaluation.mean(metric) for metric in METRICS}
    return {metric: mean if mean == mean else None for metric, mean in means.items()}


def _modules(config: Config) -> list[str]:
    """Modules of the networks that the sweep's author named: their code may run."""
    named = [config.network.name, *map(str, config.method.options.values())]
    return [module for module, colon, _ in (name.partition(":") for name in named) if colon]


def _predict(run: Run, scoring: Scoring, scores: Path, device: str, config: Config) -> None:
    """Predict the cases that are not there yet; those that were predicted otherwise are predicted anew.

    Raises:
        PartialError: some could not be predicted.
    """
    call = partial(
        predict,
        scoring.images,
        scores,
        run.folder,
        device=device,
        cases=scoring.cases,
        allow_code=_modules(config),
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
            f"{len(report.failed)} of {len(report.cases)} scans could not be predicted; "
            f"{first.id}: {(first.error or {}).get('message', '')}",
            hint=f"{scores / 'prediction_report.json'} lists every failure",
            code="CASES_FAILED",
        )
