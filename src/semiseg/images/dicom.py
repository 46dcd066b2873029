"""DICOM series: found in a folder, a zip or a file, and read as volumes in RAS+ millimeters.

No patient attribute is read, and messages name files, never the content of headers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import plural
from semiseg.images.archive import Unpacked
from semiseg.images.arrays import rescale
from semiseg.images.claims import broken, check_file, check_memory, explained, needed_bytes, readable_bytes
from semiseg.images.dicom_geometry import Stack, orientation_groups, stack
from semiseg.images.dicom_slices import Slice, slices_of, stored_frames
from semiseg.images.grid import Header, Volume, times

_log = logging.getLogger("semiseg.data")


@dataclass(frozen=True)
class Series:
    """Slices of one SeriesInstanceUID and one orientation, not yet read.

    Attributes:
        uid: SeriesInstanceUID (links to a patient record: not for logs).
        modality: CT, MR, PT, ...
        description: SeriesDescription, free text that may name a patient: not for logs.
        where: the folder, zip or file it was found in.
        slices: in no order; ``read_series`` sorts them by position.
    """

    uid: str = field(repr=False)
    modality: str
    description: str = field(repr=False)
    where: Path
    slices: tuple[Slice, ...] = field(repr=False)
    unpacked: Unpacked | None = field(default=None, repr=False, compare=False)
    """A zip's files, which live as long as its series."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the series, each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))


def find_series(path: Path) -> list[Series]:
    """All image series under a folder (recursively), in a zip, or in one file.

    Grouped by SeriesInstanceUID, then by orientation and image size. Localizers, reports and files that are
    not DICOM are left out; exact copies of an instance count once.

    Raises:
        DataError: NO_SERIES when nothing is left; BAD_ARCHIVE; UNREADABLE, TRUNCATED, EMPTY_FILE or
            ABSURD_HEADER for a broken DICOM file.
    """
    path = Path(path)
    if path.is_dir():
        return series_in(_files_below(path), path)
    check_file(path)
    if path.suffix.lower() == ".zip":
        unpacked = Unpacked(path)
        return series_in(_files_below(unpacked.folder), path, unpacked)
    return series_in([path], path, wanted=True)


def series_in(
    files: Sequence[Path], where: Path, unpacked: Unpacked | None = None, *, wanted: bool = False
) -> list[Series]:
    """The image series that these files hold, as :func:`find_series` finds them."""
    found = [one for file in files for one in slices_of(file, wanted=wanted)]
    kept = _without_copies([one for one in found if not one.localizer])
    if not kept:
        dropped = f", {plural(len(found), 'localizer image')} left out" if found else ""
        why = f"no DICOM image series in {plural(len(files), 'file')}{dropped}"
        hint = "give the folder that holds the series' .dcm files"
        raise broken(where, why, code="NO_SERIES", hint=hint)
    by_uid: dict[str, list[Slice]] = {}
    for one in kept:
        by_uid.setdefault(one.series, []).append(one)
    joined = _joined(list(by_uid.values()))
    groups = [group for slices in joined for group in _without_scouts(orientation_groups(slices))]
    return [
        Series(group[0].series, group[0].modality, group[0].description, where, tuple(group), unpacked)
        for group in groups
    ]


def read_series_header(series: Series) -> Header:
    """Shape and grid of a series, without reading a pixel.

    Raises:
        DataError: as ``read_series``, for what the headers tell.
    """
    stacked = _stacked(series)
    dtype = _stored_dtype(series)
    return Header(stacked.grid, dtype.name, needed_bytes=int(np.prod(stacked.grid.shape)) * dtype.itemsize)


def read_series(series: Series) -> Volume:
    """Voxels in (column, row, slice) order, rescaled per slice to the modality's unit, with a RAS+ affine.

    Whole-number rescaling keeps integers; otherwise, or where slices differ in scale, values are float32.
    A tilted gantry stays as shear in the affine and is told in ``meta``. ``meta`` has ``modality``,
    ``sop_instances`` (one per slice), ``frames`` (1-based frame numbers), ``files``, ``series_instance`` and
    ``gantry_tilt_degrees``.

    Raises:
        DataError: NO_GEOMETRY, DUPLICATE_SLICE, MISSING_SLICE, UNEVEN_SLICES, BAD_ORIENTATION, BAD_SPACING,
            NOT_GRAYSCALE, BAD_DTYPE, TRUNCATED, UNREADABLE or TOO_LARGE (the series as a whole).
    """
    stacked, dtype = _stacked(series), _stored_dtype(series)
    shape = stacked.grid.shape
    needed = needed_bytes(shape, dtype.itemsize)
    check_memory(series.where, needed, f"{times(shape)} voxels ({readable_bytes(needed)})")
    with explained(series.where):
        array = _values(stacked.slices, dtype)
    if stacked.tilt_degrees:
        _log.info("%s: gantry tilt of %.1f degrees kept in the affine", series.where, stacked.tilt_degrees)
    meta = {
        "format": "dicom",
        "modality": series.modality,
        "series_instance": series.uid,
        "sop_instances": [one.sop_instance for one in stacked.slices],
        "frames": [one.frame + 1 for one in stacked.slices],
        "files": [str(one.path) for one in stacked.slices],
        "gantry_tilt_degrees": stacked.tilt_degrees,
    }
    return Volume(array.reshape(stacked.grid.shape, order="F"), stacked.grid, meta)


def _files_below(folder: Path) -> list[Path]:
    """Every file below, sorted, but for hidden ones (macOS leaves ``._NAME.dcm`` in zips).

    Links to folders are not followed, so that no loop is possible.
    """
    found = [Path(top) / name for top, _, names in os.walk(folder, onerror=_raise) for name in names]
    return sorted(file for file in found if not file.name.startswith(".") and file.is_file())


def _raise(error: OSError) -> None:
    raise broken(
        Path(str(error.filename)), "cannot be listed", hint="check the folder's permissions"
    ) from error


def _without_copies(slices: Sequence[Slice]) -> list[Slice]:
    """Each instance once, however many copies of its file lie around."""
    unique: dict[object, Slice] = {}
    for number, one in enumerate(slices):
        same = (one.sop_instance, one.frame, one.position, one.series)  # anonymizers give all slices one UID
        unique.setdefault(same if one.sop_instance else number, one)
    if len(unique) < len(slices):
        copies = plural(len(slices) - len(unique), "copy", "copies")
        _log.info("left out %s of DICOM images that are there already", copies)
    return list(unique.values())


def _joined(series: list[list[Slice]]) -> list[list[Slice]]:
    """Series of one slice each, of one study, series number and orientation, as the one series they are.

    Some scanners give every slice a SeriesInstanceUID of its own.
    """
    parts: dict[object, list[Slice]] = {}
    for number, slices in enumerate(series):
        one = slices[0]
        alone = len(slices) == 1 and one.study and one.number is not None and one.position is not None
        key = (one.study, one.number, one.modality, one.shape) if alone else number
        parts.setdefault(key, []).extend(slices)
    if len(parts) < len(series):
        _log.warning(
            "%d DICOM series of one slice each have the study and series number of others: joined to %d",
            len(series),
            len(parts),
        )
    return list(parts.values())


def _without_scouts(groups: list[list[Slice]]) -> list[list[Slice]]:
    """Leave out stray views: one or two images of another orientation beside a proper stack."""
    most = max(len(group) for group in groups)
    kept = [group for group in groups if len(group) > 2 or most < 5]
    if len(kept) < len(groups):
        count = sum(len(group) for group in groups) - sum(len(group) for group in kept)
        left = plural(count, "DICOM image")
        _log.warning("left out %s whose orientation or size is not that of their series", left)
    return kept


def _stacked(series: Series) -> Stack:
    colored = [one for one in series.slices if one.samples != 1 or one.photometric == "PALETTE COLOR"]
    if colored:
        why = f"the series is in color ({colored[0].photometric or 'RGB'})"
        hint = "export the original grayscale series"
        raise broken(series.where, why, code="NOT_GRAYSCALE", hint=hint)
    for one in series.slices:
        if one.mosaic:
            why = "its pictures are mosaics: all slices of a volume side by side in one"
            hint = "convert the series with dcm2niix, which takes mosaics apart"
            raise broken(one.path, why, code="NOT_3D", hint=hint)
        if one.curved:
            why = "a table (Modality LUT Sequence) gives stored values their unit, wanted slope and intercept"
            raise broken(one.path, why, code="BAD_RESCALE", hint="export it with a linear rescale")
        if not np.isfinite([one.slope, one.intercept]).all() or one.slope == 0:
            raise broken(one.path, "rescale slope or intercept is zero or no number", code="BAD_RESCALE")
    first = series.slices[0]
    if first.spacing and first.detector and not np.allclose(first.spacing, first.detector, rtol=0.01):
        text = "%s: pixels of %s mm in the patient are used, not those on the detector (%s mm)"
        _log.info(text, series.where, times(first.spacing, 4), times(first.detector, 4))
    return stack(series.slices, series.where)


def _stored_dtype(series: Series) -> np.dtype[Any]:
    names = {one.dtype for one in series.slices}
    if "" in names:
        hint = "export it with 8, 16 or 32 bits per pixel"
        raise broken(series.where, "pixels of an unusual number of bits", code="BAD_DTYPE", hint=hint)
    return np.result_type(*(np.dtype(name) for name in names))


def _values(slices: Sequence[Slice], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(columns, rows, slices), filled file by file, so that one decoded file is held at a time."""
    scales = {(one.slope, one.intercept) for one in slices}
    out = np.empty((*slices[0].shape, len(slices)), dtype if len(scales) == 1 else np.float32, order="F")
    by_file: dict[Path, list[int]] = {}
    for index, one in enumerate(slices):
        by_file.setdefault(one.path, []).append(index)
    for indices in by_file.values():
        frames = stored_frames(slices[indices[0]])
        for index in indices:
            one = slices[index]
            plane = frames[one.frame].T
            if one.white is not None:
                plane = one.white - plane
            out[..., index] = (
                plane if len(scales) == 1 else plane.astype(np.float64) * one.slope + one.intercept
            )
    return rescale(out, *scales.pop()) if len(scales) == 1 else out
