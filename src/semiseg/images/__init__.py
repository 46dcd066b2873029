"""Image files: one format is one file in this folder, and the folder is the registry.

A module that declares ``ENDINGS`` and the functions of ``Format`` is found by itself. Arrays are in the
file's own axis order, grids in RAS+ millimeters, so that voxel (i, j, k) lies at the same place in the
patient whichever format holds it. DICOM series, many files per image, are read by ``images.dicom``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.images.archive import head
from semiseg.images.claims import broken, check_file, explained
from semiseg.images.grid import Grid, Header, Volume
from semiseg.images.picture import require_opaque

T = TypeVar("T")


class Format(Protocol):
    """What a module of this folder offers for the endings it names."""

    ENDINGS: tuple[str, ...]

    def read_header(self, path: Path) -> Header:
        """What the file says of itself, without its voxels."""

    def read(self, path: Path) -> Volume:
        """Voxels in file order with their grid."""

    def write(
        self, path: Path, array: NDArray[Any], grid: Grid, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Write atomically."""


def _registry() -> dict[str, Format]:
    found: dict[str, Format] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for ending in getattr(module, "ENDINGS", ()):
            found[ending] = cast(Format, module)
    return found


_FORMATS = _registry()

ENDINGS: tuple[str, ...] = tuple(sorted(_FORMATS, key=lambda ending: (-len(ending), ending)))
"""The recognized endings in lower case, longest first, so that ``.nii.gz`` comes before ``.nii``."""


def ending_of(path: Path) -> str | None:
    """The recognized ending of a file name (lower case), or None."""
    name = Path(path).name.lower()
    return next((e for e in ENDINGS if name.endswith(e) and len(name) > len(e)), None)


def read_header(path: Path) -> Header:
    """Shape, grid and type of an image, from the first bytes of its file alone.

    Raises:
        DataError: EMPTY_FILE, MISSING_FILE, UNKNOWN_FORMAT, UNREADABLE, TRUNCATED, ABSURD_HEADER, TOO_LARGE,
            BAD_SPACING, BAD_DTYPE or NOT_3D.
    """
    header = _by_content(Path(path), lambda chosen, file: chosen.read_header(file))[0]
    return replace(header, channels=3) if header.channels == 4 else header


def read(path: Path) -> Volume:
    """The voxels of an image in file order, with scale factors applied, and its grid.

    What a viewer shows is what is read: pictures upright, palettes as colors, white where it is white.
    Integers stay integers where the scale factors allow it, everything else is float32. Color images have
    their 3 channels as an extra last axis. Trailing axes of length 1 beyond the third are dropped. A file is
    read as what it holds, whatever its name says; ``meta["content"]`` then has the ending it should have.

    Raises:
        DataError: as ``read_header``; TRUNCATED and UNREADABLE also for damage among the voxels.
    """
    volume, content = _by_content(Path(path), lambda chosen, file: chosen.read(file))
    volume = _opaque(Path(path), volume)
    return replace(volume, meta={**volume.meta, "content": content}) if content else volume


def read_label(path: Path) -> Volume:
    """As :func:`read`, for a file of class numbers.

    A palette picture is its indices, a gray picture saved in color one channel, and values that went through
    a scale factor are whole numbers again where that is what they were.

    Raises:
        DataError: as ``read``.
    """
    volume, _ = _by_content(Path(path), lambda chosen, file: getattr(chosen, "read_label", chosen.read)(file))
    array = _opaque(Path(path), volume).array
    if array.ndim > len(volume.grid.shape) and bool((array == array[..., :1]).all()):
        array = array[..., 0]
    return replace(volume, array=_unscaled(array, volume.meta.get("slope")))


def _opaque(path: Path, volume: Volume) -> Volume:
    """Three colors of four, where nothing is transparent; the formats of pictures have looked already."""
    array = volume.array
    if array.ndim == len(volume.grid.shape) or array.shape[-1] != 4:
        return volume
    return replace(volume, array=require_opaque(path, array[..., :3], array[..., 3]))


def _unscaled(array: NDArray[Any], slope: float | None) -> NDArray[Any]:
    """Whole numbers, where each value is one up to half a step of the scale it was stored with."""
    if slope is None or array.dtype.kind != "f" or not np.isfinite(array).all():
        return array
    whole: NDArray[Any] = np.rint(array)
    if abs(slope) >= 1 or np.abs(array - whole).max(initial=0) > abs(slope) / 2 + 1e-6:
        return array
    return whole.astype(np.int32)


def _by_content(path: Path, work: Callable[[Format, Path], T]) -> tuple[T, str | None]:
    """``work`` with the format of the file's name or, where that fails, with the format of its first bytes.

    Returns:
        the result, and the ending that the file should have if it is not its own.
    """
    chosen = _format(path)
    check_file(path)
    try:
        with explained(path):
            return work(chosen, path), None
    except DataError as error:
        with explained(path):
            content = None if error.code != "UNREADABLE" else ending_by_content(path)
        if content is None or _FORMATS[content] is chosen:
            raise
    with explained(path):
        return work(_FORMATS[content], path), content


def write(path: Path, array: NDArray[Any], grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write an image in the format of its ending, whole or not at all.

    Args:
        path: an existing file is replaced; folders are made.
        array: shape ``grid.shape``; its dtype is kept where the format has it. PNG and TIFF also take colors
            (*S, 3 or 4).
        grid: kept exactly by NIfTI and NRRD; other formats refuse what they cannot hold.
        meta: the ``meta`` of the volume this one belongs to (NIfTI codes and units).

    Raises:
        DataError: UNKNOWN_FORMAT, SHAPE_MISMATCH, BAD_DTYPE, BAD_SPACING, SHEARED or UNREADABLE.
    """
    path = Path(path)
    chosen = _format(path)
    with explained(path, "written"):
        chosen.write(path, np.asarray(array), grid, meta)


def _format(path: Path) -> Format:
    ending = ending_of(path)
    if ending is None:
        if path.is_dir():
            check_file(path)
        hint = f"known: {', '.join(ENDINGS)}; DICOM series are converted by semiseg init"
        raise broken(path, "is not a known image format", code="UNKNOWN_FORMAT", hint=hint)
    return _FORMATS[ending]


_STARTS = {
    b"NRRD": ".nrrd", b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp", b"GIF8": ".gif",
    b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif",
    b"ObjectType": ".mha", b"NDims": ".mha", b"\x89HDF": ".h5",
}  # fmt: skip
"""What files begin with, and the ending that suits them."""


def ending_by_content(path: Path) -> str | None:
    """The ending that suits the first bytes of ``path``, or None.

    Raises:
        DataError: UNREADABLE with a hint for a DICOM file under another format's name.
    """
    with path.open("rb") as stream:
        start = head(stream, 540, path)[0]
    if start[128:132] == b"DICM":
        hint = "give the folder of the series, or convert it with semiseg init"
        raise broken(path, "is a DICOM file, whatever its name says", hint=hint)
    if start.startswith(b"version https://git-lfs") or b"/annex/objects/" in start[:200]:
        hint = "fetch the file itself: `git lfs pull`, `git annex get` or `datalad get`"
        why = "is a pointer of Git LFS or git-annex, not the file"
        raise broken(path, why, code="MISSING_FILE", hint=hint)
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        hint = "download it again, signed in where the site asks for it"
        raise broken(path, "is a web page, not the file", code="MISSING_FILE", hint=hint)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    if start[344:347] == b"n+1" or start[4:7] == b"n+2":
        return ".nii"
    return next((ending for magic, ending in _STARTS.items() if start.startswith(magic)), None)
