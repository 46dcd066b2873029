"""From a few labeled and many unlabeled scans to a trained, honestly evaluated segmentation model.

``semiseg.train(dataset, method="mean_teacher", labeled=8)`` trains, ``semiseg.predict(inputs, output, run)``
uses what was trained, ``semiseg.evaluate(reference, prediction)`` scores it. Nothing heavy is imported
before it is needed.

The commands as functions: the same defaults, the same errors, no printing but log lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.__about__ import __version__

if TYPE_CHECKING:
    from semiseg.advice.advise import Advice
    from semiseg.comparison.result import Comparison
    from semiseg.core import Method
    from semiseg.dataset.check import Report
    from semiseg.dataset.dataset import Dataset
    from semiseg.errors import SemisegError
    from semiseg.evaluation.results import Evaluation
    from semiseg.prediction.model import Model
    from semiseg.prediction.record import PredictionReport
    from semiseg.preparation.plan import Plan
    from semiseg.preparation.planner import make_plan
    from semiseg.runs.events import Listener
    from semiseg.runs.run import Run, load_run
    from semiseg.settings.config import Config
    from semiseg.sweeping.board import Board
    from semiseg.sweeping.run import Outcome
    from semiseg.tuning.verdict import Tuned

__all__ = [
    "Config",
    "Dataset",
    "Method",
    "Model",
    "Plan",
    "Run",
    "SemisegError",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "load_run",
    "make_plan",
    "predict",
    "recommend",
    "sweep",
    "train",
    "tune",
]

_HOMES = {
    "Config": "settings.config",
    "Dataset": "dataset.dataset",
    "Method": "core",
    "Model": "prediction.model",
    "Plan": "preparation.plan",
    "Run": "runs.run",
    "SemisegError": "errors",
    "load_run": "runs.run",
    "make_plan": "preparation.planner",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semiseg' has no attribute {name!r}")
    return getattr(import_module(f"semiseg.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def train(
    dataset: str | Path | Dataset,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    max_time: float | None = None,
    config: Path | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    plan: Path | None = None,
    runs: str | Path = "runs",
    run: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
) -> Run:
    """``semiseg train`` as a function.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        method: see ``semiseg methods``.
        network: see ``semiseg networks``; None is the one that the plan sized.
        recipe: settings by name, or a YAML file of that shape.
        labeled: use so many labeled cases; the others become unlabeled.
        labeled_patients: the same counted in patients.
        fold: of the split file.
        seed: of everything random.
        iterations: length of the training; None is chosen for the device.
        max_time: minutes after which the run saves and ends.
        config: a YAML file.
        settings: other settings, ``{"optimizer.lr": 1e-3}`` or ``["optimizer.lr=1e-3"]``.
        plan: a ``plan.json`` to use instead of making one.
        runs: parent of the run folders.
        run: exactly this run folder, instead of ``runs``.
        device: auto, cpu, cuda, cuda:N or mps.
        devices: processes.
        workers: processes that preprocess.
        resume: go on with an interrupted run.
        overwrite: replace an earlier run.
        listeners: called with every event, such as ``semiseg.runs.console.Console()``.
        dry_run: one iteration, no run folder.

    Raises:
        SemisegError: whatever the caller can mend; the message says what, the hint says how.
    """
    from semiseg.settings.resolve import resolve
    from semiseg.training.train import train as run_training

    flags = {
        "method.name": method,
        "network.name": network,
        "data.labeled": labeled,
        "data.labeled_patients": labeled_patients,
        "data.fold": fold,
        "train.seed": seed,
        "train.iterations": iterations,
        "train.max_time": max_time,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    if isinstance(settings, Mapping):
        given, settings = {**settings, **given}, ()
    return run_training(
        dataset,
        resolve(recipe=recipe, file=config, settings=settings, flags=given),
        runs=Path(runs),
        run_folder=None if run is None else Path(run),
        plan_file=plan,
        device=device,
        devices=devices,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        listeners=listeners,
        dry_run=dry_run,
    )


def tune(
    dataset: str | Path | Dataset,
    *,
    method: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    trials: int = 30,
    minutes: float | None = None,
    iterations: int | None = None,
    folds: int | None = None,
    metric: str = "Dice",
    space: Mapping[str, Any] | Iterable[str] = (),
    only: Sequence[str] = (),
    config: Path | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    plan: Path | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    workers: int = 1,
    **options: Any,
) -> Tuned:
    """``semiseg tune`` as a function: search a method's hyperparameters on folds of the labeled cases.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        method: see ``semiseg methods``.
        recipe: as for :func:`train`, like the next four and ``config``, ``settings``, ``plan``.
        labeled: use so many labeled cases.
        labeled_patients: the same counted in patients.
        fold: of the split file.
        seed: of the trainings and of the search.
        trials: in all, those of earlier sessions too.
        minutes: after which no further trial is begun.
        iterations: of each training; None is as for :func:`train`.
        folds: of the labeled cases; None is 4, or as many as there are cases.
        metric: ``Dice``, ``HD95``, ..., or of one class, ``Dice/CLASS``.
        space: ``{"weight": "0.1:10:log"}`` or ``["weight=0.1:10:log"]``.
        only: names; no others are searched.
        config: a YAML file.
        settings: other settings.
        plan: a ``plan.json`` to use.
        output: the tuning folder; None is a folder among ``runs``.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: trials at a time; several are processes.
        options: ``resume``, ``overwrite``, ``force``, ``prune`` as of :func:`semiseg.tuning.tune.tune`.

    Returns:
        The trials and the choice; ``tuned.best_file`` is for ``train(config=...)``.

    Raises:
        SemisegError: whatever the caller can mend.
    """
    from semiseg.dataset.dataset import Dataset as Opened
    from semiseg.machine.hardware import cores, select_device
    from semiseg.settings.resolve import resolve
    from semiseg.tuning.outline import outline
    from semiseg.tuning.tune import folder_of
    from semiseg.tuning.tune import tune as run_tuning

    flags = {
        "method.name": method,
        "data.labeled": labeled,
        "data.labeled_patients": labeled_patients,
        "data.fold": fold,
        "train.seed": seed,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    if isinstance(settings, Mapping):
        given, settings = {**settings, **given}, ()
    planned = outline(
        dataset if isinstance(dataset, Opened) else Opened.open(dataset),
        resolve(recipe=recipe, file=config, settings=settings, flags=given),
        space=[f"{name}={text}" for name, text in space.items()]
        if isinstance(space, Mapping)
        else list(space),
        only=only,
        metric=metric,
        iterations=iterations,
        folds=folds,
        plan_file=plan,
        device=str(select_device(device)),
        workers=cores(),
    )
    folder = Path(output) if output is not None else folder_of(planned, Path("runs"))
    return run_tuning(planned, folder, trials=trials, minutes=minutes, workers=workers, **options)


def predict(
    inputs: str | Path, output: str | Path, run: str | Path | Sequence[str | Path], **options: Any
) -> PredictionReport:
    """``semiseg predict`` as a function; ``options`` are those of :func:`semiseg.prediction.predict.predict`.

    Args:
        inputs: an image, a folder of images or of DICOM, a zip.
        output: a folder, or one file for one scan.
        run: a run folder or checkpoint; several make an ensemble.
        options: ``device``, ``uncertainty``, ``quality``, ``overwrite`` and so on.

    Returns:
        What became of each scan; ``report.failed`` lists those that could not be predicted.
    """
    from semiseg.prediction.predict import predict as run_prediction

    return run_prediction(inputs, output, run, **options)


def evaluate(reference: str | Path, prediction: str | Path, **options: Any) -> Evaluation:
    """``semiseg evaluate`` as a function.

    Args:
        reference: a folder of label maps, or one.
        prediction: the same for the predictions.
        options: ``dataset``, ``labels``, ``convention``, ``distances`` and so on, as in
            :func:`semiseg.evaluation.evaluate.evaluate_folders`.

    Returns:
        The scores; ``semiseg.evaluation.write(scores, folder)`` writes them.
    """
    from semiseg.evaluation.evaluate import evaluate_folders

    return evaluate_folders(reference, prediction, **options)


def compare(
    *runs: str | Path,
    metric: str = "Dice",
    baseline: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """``semiseg compare`` as a function.

    Args:
        runs: run folders, folders above run folders, or sweeps.
        metric: what is tested and ranked: Dice, Jaccard, NSD, HD95, ASD, ASDReverse or ASSD.
        baseline: the name of the arm that all others are tested against; None is supervised training with
            the same labels.
        alpha: level of the tests; intervals have 1 - alpha.
        seed: of the bootstrap.

    Returns:
        The comparison; ``semiseg.comparison.write(comparison, folder)`` writes it, and runs without scores
        are in ``missing``.
    """
    from semiseg.comparison.compare import compare as run_comparison

    return run_comparison(runs, metric=metric, baseline=baseline, alpha=alpha, seed=seed)


def check(dataset: str | Path, **options: Any) -> Report:
    """``semiseg check`` as a function; ``options`` as in :func:`semiseg.dataset.check.check`.

    Args:
        dataset: a folder, or a name or number under ``SEMISEG_DATA``.
        options: ``fix``, ``workers``, ``progress``.
    """
    from semiseg.dataset.check import check as run_check

    return run_check(dataset, **options)


def sweep(
    spec: str | Path | Mapping[str, Any],
    *,
    runs: str | Path = "runs",
    folder: str | Path | None = None,
    on: str = "local",
    devices: str = "auto",
    workers: int | None = None,
    retry_failed: bool = False,
    watch: Callable[[Board], None] | None = None,
) -> Outcome:
    """``semiseg sweep`` as a function: methods x labels x seeds x datasets, each trained and scored once.

    Args:
        spec: a YAML file, a sweep folder, or what such a file holds.
        runs: parent of the sweep folder.
        folder: exactly this sweep folder, instead of ``runs``.
        on: ``local``, ``ray``, ``ray://HOST:PORT`` or ``slurm``.
        devices: ``auto``, ``cpu``, or a list such as ``cuda:0,cuda:1``.
        workers: cells at a time; None for what suits the devices; 0 runs them in this process.
        retry_failed: also run the cells that failed before.
        watch: told how far it is, about once a second.

    Returns:
        What became of every cell; ``outcome.problem()`` is the error to raise when some are not done.
    """
    from semiseg.sweeping.executors import make_executor
    from semiseg.sweeping.run import run_sweep
    from semiseg.sweeping.spec import as_spec, read_spec

    wanted = as_spec(spec) if isinstance(spec, Mapping) else read_spec(Path(spec))
    stored = not isinstance(spec, Mapping) and Path(spec).is_dir()
    place = Path(folder) if folder else Path(str(spec)) if stored else Path(runs) / wanted.name
    return run_sweep(
        wanted,
        place,
        lambda: make_executor(
            on, workers=workers, devices=devices, options={"slurm": wanted.slurm, "ray": wanted.ray}
        ),
        where="spec" if isinstance(spec, Mapping) else str(spec),
        retry_failed=retry_failed,
        watch=watch or (lambda board: None),
    )


def recommend(
    dataset: str | Path | Dataset,
    *,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    memory_gb: float | None = None,
    minutes: float | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    device: str = "auto",
    workers: int = 0,
) -> Advice:
    """``semiseg recommend`` as a function: which method to train first.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        labeled: use so many labeled cases.
        labeled_patients: the same counted in patients.
        memory_gb: what a run may use; None is what is free.
        minutes: what a run may take; None is as long as it takes.
        settings: other settings, as for :func:`train`.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: processes that measure the images.

    Returns:
        The ranking; ``advice.first`` is the first choice, ``advice.commands`` what to type.
    """
    from semiseg.advice.advise import advise
    from semiseg.dataset.dataset import Dataset as Opened
    from semiseg.settings.resolve import resolve

    wanted = {"data.labeled": labeled, "data.labeled_patients": labeled_patients}
    flags = {key: value for key, value in wanted.items() if value is not None}
    if isinstance(settings, Mapping):
        flags, settings = {**settings, **flags}, ()
    if device != "cpu":
        from semiseg.machine.hardware import select_device

        device = str(select_device(device))
    opened = dataset if isinstance(dataset, Opened) else Opened.open(dataset)
    words = [str(opened.root)]
    for flag, value in (("--labeled", labeled), ("--labeled-patients", labeled_patients)):
        words += [] if value is None else [flag, str(value)]
    return advise(
        opened,
        resolve(settings=settings, flags=flags),
        device=device,
        memory_gb=memory_gb,
        minutes=minutes,
        workers=workers,
        flags=words,
    )
