"""TIFF through tifffile (Pillow for what it cannot decode): (rows, columns) or (pages, rows, columns)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.atomic import atomic_file
from semiseg.data.formats.arrays import Array, sober, writable
from semiseg.data.formats.geometry import scaling
from semiseg.data.formats.guards import broken, check_array, check_claim, hushed, needed_bytes, not_3d
from semiseg.data.formats.picture import check_upright, spacing_from_dpi
from semiseg.data.formats.sidecar import keep_spacing, spacing_beside
from semiseg.data.volume import Grid, Header, Volume

ENDINGS = (".tiff", ".tif")

_UNITS = {2: 25.4, 3: 10.0}
"""Millimeters in TIFF's resolution units: inch, centimeter."""


def read_header(path: Path) -> Header:
    """Shape and type from the pages' tags."""
    from tifffile import TiffFile

    with hushed("tifffile"), TiffFile(path) as file:
        return _describe(path, file)[0]


def read(path: Path) -> Volume:
    """Array in page, row, column order."""
    from tifffile import TiffFile

    with hushed("tifffile"), TiffFile(path) as file:
        header, axes = _describe(path, file)
        try:
            array = np.asarray(file.series[0].asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            array = _with_pillow(path)
    if axes.startswith("S"):
        array = np.moveaxis(array, 0, -1)
    full = (*header.grid.shape, header.channels) if header.channels > 1 else header.grid.shape
    return Volume(sober(array.reshape(full), path), header.grid, {"format": "tiff"})


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write deflate-compressed TIFF; spacing other than 1 mm goes into ``CASE.json`` beside it.

    Raises:
        DataError: SHEARED for a turned grid, which pictures cannot hold.
    """
    from tifffile import TiffWriter

    check_array(path, array, grid, colors=True)
    check_upright(path, grid)
    array = np.ascontiguousarray(writable(array))
    photometric = "rgb" if array.ndim > len(grid.shape) else "minisblack"
    with atomic_file(path) as stream, TiffWriter(stream, bigtiff=array.nbytes > 2**31) as writer:
        writer.write(array, photometric=photometric, compression="zlib", metadata=None)
    keep_spacing(path, grid.spacing)


def _describe(path: Path, file: Any) -> tuple[Header, str]:
    """The header, and tifffile's letters for the axes longer than 1."""
    if not file.series:
        raise broken(path, "is not a TIFF image (it has no page that makes sense)")
    if len(file.series) > 1:
        hint = "save one image of one size per file"
        raise broken(path, f"holds {len(file.series)} images of unlike sizes", code="NOT_3D", hint=hint)
    series = file.series[0]
    if series.dtype is None:
        raise broken(path, "pixels of a type that numpy does not have", code="BAD_DTYPE")
    pairs = [(n, a) for n, a in zip(series.shape, series.axes, strict=True) if n != 1 or a in "YX"]
    sizes, axes = [n for n, _ in pairs], "".join(a for _, a in pairs)
    channels = next((n for n, a in pairs if a == "S"), 1)
    shape = tuple(int(n) for n, a in pairs if a != "S")
    needed = needed_bytes(sizes, series.dtype.itemsize)
    pages = [page for page in series.pages if page is not None]
    compressed = any(int(page.keyframe.compression) != 1 for page in pages[:1])
    check_claim(path, sizes, needed, path.stat().st_size, compressed=compressed)
    if len(shape) not in (2, 3) or channels not in (1, 3, 4) or axes.strip("S").find("S") >= 0:
        raise not_3d(path, sizes)
    spacing = spacing_beside(path, len(shape)) or _spacing(file, len(shape))
    name = np.dtype(series.dtype).name
    present = None if compressed else path.stat().st_size
    return Header(Grid(shape, scaling(spacing)), name, channels, needed, present), axes


def _spacing(file: Any, axes: int) -> list[float]:
    """From the resolution tags, where they hold a physical unit and no default; pages are 1 mm apart."""
    tags = file.pages[0].tags
    unit = _UNITS.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
    plane = [1.0, 1.0]
    if unit and "XResolution" in tags and "YResolution" in tags:
        rows, columns = (_ratio(tags[name].value) * 25.4 / unit for name in ("YResolution", "XResolution"))
        plane = spacing_from_dpi(rows, columns)
    return [*([1.0] * (axes - 2)), *plane]


def _ratio(value: tuple[int, int]) -> float:
    return value[0] / value[1] if value[1] else 0.0


def _with_pillow(path: Path) -> Array:
    """All pages as Pillow decodes them (LZW, JPEG and fax compression through libtiff)."""
    from PIL import Image, ImageSequence

    with Image.open(path, formats=("TIFF",)) as image:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
    return np.stack(pages) if len(pages) > 1 else pages[0]
