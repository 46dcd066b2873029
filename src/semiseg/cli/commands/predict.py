"""``semiseg predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from semiseg.cli import options
from semiseg.cli.options import flag
from semiseg.cli.output import Output, columns, counted
from semiseg.errors import PartialError, UsageError, plural

if TYPE_CHECKING:
    from semiseg.prediction.model import Model
    from semiseg.prediction.record import PredictionReport

EXAMPLES = (
    "semiseg predict -i scans -o predictions -m runs/…/labeled-8_fold-0_seed-0",
    "semiseg predict -i scan.nii.gz -o labels.nii.gz -m RUN --uncertainty",
    "semiseg predict -i dicom_folder -o out -m RUN --to dicom-seg,rtstruct --overlay",
    "semiseg predict -i scans -o out -m RUN --folds all --volumes volumes.csv",
)


def run(
    out: Output,
    inputs: Annotated[Path, flag("-i --input PATH", "Image, folder of images or DICOM, or zip.")],
    output: Annotated[Path, flag("-o --output PATH", "Output folder, or output file for one scan.")],
    model: Annotated[
        list[Path],
        flag(
            "-m --model RUN",
            "Run folder, checkpoint or model.zip; repeated, or a quoted pattern, for an ensemble.",
        ),
    ],
    folds: Annotated[
        str | None,
        flag("--folds LIST", "Folds of a cross-validation to use together: all, or numbers such as 0,1,2."),
    ] = None,
    to: Annotated[
        list[str] | None,
        flag(
            "--to FORMS",
            "Formats, with commas: nifti, dicom-seg, dicom-labelmap, rtstruct or png.  "
            "[default: the scan's own]",
        ),
    ] = None,
    overlay: Annotated[bool, flag("--overlay", "Also write a picture of each scan with outlines.")] = False,
    uncertainty: Annotated[bool, flag("--uncertainty", "Also write an entropy map for each scan.")] = False,
    save_probabilities: Annotated[
        bool, flag("--save-probabilities", "Also write all class probabilities (.npz).")
    ] = False,
    volumes: Annotated[Path | None, flag("--volumes CSV", "Also write a table of volumes in mL.")] = None,
    terminology: Annotated[
        Path | None,
        flag("--terminology FILE", "DICOM codes of the classes (JSON), where the model has none."),
    ] = None,
    mirror: Annotated[
        bool | None,
        flag(
            "--mirror/--no-mirror", "Average over mirrored views, as in training.  [default: as configured]"
        ),
    ] = None,
    quality: Annotated[
        str, flag("--quality NAME", "Quality: balanced, or best (slower, mirrored views).")
    ] = "balanced",
    precision: Annotated[str, flag("--precision NAME", "Number format: auto, 32, bf16 or 16.")] = "auto",
    allow_code: options.AllowCode = None,
    config: options.Config = None,
    settings: options.Set = None,
    device: options.Device = None,
    workers: Annotated[
        int | None, flag("-j --workers N", "Number of scans to read ahead.  [default: 1]", min=0)
    ] = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[
        bool, flag("--resume/--no-resume", "Skip scans that were already predicted in the same way.")
    ] = True,
    dry_run: Annotated[bool, flag("--dry-run", "List the scans; predict none.")] = False,
) -> None:
    """Segment new scans with a trained model; label maps lie on each scan's own voxel grid.

    One bad scan does not stop the others: it is listed, and the exit code is 5.
    """
    overrides = inference_overrides(config, settings or [])
    where = options.device(device)
    runs = [options.find_run(path) for path in model]
    chosen: dict[str, Any] = {"precision": precision, "allow_code": allow_code or (), "folds": folds}
    if dry_run:
        from semiseg.prediction.model import Model

        _list_scans(out, inputs, Model.load(runs, where, **chosen))
        return
    from semiseg.prediction.predict import predict

    with counted(out, "predict") as tick:
        report = predict(
            inputs,
            output,
            runs,
            device=where,
            **chosen,
            to=to or (),
            overlay=overlay,
            save_probabilities=save_probabilities,
            volumes=volumes,
            terminology=terminology,
            overwrite=overwrite,
            resume=resume,
            uncertainty=uncertainty,
            mirror=mirror,
            quality=quality,
            overrides=overrides,
            workers=options.workers(workers),
            progress=tick,
        )
    _tell(out, report)


def inference_overrides(file: Path | None, settings: list[str]) -> dict[str, Any]:
    """The ``inference`` section of ``-c`` with ``--set`` laid over it.

    Raises:
        UsageError: ``--set`` of something that a trained model cannot change.
    """
    from semiseg.settings.resolve import merge, parse_settings, read_yaml

    chosen = parse_settings(settings)
    others = sorted(set(chosen) - {"inference"})
    if others:
        raise UsageError(
            f"--set {others[0]}: a trained model takes settings of `inference` only",
            hint="for example --set inference.overlap=0.25; to change anything else, train again",
            code="NOT_INFERENCE",
        )
    from_file = read_yaml(file).get("inference", {}) if file else {}
    return merge(from_file, chosen.get("inference", {}))


def _list_scans(out: Output, inputs: Path, model: Model) -> None:
    from semiseg.prediction.scans import find_scans

    scans = find_scans(inputs, [channel.name for channel in model.plan.channels])
    listed = [{"id": scan.id, "files": scan.files} for scan in scans]
    lines = columns((scan.id, " ".join(map(str, scan.files[:4]))) for scan in scans)
    out.result({"dry_run": True, "scans": listed}, f"{lines}\n{plural(len(scans), 'scan')}")


def _tell(out: Output, report: PredictionReport) -> None:
    """Counts and volumes (PartialError that names the first failure where some scans failed)."""
    done, skipped, failed = len(report.done), len(report.skipped), len(report.failed)
    unlike = sum(bool(case.unlike) for case in report.cases)
    odd = f", {unlike} unlike the training scans" if unlike else ""
    counts = f"{done} predicted, {skipped} already there, {failed} failed, in {report.seconds:.1f} s{odd}"
    if not report.failed:
        out.result(report.as_dict(), f"{counts}: {report.output}")
        return
    out.text(counts)
    first = report.failed[0]
    error = first.error or {}
    why = str(error.get("message", "")).removeprefix(f"{first.id}: ")
    raise PartialError(
        f"{failed} of {plural(len(report.cases), 'scan')} failed; {first.id}: {why}",
        hint=str(error.get("hint") or "prediction_report.json lists every failure"),
        code="CASES_FAILED",
        details=report.as_dict(),
    )
