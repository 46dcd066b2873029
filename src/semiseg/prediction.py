"""Predict files, folders and DICOM series: label maps in each scan's own grid, and a record of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.atomic import write_json
from semiseg.claim import held
from semiseg.data import formats
from semiseg.errors import DataError, unknown_name
from semiseg.model import QUALITY, Model
from semiseg.prediction_job import Job, Task
from semiseg.prediction_record import REPORT_NAME, CaseResult, PredictionReport
from semiseg.prediction_stages import run_all
from semiseg.scans import Scan, find_scans

__all__ = ["CaseResult", "PredictionReport", "predict"]

log = logging.getLogger("semiseg.prediction")

Progress = Callable[[int, int], None]
"""Called with (scans dealt with, scans in all)."""


def predict(
    inputs: str | Path,
    output: str | Path,
    model: Model | str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = True,
    uncertainty: bool = False,
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
        model: a run folder, a checkpoint, several of them (an ensemble), or a loaded model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; for a model that is not loaded yet.
        overwrite: replace what is there. Otherwise files that we did not write are never touched.
        resume: leave scans that the same model has predicted in the same way; False refuses them.
        uncertainty: also write ``CASE_entropy.nii.gz``, 0 certain to 1 uniform.
        mirror: average over views mirrored along the axes that the run's training mirrored, and no others;
            None as the run was configured.
        quality: ``balanced`` (as validated) or ``best`` (with ``mirror``).
        precision: auto, 32, bf16 or 16; for a model that is not loaded yet.
        overrides: keys of the ``inference`` section, strongest.
        cases: ids of the scans to predict; None for all that are there.
        allow_code: modules that may be imported where a checkpoint names a network of other code; for a model
            that is not loaded yet.
        workers: scans read and prepared ahead, each in a thread (default 1; 0 does one thing after another).
        progress: told after every scan.

    Raises:
        UsageError: paths or options that cannot be meant, a model that cannot be used.
        DataError: nothing to predict, or no scan of a name in ``cases``.
        DeviceError: the device is missing, or one window does not fit into its memory.
    """
    began = time.monotonic()
    if quality not in QUALITY:
        raise unknown_name("quality", quality, QUALITY)
    if not isinstance(model, Model):
        model = Model.load(model, device, precision=precision, allow_code=allow_code)
    changed = QUALITY[quality] | ({} if mirror is None else {"mirror": mirror}) | dict(overrides or {})
    model = model.with_settings(**changed)
    tell_unmirrored(model)
    job = Job(model, uncertainty)
    inputs, output = Path(inputs), Path(output)
    tasks = job.lay_out(_chosen(find_scans(inputs, job.channels), cases, inputs), inputs, output)
    single = formats.ending_of(output) is not None and not output.is_dir()
    with held(output, "-o", beside=single):
        results = job.skip_finished(tasks, overwrite=overwrite, resume=resume)
        finished = False

        def done(task: Task, result: CaseResult) -> None:
            results[task] = result
            if progress is not None:
                progress(len(results), len(tasks))

        try:
            run_all(job, [t for t in tasks if t not in results], 1 if workers is None else workers, done)
            finished = True
        finally:
            told = [results[task] for task in tasks if task in results]
            seconds = time.monotonic() - began
            report = PredictionReport(
                output, job.model_dict, job.options, job.device, told, seconds, not finished
            )
            if formats.ending_of(output) is None:
                write_json(output / REPORT_NAME, report.as_dict())
    return report


def tell_unmirrored(model: Model) -> None:
    """A line where mirrored views are asked for and some network has never seen any."""
    without = [member for member in model.members if not member.mirrored]
    if model.settings.mirror and without:
        who = "this model was" if len(model.members) == 1 else f"{len(without)} of {len(model.members)} were"
        log.warning("%s trained without mirrored images: no mirrored views are averaged there", who)


def _chosen(scans: list[Scan], cases: Collection[str] | None, inputs: Path) -> list[Scan]:
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
