"""Predict files, folders and DICOM series: label maps in each scan's own grid, and a record of each.

Scans pass three stages: read and prepare, forward passes, finish and write. While the network works on one
scan, a thread prepares the next and another writes the one before. At most
``ahead`` prepared scans wait, and one result is being written, so that memory does not grow with the number
of scans.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from semiseg import images
from semiseg.drawing.notebook import notebook_bar
from semiseg.errors import DataError, plural, unknown_name
from semiseg.images.dicom_results import NEUTRAL
from semiseg.machine.claim import held
from semiseg.machine.files import write_json
from semiseg.prediction.job import PredictionJob, Ready, Task
from semiseg.prediction.model import QUALITY, Model
from semiseg.prediction.record import REPORT_NAME, CaseOutcome, PredictionReport, VolumeTable, dropped_text
from semiseg.prediction.results import Wanted, forms
from semiseg.prediction.scans import InputScan, OverTime, find_scans, join
from semiseg.prediction.structures import read_terminology

log = logging.getLogger("semiseg.prediction")

Progress = Callable[[int, int], None]
"""Called with (scans dealt with, scans in all)."""


def predict(
    inputs: str | Path,
    output: str | Path,
    run: Model | str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = True,
    to: str | Sequence[str] = (),
    overlay: bool = False,
    uncertainty: bool = False,
    save_probabilities: bool = False,
    volumes: str | Path | None = None,
    terminology: Mapping[str, Any] | str | Path | None = None,
    folds: str | Sequence[int] | None = None,
    mirror: bool | None = None,
    quality: str = "balanced",
    precision: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    cases: Collection[str] | None = None,
    allow_code: Collection[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> PredictionReport:
    """Segment scans with a trained model.

    One bad scan does not stop the others: it is listed in ``report.failed``. While the network is busy, the
    next scan is read and prepared, and the one before is written. Every file appears whole or not at all.

    Args:
        inputs: an image, a folder of images (``CASE_0000.nii.gz`` for several channels), a dataset folder
            (its ``imagesTs``), a DICOM file or folder, or a zip of DICOM.
        output: a folder, or one image file when there is one scan. Label maps keep the scan's grid and file
            ending (NIfTI for DICOM); ``CASE.json`` tells how each was made.
        run: a run folder, a checkpoint, a ``model.zip``, several of them (an ensemble), a pattern with ``*``
            that names several, or a loaded model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; for a model that is not loaded yet.
        overwrite: replace what is there. Otherwise files that we did not write are never touched.
        resume: leave scans that the same model has predicted in the same way; False refuses them.
        to: forms of the results: ``nifti``, ``dicom-seg``, ``dicom-labelmap``, ``rtstruct`` (of DICOM series)
            and ``png`` (an overlay); with commas between them, or a list. By default, one label map in the
            scan's own format.
        overlay: also write ``CASE_overlay.png``, the most telling slices with outlines.
        uncertainty: also write ``CASE_entropy.nii.gz``: per voxel the entropy of the probabilities over the
            log of the number of classes, from 0 (certain) to 1 (all classes alike); of PNG and BMP scans a
            16-bit PNG, black to white.
        save_probabilities: also write ``CASE_probabilities.npz``: ``probabilities`` (K, *S) float16 on the
            scan's voxels, ``names`` of the K classes and ``affine``.
        volumes: also write this CSV: a row for each scan, a column for each class in mL (of the true voxel
            volume, also where slices are sheared), mm² of a picture, or pixels.
        terminology: codes of the classes in DICOM results, over what the model has: as
            :mod:`semiseg.dataset.terminology` describes them, or a ``dataset.json`` that has them.
        folds: predict with several folds of a cross-validation, of which ``run`` is one: ``all``, ``0,2`` or
            a list of numbers.
        mirror: average over views mirrored along the axes that the run's training mirrored, and no others;
            None as the run was configured.
        quality: ``balanced`` (as validated) or ``best`` (with ``mirror``).
        precision: auto, 32, bf16 or 16; for a model that is not loaded yet.
        overrides: keys of the ``inference`` section, strongest.
        cases: ids of the scans to predict; None for all that are there.
        allow_code: modules that may be imported where a checkpoint names a network of other code; for a model
            that is not loaded yet.
        workers: scans read and prepared ahead, each in a thread (default 1; 0 does one thing after another).
        progress: called after every scan with (scans dealt with, scans in all).

    Returns:
        What became of each scan; ``report.failed`` lists those that could not be predicted.

    Raises:
        UsageError: paths or options that cannot be meant, a model that cannot be used.
        DataError: nothing to predict, or no scan of a name in ``cases``.
        DeviceError: the device is missing, or one window does not fit into its memory.
    """
    began = time.monotonic()
    progress = progress or notebook_bar("predict")
    if quality not in QUALITY:
        raise unknown_name("quality", quality, QUALITY)
    wanted = Wanted(forms(to), uncertainty, save_probabilities, overlay)
    table = None if volumes is None else VolumeTable(Path(volumes), overwrite=overwrite)
    if isinstance(run, Model):
        model = run
    else:
        model = Model.load(run, device, precision=precision, allow_code=allow_code, folds=folds)
    if terminology is not None:
        model = model.with_terminology(read_terminology(terminology, model.structures))
    tell_neutral(model, wanted)
    changed = QUALITY[quality] | ({} if mirror is None else {"mirror": mirror}) | dict(overrides or {})
    model = model.with_settings(**changed)
    tell_unmirrored(model)
    job = PredictionJob(model, wanted)
    inputs, output = Path(inputs), Path(output)
    tasks = job.lay_out(_chosen(find_scans(inputs, job.channels), cases, inputs), inputs, output)
    single = images.ending_of(output) is not None and not output.is_dir()
    with held(output, "-o", beside=single):
        results = job.skip_finished(tasks, overwrite=overwrite, resume=resume)
        finished = False

        def done(task: Task, result: CaseOutcome) -> None:
            results[task] = result
            if progress is not None:
                progress(len(results), len(tasks))

        try:
            run_all(job, [t for t in tasks if t not in results], 1 if workers is None else workers, done)
            finished = True
            for place in join([film for task in tasks if (film := _frame(task, results[task]))]):
                log.info("all frames in one file: %s", place)
        finally:
            told = [results[task] for task in tasks if task in results]
            seconds = time.monotonic() - began
            report = PredictionReport(
                output, job.model_dict, job.options, job.device, told, seconds, not finished
            )
            if images.ending_of(output) is None:
                write_json(output / REPORT_NAME, report.as_dict())
            if table is not None:
                table.write(report, list(model.structures))
            tell_unlike(report)
            tell_dropped(report)
    return report


def _frame(task: Task, result: CaseOutcome) -> tuple[OverTime, Path, Path] | None:
    """What :func:`join` needs to know of a predicted frame; None of others."""
    labels = task.outputs.files().get("labels")
    if task.scan.over_time is None or labels is None or result.status == "failed":
        return None
    return task.scan.over_time, labels, task.scan.files[0]


def tell_unlike(report: PredictionReport) -> None:
    """A line for each kind of difference to the training scans, with how many scans and an example."""
    for kind, cases in report.unlike.items():
        first = cases[0]
        text = next(one["text"] for one in first.unlike if one["kind"] == kind)
        told = f"{first.id}: {text}"
        if len(report.cases) == 1:
            log.warning("unlike the training scans in %s: %s", kind, told)
        else:
            count = f"{len(cases)} of {len(report.cases)} scans"
            log.warning("%s unlike the training scans in %s, such as %s", count, kind, told)


def tell_dropped(report: PredictionReport) -> None:
    """A line where much of a class of one piece was dropped, with how many scans and an example."""
    if cases := [case for case in report.cases if case.dropped]:
        text = dropped_text(*next(iter(cases[0].dropped.items())))
        log.warning(
            "look at %d of %s, such as %s: %s",
            *(len(cases), plural(len(report.cases), "scan"), cases[0].id, text),
        )


def tell_neutral(model: Model, wanted: Wanted) -> None:
    """A line where DICOM results name classes of which no code is known."""
    neutral = [name for name in model.structures if name not in model.plan.terminology]
    if wanted.dicom and neutral:
        log.warning(
            "no DICOM codes for %s: written as %s; `terminology` of dataset.json or --terminology has them",
            ", ".join(neutral),
            " ".join(NEUTRAL),
        )


def tell_unmirrored(model: Model) -> None:
    """A line where mirrored views are asked for and some network has never seen any."""
    without = [member for member in model.members if not member.mirrored]
    if model.settings.mirror and without:
        who = "this model was" if len(model.members) == 1 else f"{len(without)} of {len(model.members)} were"
        log.warning("%s trained without mirrored images: no mirrored views are averaged there", who)


def _chosen(scans: list[InputScan], cases: Collection[str] | None, inputs: Path) -> list[InputScan]:
    if cases is None:
        return scans
    if missing := sorted(set(cases) - {scan.id for scan in scans}):
        raise DataError(
            f"no scan {missing[0]} in {inputs}",
            hint="name cases by their file names, without channel number and ending",
            code="NO_SCANS",
            details={"missing": missing},
        )
    return [scan for scan in scans if scan.id in set(cases)]


Done = Callable[[Task, CaseOutcome], None]
"""Told once for each scan, in order, from the thread that called :func:`run_all`."""


def run_all(job: PredictionJob, tasks: Sequence[Task], ahead: int, done: Done) -> None:
    """Predict scans. What goes wrong with one of them is in its result and stops no other.

    After an interrupt the result that is being written is finished, and told like the others.

    Raises:
        DeviceError: the device cannot do it, so that the next scan would fail alike.
    """
    if ahead < 1:
        for task in tasks:
            done(task, job.finish(task, job.infer(task, partial(job.prepare, task))))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        writing = _Writing(done)
        try:
            for task, ready in _prepared(job, tasks, ahead):
                writing.collect(wait_for=0)
                inferred = job.infer(task, ready)
                writing.collect(wait_for=1)
                writing.add(task, pool.submit(job.finish, task, inferred))
            writing.collect(wait_for=1)
        finally:
            writing.settle()


class _Writing:
    """The results that are being finished and written: none or one."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._waiting: deque[tuple[Task, Future[CaseOutcome]]] = deque()

    def add(self, task: Task, future: Future[CaseOutcome]) -> None:
        self._waiting.append((task, future))

    def collect(self, wait_for: int) -> None:
        """Tell of results that are there, and of ``wait_for`` that may still have to come."""
        while self._waiting and (wait_for > 0 or self._waiting[0][1].done()):
            task, future = self._waiting[0]
            wait([future])  # an interrupt here leaves it in the row
            self._waiting.popleft()
            wait_for -= 1
            self._done(task, future.result())

    def settle(self) -> None:
        """After an error elsewhere: let what has begun be whole, and tell of it."""
        for task, future in self._waiting:
            if future.exception() is None:
                self._done(task, future.result())
        self._waiting.clear()


def _prepared(
    job: PredictionJob, tasks: Sequence[Task], ahead: int
) -> Iterator[tuple[Task, Callable[[], Ready]]]:
    """Each task with a call that gives its input (or raises), once; the next ones are being prepared."""
    waiting: deque[tuple[Task, list[Future[Ready]]]] = deque()
    rest = iter(tasks)
    with ThreadPoolExecutor(ahead, thread_name_prefix="read") as pool:
        try:
            while True:
                while len(waiting) <= ahead and (task := next(rest, None)) is not None:
                    waiting.append((task, [pool.submit(job.prepare, task)]))
                if not waiting:
                    return
                task, held = waiting.popleft()
                yield task, partial(_taken, held)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _taken(held: list[Future[Ready]]) -> Ready:
    """The input of a scan; nothing here refers to it afterwards, so that its memory is free after its use."""
    return held.pop().result()
