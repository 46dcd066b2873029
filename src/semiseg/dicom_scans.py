"""DICOM series as scans to predict: one folder with series in it, a folder of studies, zips, or one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semiseg.data.formats.dicom import Series, find_series, read_series
from semiseg.errors import DataError
from semiseg.scans import Loaded, Scan, unusable

WRITTEN_AS = ".nii.gz"


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
    return [_scan(name, place, series) for name, series in zip(names, ordered, strict=True)]


def _scan(name: str, place: Path, series: Series) -> Scan:
    def load() -> Loaded:
        volume = read_series(series)
        return volume.array[None], volume.grid, volume.meta

    files = series.files if place.is_dir() else (place,)
    return Scan(name, files, WRITTEN_AS, load, shown=_folder(files) if place.is_dir() else place)


def _folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _name(place: Path) -> str:
    path = place.absolute() if place.name not in ("", "..") else place.resolve()
    return path.stem if path.is_file() else path.name
