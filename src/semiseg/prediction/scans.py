"""What there is to predict: files, folders in nnU-Net naming, dataset folders, DICOM folders and zips.

DICOM series as scans to predict: one folder with series in it, a folder of studies, zips, or one file.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from numpy.typing import NDArray

from semiseg import images
from semiseg.dataset.case import Case, load_case
from semiseg.errors import DataError, UsageError
from semiseg.images import picture
from semiseg.images.dicom import Series, find_series, read_series
from semiseg.images.dicom_slices import is_dicom
from semiseg.images.grid import Grid

Loaded = tuple[NDArray[Any], Grid, dict[str, Any]]
"""(C, *S), where its voxels lie, and what a writer needs to give the file back as it came."""

PHOTO_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Endings whose files may hold three color channels at once."""

WRITTEN_AS = {
    ".hdr": ".nii.gz", ".nhdr": ".nrrd", ".mhd": ".mha",
    ".jpg": ".png", ".jpeg": ".png", ".bmp": ".png", ".webp": ".png",
}  # fmt: skip
"""Label maps keep the ending of their scan, but are never lossy and never in two files."""

_log = logging.getLogger("semiseg.data")
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Scan:
    """One thing to predict.

    Attributes:
        id: names the output.
        files: what it is made of.
        ending: of its label map.
        load: reads it; raises DataError for a scan that cannot be used, such as one without all channels.
        shown: what reports name in place of many files.
    """

    id: str
    files: tuple[Path, ...]
    ending: str
    load: Callable[[], Loaded]
    shown: Path | None = None


def find_scans(inputs: Path, channels: Sequence[str]) -> list[Scan]:
    """The scans at ``inputs``, sorted by id. Scans that will fail are listed too, so none is lost in silence.

    Args:
        inputs: an image; a folder of images, ``CASE_0000.nii.gz`` for several channels; a dataset folder
            (its ``imagesTs``); a DICOM file, a folder of DICOM series, or a zip of them.
        channels: names of the model's input channels.

    Raises:
        UsageError: no such path.
        DataError: nothing there that could be a scan.
    """
    if not inputs.exists():
        raise UsageError(
            f"no such file or folder: {inputs}", hint="check the path that -i names", code="NO_INPUT"
        )
    if inputs.is_file():
        return _from_file(inputs, channels)
    folder = _image_folder(inputs)
    present = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    files = [p for p in present if _is_image(p)]
    if not files:
        return _from_dicom(folder, channels)
    dicom = any(is_dicom(p) for p in present if not _is_image(p))
    if dicom and len(channels) != 1:
        _log.warning("%s: DICOM files are left out: the model wants %d channels", folder, len(channels))
        dicom = False
    files = _without_previews(files, folder, dicom)
    series = _from_dicom(folder, channels) if dicom else []
    return unique([*_from_files(files, channels), *series])


def _without_previews(files: list[Path], folder: Path, dicom: bool) -> list[Path]:
    """Without pictures beside DICOM series or more volumes: previews, screenshots, reports."""
    pictures = [p for p in files if images.ending_of(p) in picture.ENDINGS]
    if not pictures or not (dicom or 2 * len(pictures) < len(files)):
        return files
    shown = ", ".join(p.name for p in pictures[:5])
    beside = "a DICOM series" if dicom else "volumes"
    _log.warning("%s: left out %d pictures beside %s: %s", folder, len(pictures), beside, shown)
    return [p for p in files if p not in pictures]


def unusable(name: str, files: Sequence[Path], error: DataError) -> Scan:
    """A scan that is known to fail, listed so that it is told and counted."""

    def fail() -> NoReturn:
        raise error

    return Scan(name, tuple(files), "", fail)


def unique(scans: Iterable[Scan]) -> list[Scan]:
    """Sorted by id. Scans of one name would overwrite each other's output: none of them is predicted."""
    scans = list(scans)
    count = Counter(scan.id for scan in scans)
    for i, scan in enumerate(scans):
        if count[scan.id] > 1:
            error = _error(scan.id, scan.files, f"{count[scan.id]} scans have this name", "SAME_NAME")
            scans[i] = unusable(scan.id, scan.files, error)
    return sorted(scans, key=lambda scan: scan.id)


def stem_of(path: Path) -> str:
    """The file name without a recognized ending."""
    ending = images.ending_of(path)
    return path.name[: -len(ending)] if ending else path.name


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and images.ending_of(path) is not None


def _image_folder(folder: Path) -> Path:
    if not (folder / "dataset.json").is_file():
        return folder
    if (folder / "imagesTs").is_dir():
        return folder / "imagesTs"
    raise DataError(
        f"dataset {folder} has no folder imagesTs to predict",
        hint=f"name another of its folders, such as {folder / 'imagesUn'}",
        code="NO_SCANS",
    )


def _from_file(path: Path, channels: Sequence[str]) -> list[Scan]:
    if not _is_image(path):
        return _from_dicom(path, channels)
    match = _CHANNEL.fullmatch(stem_of(path))
    if match is None or len(channels) == 1:
        name = match[1] if match and match[2] == "0000" else stem_of(path)
        return [_single(name, path, channels)]
    ending = path.name[len(stem_of(path)) :]
    siblings = [path.with_name(f"{match[1]}_{k:04d}{ending}") for k in range(len(channels))]
    return [_grouped(match[1], {k: p for k, p in enumerate(siblings) if p.is_file()}, channels)]


def _from_files(files: Iterable[Path], channels: Sequence[str]) -> list[Scan]:
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    scans = []
    for path in files:
        match = _CHANNEL.fullmatch(stem_of(path))
        if match is None:
            scans.append(_single(stem_of(path), path, channels))
        else:
            groups[match[1]][int(match[2])] = path
    for name, found in groups.items():
        if len(channels) == 1 and 0 not in found:  # numbered scans, not numbered channels
            scans += [_single(stem_of(path), path, channels) for path in found.values()]
        else:
            scans.append(_grouped(name, found, channels))
    return unique(scans)


def _single(name: str, path: Path, channels: Sequence[str]) -> Scan:
    color = len(channels) == 3 and path.name.lower().endswith(PHOTO_ENDINGS)
    if len(channels) == 1 or color:
        return _scan(name, [path], len(channels))
    wanted = ", ".join(f"{name}_{k:04d} ({channel})" for k, channel in enumerate(channels))
    why = f"one file without channel number, the model wants {len(channels)}: {wanted}"
    return unusable(name, [path], _error(name, [path], why, "CHANNELS"))


def _grouped(name: str, found: dict[int, Path], channels: Sequence[str]) -> Scan:
    files = [found[k] for k in sorted(found)]
    missing = [f"{k:04d} ({channel})" for k, channel in enumerate(channels) if k not in found]
    if len(channels) == 3 and list(found) == [0] and files[0].name.lower().endswith(PHOTO_ENDINGS):
        return _scan(name, files, len(channels))
    if missing:
        why = f"missing channel {', '.join(missing)}"
        return unusable(name, files, _error(name, files, why, "MISSING_CHANNEL"))
    if len(found) > len(channels):
        why = f"{len(found)} channel files, the model wants {len(channels)} ({', '.join(channels)})"
        return unusable(name, files, _error(name, files, why, "CHANNELS"))
    return _scan(name, files, len(channels))


def _scan(name: str, files: Sequence[Path], channels: int) -> Scan:
    case = Case(name, tuple(files))
    ending = images.ending_of(files[0]) or ""
    return Scan(name, case.images, WRITTEN_AS.get(ending, ending), lambda: load_case(case, channels))


def _from_dicom(path: Path, channels: Sequence[str]) -> list[Scan]:
    return unique(dicom_scans(path, channels))


def _error(name: str, files: Sequence[Path], why: str, code: str) -> DataError:
    return DataError(
        f"{name}: {why}",
        hint="name files CASE_0000, CASE_0001, ... in the order of the model's channels, one name per scan",
        code=code,
        details={"case": name, "files": [str(f) for f in files]},
    )


SERIES_WRITTEN_AS = ".nii.gz"


def dicom_scans(path: Path, channels: Sequence[str]) -> list[Scan]:
    """Every image series at ``path``, named after its folder (never after anything in its header).

    A folder that holds only folders and zips is looked through one by one, so that a broken one does not
    stop the others.

    Raises:
        DataError: ``path`` itself holds no series, or is damaged.
    """
    if len(channels) != 1:
        raise DataError(
            f"{path}: no images here, and a DICOM series has one channel; "
            f"the model wants {len(channels)} ({', '.join(channels)})",
            hint="convert the series with `semiseg init`, one file per channel, and predict those",
            code="CHANNELS",
        )
    parts = _parts(path)
    scans: list[Scan] = []
    errors: list[DataError] = []
    for part in parts or [path]:
        try:
            scans += _named(part, find_series(part))
        except DataError as error:
            scans.append(unusable(_name(part), [part], error))
            errors.append(error)
    if len(errors) < len(scans):
        return scans
    if path.is_dir() and all(error.code == "NO_SERIES" for error in errors):
        raise DataError(
            f"no images and no DICOM series in {path}",
            hint="give a folder of images (.nii.gz, .nrrd, .mha, .png, ...) or of DICOM series",
            code="NO_SCANS",
        )
    raise errors[0]


def _parts(path: Path) -> list[Path]:
    """The folders and zips of a folder that holds nothing else (hidden files aside)."""
    if not path.is_dir():
        return []
    entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    parts = [p for p in entries if p.is_dir() or p.suffix.lower() == ".zip"]
    return parts if len(parts) == len(entries) else []


def _named(place: Path, found: list[Series]) -> list[Scan]:
    several = len(found) > 1
    ordered = sorted(found, key=lambda series: min(series.files))
    names = [_name(place) + (f"_{k}" if several else "") for k in range(1, len(found) + 1)]
    return [_series_scan(name, place, series) for name, series in zip(names, ordered, strict=True)]


def _series_scan(name: str, place: Path, series: Series) -> Scan:
    def load() -> Loaded:
        volume = read_series(series)
        return volume.array[None], volume.grid, volume.meta

    files = series.files if place.is_dir() else (place,)
    return Scan(name, files, SERIES_WRITTEN_AS, load, shown=_folder(files) if place.is_dir() else place)


def _folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _name(place: Path) -> str:
    path = place.absolute() if place.name not in ("", "..") else place.resolve()
    return path.stem if path.is_file() else path.name
