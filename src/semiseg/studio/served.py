"""Scans, labels and maps as the browser gets them: one-file NIfTI on the scan's own grid; and labels back.

A picture (rows, columns) is served as a volume of one slice (columns, rows, 1) that a viewer shows upright.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.images import nifti, picture
from semiseg.images.arrays import raw_bytes
from semiseg.images.grid import Grid, Volume
from semiseg.machine.files import atomic_file, read_json, write_json

PICTURES = (*picture.ENDINGS, ".tif", ".tiff")
CACHE_BYTES = 4 * 2**30
"""What unpacked scans may take on the disk."""

Array = NDArray[Any]


def is_picture(path: Path, grid: Grid) -> bool:
    """Whether the first axis of a 2D image counts rows from above."""
    return len(grid.shape) == 2 and (images.ending_of(path) or "") in PICTURES


def as_volume(array: Array, grid: Grid, *, rows_first: bool) -> tuple[Array, Grid]:
    """An image (*S) or (*S, 3) and its grid as a volume of three axes."""
    if len(grid.shape) == 3:
        return array, grid
    affine = grid.affine
    if rows_first:
        array = np.swapaxes(array, 0, 1)
        down, right = grid.spacing
        affine = np.diag([right, -down, 1.0, 1.0])
    shape = (*array.shape[:2], 1)
    return array.reshape(*shape, *array.shape[2:]), Grid(shape, affine, grid.unit)


def from_volume(volume: Volume, grid: Grid, *, rows_first: bool) -> Volume:
    """What was drawn on :func:`as_volume` of an image with ``grid``, on that grid again."""
    wanted = as_volume(np.broadcast_to(False, grid.shape), grid, rows_first=rows_first)[1]
    if len(grid.shape) == 3 or not volume.grid.matches(wanted):
        return volume
    plane = volume.array.reshape(volume.array.shape[:2])
    return Volume(plane.T if rows_first else plane, grid, volume.meta)


Window = tuple[float, float]
"""Intensities shown as black and as white."""


def write_volume(path: Path, array: Array, grid: Grid, window: Window | None = None) -> None:
    """A volume as an uncompressed NIfTI file; colors (*S, 3) as RGB24.

    A ``window`` goes into the header, so that the viewer need not look for one in all voxels.
    """
    if array.ndim == 3:
        array = _smaller(array)
        header = nifti.header_of(array, grid)
        if window is not None:
            header["cal_min"], header["cal_max"] = window
        with atomic_file(path) as stream:
            stream.write(header.binaryblock + b"\0\0\0\0")
            stream.write(raw_bytes(array))
        return
    rgb = np.ascontiguousarray(array[..., :3].astype(np.uint8))
    header = nifti.header_of(rgb[..., 0], grid)
    header["datatype"], header["bitpix"] = 128, 24
    with atomic_file(path) as stream:
        stream.write(header.binaryblock + b"\0\0\0\0")
        stream.write(np.ascontiguousarray(rgb.transpose(2, 1, 0, 3)).tobytes())


def _smaller(array: Array) -> Array:
    """Types that a browser reads fast."""
    kinds = {"f8": "f4", "i8": "i4", "u8": "u4", "b1": "u1", "f2": "f4"}
    kind = kinds.get(array.dtype.str[1:])
    return array.astype(kind) if kind else array


class Cache:
    """Unpacked files on the disk, made once per state of their sources; the oldest go first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[str, threading.Lock] = {}

    def file(
        self,
        what: str,
        sources: list[Path],
        make: Callable[[], tuple[Array, Grid]],
        window: Callable[[], Window] | None = None,
    ) -> Path:
        """The file of ``what``, made from its sources where it is missing (DataError: one is unreadable)."""
        path = self.folder / f"{made_of(what, sources)}.nii"
        with self._lock(path):
            if path.is_file():
                path.touch()
                return path
            array, grid = make()
            write_volume(path, array, grid, window() if window and array.ndim == 3 else None)
        self.prune(keep=path)
        return path

    def facts(self, what: str, source: Path, find: Callable[[], Any]) -> Any:
        """What ``find`` says of a file, as JSON has it; found once per state of the file."""
        path = self.folder / f"{made_of(what, [source])}.json"
        with self._lock(path):
            try:
                return read_json(path)
            except (OSError, ValueError):
                found = find()
                write_json(path, found)
                return found

    def _lock(self, path: Path) -> threading.Lock:
        """Who asks for a file while it is made waits for it."""
        return self._locks.setdefault(path.name, threading.Lock())

    def prune(self, keep: Path | None = None) -> None:
        """Delete what was not used for longest, beyond :data:`CACHE_BYTES`."""
        if not self.folder.is_dir():
            return
        found = [(path.stat(), path) for path in self.folder.glob("*.nii")]
        total = sum(state.st_size for state, _ in found)
        for state, path in sorted(found, key=lambda one: one[0].st_mtime):
            if total <= CACHE_BYTES:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                total -= state.st_size


def made_of(what: object, sources: Iterable[Path]) -> str:
    """The name of a file that is made of sources as they are now."""
    state = [(str(path), (found := path.stat()).st_size, found.st_mtime_ns) for path in sources]
    return hashlib.sha256(repr((what, state)).encode()).hexdigest()[:24]
