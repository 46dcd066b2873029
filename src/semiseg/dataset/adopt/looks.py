"""What the files of a pile hold: sizes and colors from headers, label values from voxels.

Volumes in one file per slice (``patient001_frame01_slice_7.h5``) are recognized by name and put together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np

from semiseg.dataset.adopt.draft import Color, FileFacts, Source, notice, pack
from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.masks import Mask
from semiseg.dataset.adopt.names import take_apart
from semiseg.dataset.check.case import Voxels, value_counts
from semiseg.errors import DataError, plural
from semiseg.images import array_files, ending_of, nifti, read, read_header, read_label
from semiseg.images.dicom import read_series
from semiseg.images.grid import Grid, Volume, scaling

_FORMS = ("qform", "qform_code", "form_gap_mm")
"""What a header says of the place of voxels beside the affine; not true of those that were moved."""
MOST_VALUES = 64
"""A file with more different values is no mask that its content alone could tell."""
_MOST_COLORS = 4096
_OWN_LABELS = array_files.ENDINGS
"""Files that may hold both a scan and its label."""
_LOSSY = (".jpg", ".jpeg", ".webp")

A = TypeVar("A")
B = TypeVar("B")


def look(source: Source) -> FileFacts:
    """Read one header."""
    if source.series is not None:
        return FileFacts(axes=3, dtype="int16")
    try:
        header = read_header(source.path)
    except DataError as error:
        shape = error.details.get("shape", ())
        if error.code == "NOT_3D" and len(shape) == 4 and ending_of(source.path) in nifti.ENDINGS:
            return FileFacts(axes=3, frames=int(shape[3]))
        return FileFacts(trouble=error.message.removeprefix(f"{source.path}: "))
    if header.channels > 1 and header.dtype != "uint8":
        return FileFacts(
            trouble=f"{header.channels} channels of {header.dtype}; colors are read with 8 bits only"
        )
    return FileFacts(
        3 if source.slices else len(header.grid.shape),
        header.channels,
        dtype=header.dtype,
        grid=None if source.slices else header.grid,
        has_label=header.has_label,
        has_size=header.grid.unit == "mm",
    )


def look_at_label(source: Source) -> tuple[FileFacts, Mask | None]:
    """What a file that is named like a mask holds, from one reading; of others than plain ones the header."""
    if source.series is not None or source.slices or source.steps or ending_of(source.path) in _OWN_LABELS:
        return look(source), None
    try:
        volume = read_label(source.path)
    except DataError:
        return look(source), None
    axes = len(volume.grid.shape)
    channels = volume.array.shape[-1] if volume.array.ndim > axes else 1
    if channels > 1 and volume.array.dtype != np.uint8:
        return look(source), None
    seen = FileFacts(
        axes, channels, 1, str(volume.array.dtype), grid=volume.grid, has_size=volume.grid.unit == "mm"
    )
    return seen, _mask_of(volume, lossy=ending_of(source.path) in _LOSSY)


def load(source: Source, *, label: bool = False) -> Volume:
    """The voxels of a file (of a ``label`` its class numbers), a frame of a 4D file, or a DICOM series."""
    volume = _as_stored(source, label)
    for step in source.steps:
        volume = step(volume)
    if not source.steps:
        return volume
    return replace(volume, meta={key: value for key, value in volume.meta.items() if key not in _FORMS})


def _as_stored(source: Source, label: bool) -> Volume:
    if source.series is not None:
        return read_series(source.series)
    if source.frame is not None:
        return nifti.read_frame(source.path, source.frame)
    reader = read_label if label else read
    return stacked_slices([reader(path) for path in source.slices]) if source.slices else reader(source.path)


def look_for_labels(source: Source) -> Mask:
    """Read a file and say which whole numbers, or colors, it holds."""
    try:
        volume = load(source, label=True)
    except DataError as error:
        return Mask(trouble="cannot be read", detail=f" ({error.message.removeprefix(f'{source.path}: ')})")
    return _mask_of(volume, lossy=source.series is None and ending_of(source.path) in _LOSSY)


def _mask_of(volume: Volume, *, lossy: bool) -> Mask:
    array = single_channel(volume.array)
    if array is None:
        return Mask(colors=_colors(volume.array), lossy=lossy)
    counts, odd = value_counts(array)
    if odd:
        return Mask(trouble="values that are not whole numbers", detail=f", such as {odd[0]:g}")
    return Mask(counts, palette=volume.meta.get("palette", {}), lossy=lossy)


def _colors(array: Voxels) -> dict[Color, int]:
    """Color -> pixels; of very many colors some, which are enough to see that they are no classes."""
    packed, times = np.unique(pack(array[..., :3]), return_counts=True)
    most = np.argsort(-times, kind="stable")[:_MOST_COLORS]
    return {
        (int(p) >> 16, int(p) >> 8 & 255, int(p) & 255): int(n)
        for p, n in zip(packed[most], times[most], strict=True)
    }


def single_channel(array: Voxels) -> Voxels | None:
    """A gray picture saved as RGB as one channel, anything else unchanged; None for real colors."""
    if not (array.ndim == 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8):
        return array
    gray = array[..., 0]
    same = (array[..., 1] == gray).all() and (array[..., 2] == gray).all()
    return gray if same else None


def has_colors(source: Source) -> bool:
    """Whether a picture with color channels shows colors, and is not gray saved as RGB."""
    volume = load(source)
    array = volume.array
    return array.ndim > len(volume.grid.shape) and not (array == array[..., :1]).all()


def in_threads(work: Callable[[A], B], things: Sequence[A], workers: int | None) -> list[B]:
    """``work`` on each thing, in order."""
    with ThreadPoolExecutor(None if workers is None else max(1, workers)) as pool:
        return list(pool.map(work, things))


_SLICE = re.compile(r"(.+?)[_-]?slices?[_-]?(\d+)", re.IGNORECASE)


def slice_of(stem: str) -> tuple[str, int] | None:
    """The name of the volume and the number of the slice, where a file's name says so."""
    match = _SLICE.fullmatch(stem)
    return (match[1], int(match[2])) if match else None


def stack_slices(entries: Sequence[FoundFile]) -> tuple[list[FoundFile], list[str]]:
    """Entries in which the slices of HDF5 and npz files are one entry per volume, and notices.

    Slices are ordered by their numbers. A volume that also lies there whole is taken from its one file; one
    whose numbers have a gap is left out.
    """
    whole, found = [], defaultdict(list)
    for entry in entries:
        is_array = ending_of(entry.source.path) in array_files.ENDINGS
        said = slice_of(entry.stem) if is_array else None
        if said is None:
            whole.append(entry)
        else:
            found[said[0], entry.source.path.parent].append((said[1], entry))
    stems = {entry.stem.lower() for entry in whole}
    twice, torn, made = [], [], 0
    for (name, _), slices in found.items():
        if name.lower() in stems:
            twice.append(name)
        elif not in_order(number for number, _ in slices):
            torn.append(name)
        else:
            made += 1
            whole.append(_stacked(name, [entry for _, entry in sorted(slices, key=lambda item: item[0])]))
    notices = [f"put together from slices by their numbers: {plural(made, 'volume')}"] if made else []
    notices += notice("left out the slices of {} there whole", twice, "volume that is", "volumes that are")
    notices += notice("left out {} of which slices are missing", torn, "volume")
    return whole, notices


def in_order(numbers: Iterable[int]) -> bool:
    """Whether numbers follow one another without a gap; they may begin at any."""
    found = sorted(numbers)
    return found == list(range(found[0], found[0] + len(found)))


def _stacked(name: str, entries: Sequence[FoundFile]) -> FoundFile:
    first, paths = entries[0], tuple(entry.source.path for entry in entries)
    source = replace(first.source, slices=paths)
    return replace(first, source=source, stem=name, key=take_apart(name).key)


def stacked_slices(slices: Sequence[Volume]) -> Volume:
    """One volume (rows, columns, slices) of slices (rows, columns)."""
    first = slices[0]
    array = np.stack([each.array for each in slices], axis=-1)
    spacing = (*first.grid.spacing, 1.0)
    return Volume(array, Grid(array.shape, scaling(spacing), "px"), dict(first.meta))
