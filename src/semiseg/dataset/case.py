"""A case: one scan, with or without a label. The type says which, so nothing can read a label by accident.

All voxels of cases are read here: channels are stacked, grids compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, SemisegError
from semiseg.images import read, read_header, read_label
from semiseg.images.claims import check_memory, readable_bytes
from semiseg.images.grid import Grid, Header, Volume, turned


@dataclass(frozen=True)
class Case:
    """A scan without a label field.

    Attributes:
        id: the file name without channel suffix and ending.
        images: one file per channel, in channel order (a single file for RGB).
    """

    id: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class LabeledCase(Case):
    """A scan whose label may be opened."""

    label: Path

    def without_label(self) -> Case:
        """The same scan with its label path dropped."""
        return Case(self.id, self.images)


def plain(case: Case) -> Case:
    """``case`` as a :class:`Case` that has no label field."""
    return case.without_label() if isinstance(case, LabeledCase) else case


Array = NDArray[Any]
T = TypeVar("T")


def load_case(case: Case, channels: int | None = None) -> tuple[Array, Grid, dict[str, Any]]:
    """Read the images of a case; its label, if it has one, is not touched.

    Args:
        case: one file per channel, or one color file.
        channels: wanted of one picture: gray saved in color is one channel where one is wanted, and three
            where three are. By default, what the files hold.

    Returns:
        ``image`` (C, *S) in file order and the files' own type, the grid of the first channel, and the meta
        that a writer needs to give the file back as it came.

    Raises:
        DataError: an unreadable file, or channels that lie on different grids; names the case.
    """
    if not case.images:
        about = {"case": case.id}
        raise DataError(
            f"{case.id}: no image file", hint="name one file per channel", code="MISSING_FILE", details=about
        )
    if len(case.images) > 1:
        _require_memory(case)
    return stacked(case.id, [(path, _naming(case.id, read, path)) for path in case.images], channels)


def stacked(
    name: str, files: Sequence[tuple[Path, Volume]], channels: int | None = None
) -> tuple[Array, Grid, dict[str, Any]]:
    """The channels of case ``name`` as one array, as :func:`load_case` returns them.

    Raises:
        DataError: channels that lie on different grids; names the case. The order of axes may differ.
    """
    reference, first = files[0]
    volumes = [first, *(_onto(volume, first.grid, path, reference, name) for path, volume in files[1:])]
    found = [channel for volume in volumes for channel in _channels(volume)]
    if len(files) == 1 and channels is not None:
        found = as_seen(found, channels)
    return np.stack(found), first.grid, dict(first.meta)


def as_seen(found: list[Array], wanted: int) -> list[Array]:
    """The channels of one picture in the number ``wanted``, where it shows the same in that number."""
    if wanted == 1 and len(found) == 3 and all(np.array_equal(found[0], other) for other in found[1:]):
        return found[:1]
    if wanted == 3 and len(found) == 1 and found[0].ndim == 2:
        return found * 3
    return found


def load_label(case: LabeledCase, grid: Grid) -> Array:
    """Read the label of a labeled case.

    Args:
        case: whose label may be opened.
        grid: the image's; the label must lie on it, up to rounded numbers and the order of its axes.

    Returns:
        (*S), the values of the file.

    Raises:
        DataError: unreadable, colored, or on another grid; names the case.
    """
    volume = _naming(case.id, read_label, case.label)
    volume = _onto(volume, grid, case.label, case.images[0], case.id)
    if volume.array.shape != volume.grid.shape:
        raise DataError(
            f"{case.id}: the label {case.label.name} is a color image, wanted one value per pixel",
            hint="save it as a gray image whose values are the class numbers",
            code="LABEL_COLOR",
            details={"case": case.id, "file": str(case.label)},
        )
    return volume.array


def case_header(case: Case) -> Header:
    """The header of the first channel, without reading voxels; the other channels' grids must agree.

    Raises:
        DataError: an unreadable header, or channels on different grids; names the case.
    """
    headers = [_naming(case.id, read_header, path) for path in case.images]
    for path, header in zip(case.images[1:], headers[1:], strict=True):
        blank = Volume(np.broadcast_to(False, header.grid.shape), header.grid)
        _onto(blank, headers[0].grid, path, case.images[0], case.id)
    return headers[0]


def _require_memory(case: Case) -> None:
    """Readers look whether their file fits into free memory; here, whether all channels together do."""
    first = case.images[0]
    needed = _naming(case.id, read_header, first).needed_bytes * len(case.images)
    claim = f"its {len(case.images)} channels ({readable_bytes(needed)})"
    _naming(case.id, lambda path: check_memory(path, needed, claim), first)


def _naming(case: str, reader: Callable[[Path], T], path: Path) -> T:
    """``reader(path)``, with the case named in its errors and lost files told like broken ones."""
    try:
        return reader(path)
    except SemisegError as error:
        if case not in error.message:
            error.message = f"{case}: {error.message}"
            error.args = (error.message,)
        error.details.setdefault("case", case)
        raise
    except OSError as error:
        raise DataError(
            f"{case}: cannot read {path}: {error.strerror or error}",
            hint="see that the file is there and may be read; `semiseg check` lists every such file",
            code="UNREADABLE",
            details={"case": case, "file": str(path)},
        ) from None


def _channels(volume: Volume) -> list[Array]:
    """(*S) is one channel; colors stand last, as (H, W, 3)."""
    colored = volume.array.ndim > len(volume.grid.shape)
    return list(np.moveaxis(volume.array, -1, 0)) if colored else [volume.array]


def _onto(volume: Volume, wanted: Grid, path: Path, reference: Path, case: str) -> Volume:
    """The volume with its axes as ``wanted`` has them.

    Raises:
        DataError: the grids differ in more than that.
    """
    if volume.grid.matches(wanted):
        return volume
    array = turned(volume.array, volume.grid, wanted)
    if array is not None:
        return replace(volume, array=array, grid=wanted)
    grid, what = volume.grid, f"shape {volume.grid.shape}, wanted {wanted.shape}"
    if grid.shape == wanted.shape:
        gap, voxels = grid.corner_gap_mm(wanted), wanted.corner_gap_voxels(grid)
        what = f"its corners lie up to {gap:.3g} mm away ({voxels:.2g} voxels; {grid.unlike(wanted)})"
    raise DataError(
        f"{case}: {path.name} does not lie on the grid of {reference.name}: {what}",
        hint="resample it onto the image, or fix its header; `semiseg check` finds all such cases",
        code="GEOMETRY",
        details={"case": case, "file": str(path)},
    )
