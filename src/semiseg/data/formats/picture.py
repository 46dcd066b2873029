"""PNG, BMP and JPEG pictures through Pillow: arrays (rows, columns), 1 mm unless a sidecar says otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.atomic import atomic_file
from semiseg.data.formats.arrays import Array, sober
from semiseg.data.formats.geometry import scaling
from semiseg.data.formats.guards import broken, check_array, check_claim, needed_bytes
from semiseg.data.formats.sidecar import keep_spacing, spacing_beside
from semiseg.data.volume import Grid, Header, Volume

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".bmp", ".jpg", ".jpeg")

_PLUGINS = {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_MODES = {
    "1": (1, "uint8"), "L": (1, "uint8"), "P": (1, "uint8"), "I": (1, "int32"), "F": (1, "float32"),
    "I;16": (1, "uint16"), "I;16B": (1, "uint16"), "LA": (1, "uint8"),
    "RGB": (3, "uint8"), "RGBA": (4, "uint8"),
}  # fmt: skip
"""Pillow's modes: channels and type. A palette image is its indices (a label map); LA drops its alpha."""

_SCREEN_DPI = (72, 96, 100, 120, 150, 200, 300, 600)
"""Densities that software writes by default and that say nothing of the patient."""


def read_header(path: Path) -> Header:
    """Shape and type; the file is opened, not decoded."""
    with _opened(path) as image:
        return _describe(path, image)


def read(path: Path) -> Volume:
    """Array (rows, columns) or (rows, columns, 3 or 4)."""
    with _opened(path) as image:
        header = _describe(path, image)
        mode = image.mode
        try:
            array = np.asarray(image.getchannel(0) if mode == "LA" else image)
        except (OSError, SyntaxError, ValueError) as error:
            cut = "truncated" in str(error) or "broken" in str(error)
            code = "TRUNCATED" if cut else "UNREADABLE"
            raise broken(path, f"the picture is damaged or cut off ({error})", code=code) from error
    return Volume(sober(array, path).copy(), header.grid, {"format": "picture", "mode": mode})


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write PNG or BMP without loss; spacing other than 1 mm goes into ``CASE.json`` beside it.

    Raises:
        DataError: BAD_DTYPE for values other than uint8 or uint16 (BMP: uint8), SHEARED for a turned grid,
            UNKNOWN_FORMAT for JPEG, whose losses would change labels.
    """
    from PIL import Image

    check_array(path, array, grid, colors=True)
    plugin = _PLUGINS[path.suffix.lower()]
    if plugin == "JPEG":
        raise broken(path, "JPEG changes values when saved", code="UNKNOWN_FORMAT", hint="write .png instead")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    allowed = ("uint8", "uint16") if plugin == "PNG" and array.ndim == 2 else ("uint8",)
    if len(grid.shape) != 2 or array.dtype.name not in allowed:
        why = f"cannot hold {len(grid.shape)}D {array.dtype} values, wanted 2D {' or '.join(allowed)}"
        raise broken(path, why, code="BAD_DTYPE", hint="write .tif or .nii.gz instead")
    check_upright(path, grid)
    with atomic_file(path) as stream:
        Image.fromarray(np.ascontiguousarray(array)).save(stream, format=plugin)
    keep_spacing(path, grid.spacing)


def check_upright(path: Path, grid: Grid) -> None:
    """Refuse grids that pictures cannot hold: anything but spacing along the axes (an origin is dropped)."""
    if not np.allclose(grid.affine[:3, :3], scaling([*grid.spacing, 1.0][:3])[:3, :3], atol=1e-6):
        hint = "write .nii.gz instead, which keeps the orientation"
        raise broken(path, "pictures cannot hold this turned grid", code="SHEARED", hint=hint)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import Image, UnidentifiedImageError

    plugin = _PLUGINS[path.suffix.lower()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=(plugin,))
        except Image.DecompressionBombError as error:
            raise broken(path, f"claims too many pixels ({error})", code="ABSURD_HEADER") from error
        except UnidentifiedImageError as error:
            raise broken(path, f"is not a {plugin} file") from error
        with image:
            yield image


def _describe(path: Path, image: Image.Image) -> Header:
    shape = (image.height, image.width)
    if image.mode not in _MODES or _is_deep_color(path):
        hint = "save it as 8-bit RGB or as one file per channel"
        raise broken(
            path, f"pixels of the kind {image.mode!r} are not supported", code="BAD_DTYPE", hint=hint
        )
    if getattr(image, "n_frames", 1) > 1:
        raise broken(path, "is an animation", code="NOT_3D", hint="save one picture per file")
    channels, dtype = _MODES[image.mode]
    needed = needed_bytes(shape, np.dtype(dtype).itemsize, channels)
    packed = 8 if image.mode in ("1", "L", "P") else 1  # these may have one bit per pixel in the file
    check_claim(path, shape, needed // packed or 1, path.stat().st_size, compressed=True)
    spacing = spacing_beside(path, 2) or _density(image)
    return Header(Grid(shape, scaling(spacing)), dtype, channels, needed, None)


def _is_deep_color(path: Path) -> bool:
    """Whether a PNG holds 16-bit colors, which Pillow would silently cut to 8 bits."""
    with path.open("rb") as stream:
        start = stream.read(26)
    return start.startswith(b"\x89PNG") and len(start) == 26 and start[24] == 16 and start[25] != 0


def _density(image: Image.Image) -> list[float]:
    """Spacing in mm (rows, columns) from the picture's own density, where it is more than a default."""
    dpi = image.info.get("dpi")
    return spacing_from_dpi(float(dpi[1]), float(dpi[0])) if dpi else [1.0, 1.0]


def spacing_from_dpi(rows: float, columns: float) -> list[float]:
    """Spacing in mm for dots per inch; 1 mm for none, nonsense, and what software writes unasked."""
    values = (rows, columns)
    nonsense = any(not 0 < v < float("inf") for v in values)
    if nonsense or any(abs(v - dpi) < 0.5 for v in values for dpi in _SCREEN_DPI) or values == (1.0, 1.0):
        return [1.0, 1.0]
    return [25.4 / v for v in values]
