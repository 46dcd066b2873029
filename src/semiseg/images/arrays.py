"""Bytes to arrays and back (first axis fastest, native byte order), and spacing in a JSON file beside it.

``CASE.json``, as nnU-Net v2 has it, is for formats that cannot hold a spacing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import plural
from semiseg.images.claims import bad_spacing, broken
from semiseg.images.grid import Grid
from semiseg.machine.files import atomic_file, read_json

Array = NDArray[Any]


def shaped(
    data: bytearray | bytes | memoryview,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    channels: int,
    path: Path,
) -> Array:
    """Lay raw bytes out as ``shape`` (first axis fastest), colors (stored innermost) as the last axis."""
    full = (channels, *shape) if channels > 1 else tuple(shape)
    array = np.frombuffer(data, dtype).reshape(full, order="F")
    return as_numbers(np.moveaxis(array, 0, -1) if channels > 1 else array, path)


def as_numbers(array: Array, path: Path) -> Array:
    """Integers stay as they are, floats become float32, booleans uint8; native byte order."""
    kind = array.dtype.kind
    if kind in "ui":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, which check tells
            return array.astype(np.float32, copy=False)
    if kind == "b":
        return array.astype(np.uint8)
    why = f"holds values of type {array.dtype}, wanted integers or floats"
    raise broken(path, why, hint="convert it to a real-valued image", code="BAD_DTYPE")


def rescale(array: Array, slope: float, intercept: float) -> Array:
    """``array * slope + intercept``: integers where both are whole numbers, float32 otherwise.

    Computed in int64 or float64 slab by slab, so that nothing overflows and memory stays small.
    """
    if slope == 1 and intercept == 0:
        return array
    whole = array.dtype.kind in "ui" and float(slope).is_integer() and float(intercept).is_integer()
    if whole and max(abs(slope), abs(intercept)) < 2**31 and array.dtype.itemsize <= 4:
        ends = [int(end) * int(slope) + int(intercept) for end in (array.min(), array.max())]
        out = np.empty_like(array, dtype=_integer(min(ends), max(ends)))
        for k in range(array.shape[-1]):
            out[..., k] = array[..., k].astype(np.int64) * int(slope) + int(intercept)
        return out
    out = np.empty_like(array, dtype=np.float32)
    with np.errstate(over="ignore"):
        for k in range(array.shape[-1]):
            out[..., k] = array[..., k].astype(np.float64) * slope + intercept
    return out


def writable(array: Array) -> Array:
    """The array in a type that files have: booleans become uint8, half precision float32."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32)
    return array


def raw_bytes(array: Array) -> bytes:
    """Little-endian bytes with the first axis fastest."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F")


def _integer(low: int, high: int) -> np.dtype[Any]:
    for name in ("int16", "int32"):
        info = np.iinfo(name)
        if info.min <= low and high <= info.max:
            return np.dtype(name)
    return np.dtype(np.int64)


def is_orthogonal(affine: Array, axes: int, tolerance: float = 1e-4) -> bool:
    """Whether the first ``axes`` columns stand upright on each other (no shear)."""
    columns = affine[:3, :axes] / np.linalg.norm(affine[:3, :axes], axis=0)
    return bool(np.abs(columns.T @ columns - np.eye(axes)).max() <= tolerance)


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape without trailing axes of length 1 beyond the third."""
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


_CHANNEL = re.compile(r"_\d{4}$")


def spacing_beside(path: Path, axes: int) -> list[float] | None:
    """Spacing in mm in array axis order from ``CASE.json`` (for ``CASE_0000.tif`` or ``CASE.tif``), or None.

    Raises:
        DataError: UNREADABLE when the sidecar is no such file, BAD_SPACING when its numbers are no spacing.
    """
    for sidecar in _places(path):
        found = _load(sidecar).get("spacing") if sidecar.is_file() else None
        if found is None:
            continue
        if not isinstance(found, list) or not all(isinstance(v, int | float) for v in found):
            why = f"'spacing' is {found!r}, wanted {axes} numbers"
            raise broken(sidecar, why, hint="write [1.0, 0.5, 0.5]")
        spacing = [float(v) for v in found]
        if len(spacing) != axes:
            why = f"'spacing' has {plural(len(spacing), 'number')} for an image of {axes} axes"
            raise broken(sidecar, why, code="BAD_SPACING", hint="give one number per axis, in array order")
        if any(not 0 < s < float("inf") for s in spacing):
            raise bad_spacing(sidecar, spacing)
        return spacing
    return None


def keep_spacing(path: Path, grid: Grid) -> None:
    """Write ``CASE.json`` where it is needed: for any spacing but 1 mm, or to correct one that is there."""
    sidecar = _places(path)[0]
    there = [place for place in _places(path) if place.is_file()]
    known = grid.unit == "mm" or any(s != 1.0 for s in grid.spacing)
    wrong = there if known else [place for place in there if "spacing" in _load(place)]
    if not wrong and all(s == 1.0 for s in grid.spacing):
        return
    content = _load(sidecar) if sidecar.is_file() else {}
    content["spacing"] = [float(s) for s in grid.spacing]
    with atomic_file(sidecar) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode("utf-8"))


def _places(path: Path) -> list[Path]:
    stem = path.name.rsplit(".", 1)[0]
    names = dict.fromkeys((stem, _CHANNEL.sub("", stem)))
    return [path.with_name(f"{name}.json") for name in names]


def _load(sidecar: Path) -> dict[str, Any]:
    try:
        content = read_json(sidecar)
    except (OSError, ValueError) as error:
        raise broken(sidecar, f"is not readable JSON ({error})", hint="repair it or remove it") from error
    return content if isinstance(content, dict) else {}


LARGEST = 1e18
"""Squares of larger values, which every mean and SD needs, overflow in 32 bits. No scanner measures them."""


def non_finite(array: Array) -> str:
    """``12 NaN and 3 infinite of 400 voxels``, or an empty text when every voxel is a number.

    Numbers beyond :data:`LARGEST` are none: they come from damaged files and fill values.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return ""
    if -LARGEST < float(array.min()) <= float(array.max()) < LARGEST:
        return ""
    huge = np.isfinite(array) & (np.abs(array.astype(np.float64)) >= LARGEST)
    found = ("NaN", np.isnan(array)), ("infinite", np.isinf(array)), ("huge", huge)
    counts = [f"{np.count_nonzero(there)} {word}" for word, there in found if there.any()]
    largest = f" (up to {np.abs(array[huge]).max():.3g})" if counts[-1].endswith("huge") else ""
    return f"{' and '.join(counts)} of {array.size} voxels{largest}"
