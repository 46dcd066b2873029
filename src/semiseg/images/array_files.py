"""HDF5 and npz, as published copies of data sets come: an array of the scan and its label in one file.

Such files have no voxel size; the grid's unit is then ``px``. Arrays that begin with a short axis of slices,
as those that were made from ITK images do, are given slices last.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from semiseg.errors import missing_extra, plural
from semiseg.images.arrays import Array, as_numbers, squeezed
from semiseg.images.claims import bad_spacing, broken, check_claim, needed_bytes
from semiseg.images.grid import Grid, Header, Volume, scaling, times

ENDINGS = (".npy.h5", ".h5", ".hdf5", ".npz")

IMAGE_NAMES = ("image", "img", "data", "scan", "volume")
LABEL_NAMES = ("label", "mask", "labels", "seg", "segmentation", "gt")
_SURELY = {True: ("image", "img", "scan"), False: LABEL_NAMES}
"""Names of an array that is no label, and that is no image, also where it is the only one of its file."""
_SPACING = "spacing"


class _Stored(Protocol):
    """An array in a file: what it claims, and its bytes."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def attrs(self) -> Mapping[str, Any]: ...

    def __getitem__(self, key: Any) -> Any: ...


def read_header(path: Path) -> Header:
    """Shape and type of the image; no voxel is read."""
    with _opened(path) as arrays:
        stored = _chosen(path, arrays, label=None)
        grid, channels, _ = _layout(path, stored, arrays)
        needed = _claimed(path, stored)
        both = bool(set(arrays) & set(LABEL_NAMES)) and len(arrays) > 1
        if both:
            image, label = squeezed(stored.shape), squeezed(_chosen(path, arrays, label=True).shape)
            if image[: len(label)] != label:
                why = f"its label has {times(label)} voxels, its image {times(image)}"
                hint = "get the file again, or store both on one grid"
                raise broken(path, why, code="SHAPE", hint=hint)
        return Header(grid, str(stored.dtype), channels, needed, path.stat().st_size, has_label=both)


def read(path: Path) -> Volume:
    """The array called ``image`` (or alike), or the only one; slices last."""
    return _read(path, label=False)


def read_label(path: Path) -> Volume:
    """The array called ``label`` or ``mask`` (or alike), or the only one; slices last."""
    return _read(path, label=True)


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Refused: these files cannot say where a voxel lies."""
    raise broken(path, "is read, not written", code="UNKNOWN_FORMAT", hint="write .nii.gz instead")


def _read(path: Path, *, label: bool) -> Volume:
    with _opened(path) as arrays:
        stored = _chosen(path, arrays, label=label)
        grid, _, axes = _layout(path, stored, arrays)
        _claimed(path, stored)
        array = np.asarray(stored[()])
    array = array.reshape(array.shape[: len(axes)]) if array.ndim > len(axes) else array
    array = as_numbers(array, path).transpose(axes)
    return Volume(np.ascontiguousarray(array), grid, {"format": "array file"})


def _chosen(path: Path, arrays: Mapping[str, _Stored], *, label: bool | None) -> _Stored:
    """The image or the label: by its name, or because there is nothing else that is not called the other.

    ``label`` None takes what there is, the image first.
    """
    lower = {name.lower(): name for name in arrays}
    wanted, other = (LABEL_NAMES, IMAGE_NAMES) if label else (IMAGE_NAMES, LABEL_NAMES)
    found = next((lower[name] for name in wanted if name in lower), None)
    rest = [name for key, name in lower.items() if key not in other and key != _SPACING]
    if found is None and len(rest) == 1 and (len(arrays) == 1 or not label):
        found = rest[0]
    if found is None and len(arrays) == 1 and not (label is not None and set(lower) & set(_SURELY[label])):
        found = next(iter(arrays))
    if found is None:
        what = "label" if label else "image"
        names = ", ".join(sorted(arrays)[:8]) or "nothing"
        why = f"holds {names}, and no array that is called {' or '.join(wanted[:2])}"
        raise broken(path, why, hint=f"rename the array of the {what} to {what!r}")
    return arrays[found]


def _layout(path: Path, stored: _Stored, arrays: Mapping[str, _Stored]) -> tuple[Grid, int, tuple[int, ...]]:
    """Grid, color channels, and the axes of the stored array in the order in which they are given."""
    shape = squeezed(stored.shape)
    colors = len(shape) == 3 and shape[2] == 3 and stored.dtype == np.uint8
    spatial = shape[:2] if colors else shape
    if len(spatial) not in (2, 3):
        why = f"an array of {plural(len(shape), 'axis', 'axes')} ({times(shape)}), wanted 2 or 3"
        hint = "store one channel per file, as (slices, rows, columns) or (rows, columns)"
        raise broken(path, why, code="NOT_3D", hint=hint, shape=list(shape))
    axes = _slices_last(spatial)
    spacing = _spacing(path, stored, arrays, len(spatial))
    ordered = [spacing[axis] for axis in axes] if spacing else [1.0] * len(axes)
    grid = Grid(tuple(spatial[axis] for axis in axes), scaling(ordered), "mm" if spacing else "px")
    return grid, 3 if colors else 1, (*axes, 2) if colors else axes


def _slices_last(shape: Sequence[int]) -> tuple[int, ...]:
    """(1, 2, 0) for arrays that begin with few slices, which no scan that begins with x does."""
    if len(shape) == 3 and 2 * shape[0] < min(shape[1:]):
        return (1, 2, 0)
    return tuple(range(len(shape)))


def _spacing(
    path: Path, stored: _Stored, arrays: Mapping[str, _Stored], axes: int
) -> tuple[float, ...] | None:
    """Millimeters along the stored axes, where an attribute or an array ``spacing`` says so."""
    given = stored.attrs.get(_SPACING)
    if given is None and _SPACING in arrays and arrays[_SPACING].shape == (axes,):
        given = arrays[_SPACING][()]
    if given is None:
        return None
    values = tuple(float(value) for value in np.ravel(given))
    if len(values) != axes or any(not 0 < value < float("inf") for value in values):
        raise bad_spacing(path, list(values))
    return values


def _claimed(path: Path, stored: _Stored) -> int:
    if stored.dtype.kind not in "uifb":
        why = f"holds values of type {stored.dtype}, wanted integers or floats"
        raise broken(path, why, hint="store the scan as numbers", code="BAD_DTYPE")
    needed = needed_bytes(stored.shape, stored.dtype.itemsize)
    check_claim(path, stored.shape, needed, path.stat().st_size, compressed=True)
    return needed


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, _Stored]]:
    """The arrays of a file by name; their bytes are read when they are asked for."""
    if path.name.lower().endswith(".npz"):
        with zipfile.ZipFile(path) as archive:
            yield {
                name.removesuffix(".npy"): _Member(path, archive, name)
                for name in archive.namelist()
                if name.endswith(".npy")
            }
        return
    try:
        import h5py
    except ModuleNotFoundError:
        raise missing_extra("h5", "h5py", f"reading {path.name}") from None
    with h5py.File(path, "r") as file:
        yield {name: file[name] for name in file if _is_plain(path, file, name)}


def _is_plain(path: Path, file: Any, name: str) -> bool:
    """Whether a name stands for an array that lies in this file; links to other files are refused."""
    import h5py

    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise broken(path, f"its {name!r} is a link to another file", hint="copy the arrays into one file")
    stored = file[name]
    if not isinstance(stored, h5py.Dataset) or stored.shape is None:
        return False
    if stored.external or stored.is_virtual:
        raise broken(path, f"its {name!r} lies in other files", hint="copy the arrays into one file")
    return True


@dataclass(frozen=True)
class _Member:
    """One array of an npz file; never unpickled."""

    path: Path
    archive: zipfile.ZipFile
    name: str

    @property
    def attrs(self) -> Mapping[str, Any]:
        return {}

    @property
    def shape(self) -> tuple[int, ...]:
        return self._head()[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._head()[1]

    def _head(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        form = np.lib.format
        with self.archive.open(self.name) as stream:
            first = form.read_magic(stream)[0] == 1
            shape, _, dtype = (form.read_array_header_1_0 if first else form.read_array_header_2_0)(stream)
            return shape, dtype

    def __getitem__(self, key: Any) -> Array:
        with self.archive.open(self.name) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
