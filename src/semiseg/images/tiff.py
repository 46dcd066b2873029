"""TIFF through tifffile (Pillow for what it cannot decode): (rows, columns) or (slices, rows, columns)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.images.arrays import Array, as_numbers, keep_spacing, rescale, spacing_beside, writable
from semiseg.images.claims import broken, check_array, check_claim, needed_bytes, not_3d, silenced
from semiseg.images.grid import Grid, Header, Volume, scaling
from semiseg.images.picture import check_upright, flat_palette, require_opaque, spacing_from_dpi, upright
from semiseg.images.tiff_pages import check_pages
from semiseg.machine.files import atomic_file

ENDINGS = (".tiff", ".tif")

_UNITS = {2: 25.4, 3: 10.0}
"""Millimeters in TIFF's resolution units: inch, centimeter."""

_NAMED_UNITS = {
    "nm": 1e-6, "nanometer": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "\\u00b5m": 1e-3, "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4,
}  # fmt: skip
"""Millimeters in the units that ImageJ and OME name."""

_NO_CURVE = 20
"""ImageJ's number for values without a calibration."""
_MIN_IS_WHITE, _PALETTE = 0, 3
_SEEN = (0, 1, 2, 3, 4, 6)
"""Photometric interpretations that are read: gray either way, RGB, palette, mask, YCbCr."""

_SLICES = "ZIQ"
"""tifffile's letters of axes that are slices: depth, images of a series, pages of no known meaning."""
_NOT_SLICES = {"T": "points in time", "C": "channels", "R": "tiles", "A": "angles", "H": "lifetimes"}


@dataclass(frozen=True)
class _Layout:
    """How the pixels of the file are stored, and what they become.

    Attributes:
        sizes, axes: of the stored array, with tifffile's letters; axes of length 1 are left out.
        alpha: whether the last sample is one.
        calibration: slope and intercept from stored to shown values, as ImageJ says them.
        orientation: which corner is stored first (TIFF 6.0, tag 274).
    """

    header: Header
    sizes: tuple[int, ...]
    axes: str
    photometric: int
    bits: int
    alpha: bool
    orientation: int
    calibration: tuple[float, float]


def read_header(path: Path) -> Header:
    """Shape and type from the pages' tags."""
    with _opened(path) as file:
        return _describe(path, file).header


def read(path: Path) -> Volume:
    """Array in slice, row, column order (colors last), as it is seen: upright, white where it is white.

    Raises:
        DataError: NOT_3D for points in time and channels, TRANSPARENT for pixels that are transparent.
    """
    return _read(path, indices=False)


def read_label(path: Path) -> Volume:
    """As :func:`read`, but the pixels of a palette image are its indices, which are class numbers."""
    return _read(path, indices=True)


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write deflate-compressed TIFF; spacing other than 1 mm goes into ``CASE.json`` beside it.

    ``meta["palette"]`` (index -> color) says in which colors 8-bit class numbers are shown.

    Raises:
        DataError: SHEARED for a turned grid, which pictures cannot hold.
    """
    from tifffile import TiffWriter

    check_array(path, array, grid, colors=True)
    check_upright(path, grid)
    array = np.ascontiguousarray(writable(array))
    photometric = "rgb" if array.ndim > len(grid.shape) else "minisblack"
    palette, colormap = (meta or {}).get("palette"), None
    if palette and photometric != "rgb" and array.dtype == np.uint8:
        photometric = "palette"
        colormap = np.array(flat_palette(palette), np.uint16).reshape(256, 3).T * np.uint16(257)
    with atomic_file(path) as stream, TiffWriter(stream, bigtiff=array.nbytes > 2**31) as writer:
        writer.write(array, photometric=photometric, colormap=colormap, compression="zlib", metadata=None)
    keep_spacing(path, grid)


def _read(path: Path, *, indices: bool) -> Volume:
    with _opened(path) as file:
        layout = _describe(path, file)
        page: Any = file.pages[0]
        colormap = page.colormap
        try:
            array = np.asarray(file.series[0].asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            array, layout = _with_pillow(path, layout)
    array = array.reshape(layout.sizes)
    if "S" in layout.axes:
        array = np.moveaxis(array, layout.axes.index("S"), -1)
    if layout.alpha:
        colors = array[..., 0] if array.shape[-1] == 2 else array[..., :-1]
        array = require_opaque(path, colors, array[..., -1])
    if layout.photometric == _MIN_IS_WHITE:
        array = array == 0 if array.dtype.kind == "b" else (2**layout.bits - 1) - array
    if layout.photometric == _PALETTE and not indices:
        array = _colored(array, colormap)
    if layout.calibration != (1.0, 0.0):
        array = rescale(array, *layout.calibration)
    shape = layout.header.grid.shape
    array = np.ascontiguousarray(upright(as_numbers(array, path), layout.orientation, len(shape) - 2))
    meta: dict[str, Any] = {"format": "tiff"}
    if indices and layout.photometric == _PALETTE and colormap is not None:
        shown = (np.asarray(colormap) >> 8).T.tolist()
        meta["palette"] = {index: (r, g, b) for index, (r, g, b) in enumerate(shown)}
    return Volume(array, layout.header.grid, meta)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as tifffile sees it, once its pages were walked."""
    from tifffile import TiffFile

    with path.open("rb") as stream:
        check_pages(path, stream)
        stream.seek(0)
        with silenced("tifffile"), TiffFile(stream) as file:
            yield file


def _describe(path: Path, file: Any) -> _Layout:
    if not file.series:
        raise broken(path, "is not a TIFF image (it has no page that makes sense)")
    if len(file.series) > 1:
        hint = "save one image of one size per file"
        raise broken(path, f"holds {len(file.series)} images of unlike sizes", code="NOT_3D", hint=hint)
    series, page = file.series[0], file.pages[0]
    if series.dtype is None:
        raise broken(path, "pixels of a type that numpy does not have", code="BAD_DTYPE")
    pairs = [(int(n), a) for n, a in zip(series.shape, series.axes, strict=True) if n != 1 or a in "YX"]
    sizes, axes = tuple(n for n, _ in pairs), "".join(a for _, a in pairs)
    dtype = np.dtype(series.dtype)
    compressed = int(page.compression) != 1
    check_claim(path, sizes, needed_bytes(sizes, dtype.itemsize), path.stat().st_size, compressed=compressed)
    photometric = int(page.photometric)
    _check_photometric(path, page, photometric, dtype)
    _check_axes(path, sizes, axes, photometric)
    samples = next((n for n, a in pairs if a == "S"), 1)
    channels = {1: 1, 2: 1}.get(samples, 3)
    if photometric == _PALETTE and not _is_gray(page.colormap):
        channels = 3
    orientation = int(page.tags["Orientation"].value) if "Orientation" in page.tags else 1
    spatial = [n for n, a in pairs if a != "S"]
    spacing, known = _spacing(file, len(spatial))
    if orientation >= 5:
        spatial[-2:], spacing[-2:] = spatial[:-3:-1], spacing[:-3:-1]
    beside = spacing_beside(path, len(spatial))
    grid = Grid(tuple(spatial), scaling(beside or spacing), "mm" if beside or known else "px")
    present = None if compressed else path.stat().st_size
    name = "uint8" if dtype.kind == "b" or (photometric == _PALETTE and channels == 3) else dtype.name
    needed = needed_bytes(spatial, dtype.itemsize, channels)
    header = Header(grid, name, channels, needed, present)
    bits = int(page.bitspersample)
    return _Layout(
        header, sizes, axes, photometric, bits, samples in (2, 4), orientation, _calibration(path, file)
    )


def _check_photometric(path: Path, page: Any, photometric: int, dtype: np.dtype[Any]) -> None:
    """Refuse colors and scales that are not read as they are seen."""
    if photometric not in _SEEN or (photometric == 6 and int(page.compression) not in (6, 7)):
        name = getattr(page.photometric, "name", str(photometric))
        hint = "save it as gray or as RGB"
        raise broken(path, f"pixels of the kind {name} are not supported", code="BAD_DTYPE", hint=hint)
    if photometric == _MIN_IS_WHITE and dtype.kind not in "bu":
        why = f"says that the lowest of its {dtype} values is white"
        raise broken(path, why, code="BAD_DTYPE", hint="save it with black as the lowest value")
    if photometric == _PALETTE and page.colormap is None:
        raise broken(path, "has palette pixels without a palette", code="BAD_DTYPE", hint="save it as RGB")


def _check_axes(path: Path, sizes: tuple[int, ...], axes: str, photometric: int) -> None:
    """Refuse whatever is not slices, rows, columns and colors: no stack of times or channels is a volume."""
    wrong = [
        (n, _NOT_SLICES.get(a, "of no known kind"))
        for n, a in zip(sizes, axes, strict=True)
        if a not in "SYX" + _SLICES
    ]
    samples = [n for n, a in zip(sizes, axes, strict=True) if a == "S"]
    if samples and (photometric not in (2, 6) or samples[0] not in (3, 4)) and samples != [2]:
        wrong.append((samples[0], "channels"))
    if wrong:
        what = " and ".join(f"{n} {word}" for n, word in wrong)
        raise not_3d(path, sizes, f", not {what}")
    if len(axes) - len(samples) not in (2, 3) or "Y" not in axes or "X" not in axes or len(samples) > 1:
        raise not_3d(path, sizes)


def _calibration(path: Path, file: Any) -> tuple[float, float]:
    """Slope and intercept of ImageJ's straight line (``cf=0``); other curves are refused."""
    words = (file.imagej_metadata or {}) if file.is_imagej else {}
    curve = words.get("cf")
    if curve is None or curve == _NO_CURVE:
        return 1.0, 0.0
    slope, intercept = (float(words.get(name, usual)) for name, usual in (("c1", 1.0), ("c0", 0.0)))
    if curve != 0 or slope == 0 or not np.isfinite([slope, intercept]).all():
        why = f"has a calibration (ImageJ's function {curve}) that gives stored values their unit"
        hint = "save it with the values that ImageJ shows, as 32-bit numbers"
        raise broken(path, why, code="BAD_RESCALE", hint=hint)
    return slope, intercept


def _is_gray(colormap: Any) -> bool:
    return bool((np.asarray(colormap) == np.asarray(colormap)[:1]).all())


def _colored(array: Array, colormap: Any) -> Array:
    """The 8-bit colors of indices; one channel where the palette is gray."""
    colors = (np.asarray(colormap) >> 8).astype(np.uint8)
    return colors[0][array] if _is_gray(colormap) else np.moveaxis(colors[:, array], 0, -1)


def _spacing(file: Any, axes: int) -> tuple[list[float], bool]:
    """Spacing in mm (slices, rows, columns) from OME's or ImageJ's words or tags, and whether any says it."""
    found = _from_ome(file.ome_metadata) if file.is_ome else None
    if found is None and file.is_imagej:
        found = _from_imagej(file)
    if found is None and (plane := _plane(file.pages[0].tags)):
        found = [1.0, *plane]
    return (found or [1.0] * 3)[3 - axes :], found is not None


def _from_ome(text: str | None) -> list[float] | None:
    """``PhysicalSizeX`` and its like; micrometers where no unit is named, as OME has it."""
    spacing = []
    for axis in "ZYX":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', text or "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', text or "")
        scale = _NAMED_UNITS.get(unit[1] if unit else "um")
        if axis != "Z" and (size is None or scale is None):
            return None
        spacing.append(float(size[1]) * scale if size and scale else 1.0)
    return spacing if all(0 < mm < float("inf") for mm in spacing) else None


def _from_imagej(file: Any) -> list[float] | None:
    """The unit is ImageJ's word, the resolution tags are pixels in it, the step of slices is ``spacing``."""
    words, tags = file.imagej_metadata or {}, file.pages[0].tags
    scale = _NAMED_UNITS.get(str(words.get("unit", "")).strip().lower())
    if scale is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    plane = [_ratio(tags[name].value) for name in ("YResolution", "XResolution")]
    if not all(plane):
        return None
    depth = abs(float(words.get("spacing", 0))) * scale
    return [depth or 1.0, *(scale / pixels for pixels in plane)]


def _plane(tags: Any) -> list[float] | None:
    """From the resolution tags, where they hold a physical unit and no default."""
    unit = _UNITS.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
    if unit is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    rows, columns = (_ratio(tags[name].value) * 25.4 / unit for name in ("YResolution", "XResolution"))
    return spacing_from_dpi(rows, columns)


def _ratio(value: tuple[int, int]) -> float:
    return value[0] / value[1] if value[1] else 0.0


def _with_pillow(path: Path, layout: _Layout) -> tuple[Array, _Layout]:
    """All pages as Pillow decodes them (LZW, JPEG and fax compression through libtiff).

    Pillow turns pages upright, makes white the highest value of 8 bits, and has colors last.
    """
    from PIL import Image, ImageSequence

    with Image.open(path, formats=("TIFF",)) as image:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
    array = np.stack(pages) if len(pages) > 1 else pages[0]
    axes = layout.axes.replace("S", "") + "S" * ("S" in layout.axes)
    inverted = layout.photometric == _MIN_IS_WHITE and array.dtype.itemsize == 1
    photometric = 1 if inverted else layout.photometric
    return array, replace(layout, sizes=array.shape, axes=axes, photometric=photometric, orientation=1)
