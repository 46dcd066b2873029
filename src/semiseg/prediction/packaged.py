"""A model in one zip, as ``semiseg export --to zip`` writes it: unpacked where only this process looks.

Which runs a pattern or a list of folds means.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from semiseg.errors import DataError, UsageError
from semiseg.images.archive import Unpacked
from semiseg.machine.files import read_json

SCHEMA = "semiseg-model"
"""What ``model.json`` calls itself."""
VERSION = 1
"""Of ``model.json``: raised when an old reader would read a new file wrongly."""


def is_zip(path: Path) -> bool:
    """Whether ``path`` names a model in a zip; a checkpoint is a zip, too, but never called so."""
    return path.suffix.lower() == ".zip" and not path.is_dir()


class ModelZip:
    """The runs of a zip in a temporary folder, which goes with this object.

    Nothing in the zip is believed: no member can leave the folder, none may be larger than it says, and
    checkpoints are read without pickle.

    Attributes:
        path: of the zip.
        folders: of the runs in it, at least one.
        document: the content of ``model.json``; empty for a run folder that somebody zipped by hand.

    Raises:
        UsageError: no such file, not a zip, an unsafe one, or one without a model that this version reads.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"no model at {path}",
                hint="-m wants a run folder, a .ckpt file or a model.zip",
                code="NO_MODEL",
            )
        try:
            self._unpacked = Unpacked(path)
        except DataError as error:
            raise UsageError(error.message, hint=error.hint, code=error.code, details=error.details) from None
        self.path = path
        self.folder = self._unpacked.folder
        self.document = _document(path, self.folder)
        found = {file.parent.parent for file in self.folder.glob("**/checkpoints/*.ckpt")}
        self.folders = sorted(found)
        if not found:
            raise UsageError(
                f"{path} holds no model (no checkpoints/final.ckpt)",
                hint="`semiseg export RUN -o FOLDER --to zip` makes a model.zip",
                code="NO_MODEL",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UsageError):  # the temporary folder says nothing to anybody
            error.message = error.message.replace(f"{self.folder}/", f"{self.path}: ")
            error.args = (error.message,)
        self._unpacked.cleanup()


def _document(path: Path, folder: Path) -> dict[str, Any]:
    places = sorted(folder.glob("model.json")) + sorted(folder.glob("*/model.json"))
    if not places:
        return {}
    try:
        return checked_document(read_json(places[0]), path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: model.json cannot be read: {error}", hint="ask for the file again", code="BAD_MODEL"
        ) from None


def checked_document(content: Any, path: Path) -> dict[str, Any]:
    """The content of a ``model.json`` (UsageError: another kind of file, or a later version)."""
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UsageError(
            f"{path}: model.json was not written by semiseg",
            hint="`semiseg export` writes them",
            code="BAD_MODEL",
        )
    version = content.get("version")
    if version != VERSION:
        raise UsageError(
            f"{path}: model.json has version {version!r} (written by semiseg {content.get('semiseg')}), "
            f"this semiseg reads {VERSION}",
            hint="install the version of semiseg that wrote it, or export the run again with this one",
            code="MODEL_VERSION",
        )
    return content


_FOLD = re.compile(r"(.*fold-)(\d+)(.*)")
"""In the name of a run folder, see :func:`semiseg.runs.folder.run_name`."""


def expanded(paths: Sequence[str | Path], folds: str | Sequence[int] | None = None) -> list[Path]:
    """The runs or checkpoints that the paths mean, each once.

    A path that does not exist and has ``*``, ``?`` or ``[`` is a pattern. With ``folds`` (``all``, numbers
    with commas, or a list of numbers): these folds of each run.

    Raises:
        UsageError: a pattern that nothing fits, a run of no fold, or a fold that was not trained.
    """
    found = [match for path in paths for match in _matches(Path(path))]
    if folds is not None:
        found = [fold for path in found for fold in _folds(path, folds)]
    return list(dict.fromkeys(found))


def fitting(pattern: Path) -> list[Path]:
    """What a path with ``*``, ``?`` or ``[`` fits, sorted; nothing without any of these."""
    if not glob.has_magic(str(pattern)):
        return []
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _matches(path: Path) -> list[Path]:
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = fitting(path)
    usable = [one for one in found if one.suffix == ".zip" or one.is_file() or (one / "checkpoints").is_dir()]
    if not usable:
        what = "nothing" if not found else f"{found[0]}, which is not a run"
        raise UsageError(
            f"the pattern {path} fits {what}",
            hint="quote it, and see with `ls` which run folders it names",
            code="NO_MODEL",
        )
    return usable


def _folds(path: Path, folds: str | Sequence[int]) -> list[Path]:
    match = _FOLD.fullmatch(path.name)
    if match is None:
        raise UsageError(
            f"{path} is not named as one fold of several",
            hint="give -m a run folder such as labeled-8_fold-0_seed-0",
            code="FOLDS",
        )
    before, _, after = match.groups()
    there = {}
    for one in path.parent.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        other = _FOLD.fullmatch(one.name)
        if other and (other[1], other[3]) == (before, after):
            there[int(other[2])] = one
    wanted = sorted(there) if folds == "all" else _numbers(folds)
    missing = [number for number in wanted if number not in there]
    if missing or not wanted:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise UsageError(
            f"no fold {', '.join(map(str, missing))} beside {path} (available: {known})",
            hint="train it with `semiseg train … --fold N`, or leave it out of --folds",
            code="FOLDS",
            details={"missing": missing, "known": sorted(there)},
        )
    return [there[number] for number in wanted]


def _numbers(folds: str | Sequence[int]) -> list[int]:
    parts = folds.split(",") if isinstance(folds, str) else list(folds)
    try:
        return sorted({int(part) for part in parts})
    except ValueError:
        raise UsageError(
            f"folds {folds!r} are not numbers", hint="give all, or numbers such as 0,1,2", code="FOLDS"
        ) from None
