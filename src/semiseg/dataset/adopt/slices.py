"""Volumes in one file per slice (``patient001_frame01_slice_7.h5``): told by name, put together again."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from semiseg.dataset.adopt.draft import some
from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.names import take_apart
from semiseg.images import array_files, ending_of
from semiseg.images.grid import Grid, Volume, scaling

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
    twice, torn, notices = [], [], []
    for (name, _), slices in found.items():
        numbers = sorted(number for number, _ in slices)
        if name.lower() in stems:
            twice.append(name)
        elif not in_order(numbers):
            torn.append(name)
        else:
            whole.append(_stacked(name, [entry for _, entry in sorted(slices, key=lambda item: item[0])]))
    if found:
        count = len(found) - len(twice) - len(torn)
        notices += [f"{count} volumes are put together from slices, in the order of their numbers"] * (
            count > 0
        )
    if twice:
        notices.append(f"left out the slices of {len(twice)} volumes that are there whole: {some(twice)}")
    if torn:
        notices.append(f"left out {len(torn)} volumes of which slices are missing: {some(torn)}")
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
