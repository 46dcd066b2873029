"""What leaves the studio: a run's model in every form of ``semiseg export``, predictions as DICOM."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from semiseg.delivery import series
from semiseg.delivery.export import KINDS, export
from semiseg.errors import DataError, UsageError, unknown_name
from semiseg.prediction.model import Model
from semiseg.prediction.results import forms
from semiseg.studio.api.common import Json, TheDesk
from semiseg.studio.archive import pieces, stream
from semiseg.studio.desk import Desk
from semiseg.studio.orders import finished

router = APIRouter(prefix="/api/deliver")

DICOM = ("dicom-seg", "rtstruct")


@router.get("")
def possible(desk: TheDesk) -> Json:
    """Runs with a model, newest first; forms of models and of predictions, each with what it lacks here."""
    runs = [name for name in desk.places.run_names() if finished(desk.places.runs / name)]
    return {
        "runs": runs[::-1],
        "models": [
            {"to": kind, "lacks": _lacks(kind)} for kind in ("zip", *(k for k in KINDS if k != "zip"))
        ],
        "dicom": [{"to": form, "lacks": _lacks(form) or desk.series.lacks} for form in DICOM],
    }


@router.get("/model.zip")
def model(desk: TheDesk, run: str, to: str = "zip") -> Response:
    """The model of a run, as ``semiseg export --to`` writes it."""
    folder, work = desk.places.run(run), _work(desk)
    try:
        made = export(folder, work / "model", to=to)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    if to == "zip":  # one already, with its card inside
        return _sent(f"{run}.zip", _then_gone(pieces(made.folder / "model.zip"), work))
    files = [(f"{run}_{to}/{name}", made.folder / name) for name in made.files]
    return _sent(f"{run}_{to}.zip", _then_gone(stream(files), work))


@router.get("/predictions.zip")
def predictions(desk: TheDesk, run: str, to: str = "dicom-seg") -> Response:
    """The predictions of a run for scans that came as DICOM series, one file for each."""
    if to not in DICOM:
        raise unknown_name("form", to, DICOM)
    forms(to)  # says which package is missing
    name = desk.run_named(run)
    pile = desk.series.path
    if pile is None:
        told = desk.series.lacks or ""
        raise DataError(told, hint="semiseg predict -i DICOM -m RUN --to dicom-seg", code="NO_SERIES")
    loaded, work = Model.load(desk.places.run(name), "cpu", precision="32"), _work(desk)
    places = desk.series.cases

    def members() -> Iterator[tuple[str, Path | str]]:
        failed = []
        for found in series.write_all(pile, places, desk.places.predictions_of(name), loaded, work, to):
            if isinstance(found, str):
                failed.append(found)
            else:
                yield f"{name}_{to}/{found.name}", found
                found.unlink()
        if failed:
            yield f"{name}_{to}/not_written.txt", "\n".join(failed) + "\n"

    return _sent(f"{name}_{to}.zip", _then_gone(stream(members()), work))


def _lacks(form: str) -> str | None:
    """What must be installed for it."""
    try:
        if form == "onnx":
            from semiseg.delivery.onnx_model import require_onnx

            require_onnx()
        elif form in DICOM:
            forms(form)
    except UsageError as error:
        return f"{error.message}: {error.hint}"
    return None


def _work(desk: Desk) -> Path:
    incoming = desk.places.studio / "incoming"
    incoming.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=incoming))


def _sent(name: str, content: Iterator[bytes]) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type="application/zip", headers=headers)


def _then_gone(content: Iterator[bytes], work: Path) -> Iterator[bytes]:
    try:
        yield from content
    finally:
        shutil.rmtree(work, ignore_errors=True)
