"""PNG, BMP, JPEG, WebP, GIF and PNM through Pillow, as viewers show them: (rows, columns), px unless said."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from semiseg.images.arrays import Array, as_numbers, keep_spacing, spacing_beside
from semiseg.images.claims import broken, check_array, check_claim, check_memory, needed_bytes
from semiseg.images.grid import Grid, Header, Volume, scaling
from semiseg.machine.files import atomic_file

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".gif", ".pgm", ".ppm")

_PLUGINS = {
    ".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF",
    ".pgm": "PPM", ".ppm": "PPM",
}  # fmt: skip
_READ_ONLY = ("JPEG", "WEBP", "GIF", "PPM")
_MODES = {
    "1": (1, "uint8"), "L": (1, "uint8"), "P": (3, "uint8"), "I": (1, "int32"), "F": (1, "float32"),
    "I;16": (1, "uint16"), "I;16B": (1, "uint16"), "LA": (1, "uint8"),
    "RGB": (3, "uint8"), "RGBA": (3, "uint8"),
}  # fmt: skip
"""Pillow's modes: channels and type as read. Alpha is dropped where nothing is transparent."""

_ORIENTATION = 0x0112
"""The tag of EXIF and TIFF that says which corner of the picture is stored first."""

_SCREEN_DPI = (72, 96, 100, 120, 150, 200, 300, 600)
"""Densities that software writes by default and that say nothing of the patient."""


@dataclass(frozen=True)
class _Layout:
    header: Header
    orientation: int


def read_header(path: Path) -> Header:
    """Shape and type; the file is opened, not decoded."""
    with _opened(path) as (image, stream):
        return _describe(path, image, stream).header


def read(path: Path) -> Volume:
    """Array (rows, columns) or (rows, columns, 3): upright as EXIF says, palettes as their colors.

    Raises:
        DataError: TRANSPARENT where pixels are transparent, so that viewers show different things.
    """
    return _read(path, indices=False)


def read_label(path: Path) -> Volume:
    """As :func:`read`, but the pixels of a palette picture are its indices, which are class numbers."""
    return _read(path, indices=True)


def _read(path: Path, *, indices: bool) -> Volume:
    with _opened(path) as (image, stream):
        looks = _describe(path, image, stream)
        mode, kind = image.mode, image.format
        palette = _palette(image) if indices and image.mode == "P" else None
        try:
            if kind == "PNG":
                _check_chunks(path, stream)
            array = _pixels(path, image, indices)
        except (OSError, SyntaxError, ValueError) as error:
            cut = "truncated" in str(error) or "broken" in str(error)
            code = "TRUNCATED" if cut else "UNREADABLE"
            raise broken(path, f"the picture is damaged or cut off ({error})", code=code) from error
    array = np.ascontiguousarray(upright(as_numbers(array, path), looks.orientation))
    meta: dict[str, Any] = {"format": "picture", "mode": mode}
    if palette is not None:
        meta["palette"] = palette
    if _PLUGINS.get(path.suffix.lower(), kind) != kind and kind != "MPO":
        meta["content"] = next(ending for ending, plugin in _PLUGINS.items() if plugin == kind)
    return Volume(array.copy() if array.base is not None else array, looks.header.grid, meta)


def _pixels(path: Path, image: Image.Image, indices: bool) -> Array:
    if image.mode == "P" and indices:
        return np.asarray(image)
    alpha = "A" in image.mode or "transparency" in image.info
    if not alpha:
        return np.asarray(image.convert(_palette_mode(image)) if image.mode == "P" else image)
    gray = image.mode in ("1", "L", "LA", "I", "I;16", "I;16B")
    if gray and image.mode != "LA" and image.mode not in ("1", "L"):
        values = np.asarray(image)
        return require_opaque(path, values, (values != image.info["transparency"]) * np.uint8(255))
    array = np.asarray(image.convert("LA" if gray else "RGBA"))
    colors = array[..., 0] if gray or _palette_mode(image) == "L" else array[..., :3]
    return require_opaque(path, colors, array[..., -1])


def require_opaque(path: Path, colors: Array, alpha: Array) -> Array:
    """``colors``, if no pixel is transparent: what is seen behind a transparent one depends on the viewer."""
    count = int((alpha < np.iinfo(alpha.dtype).max).sum())
    if count:
        why = f"{count} of {alpha.size} pixels transparent, so that viewers show different pictures"
        raise broken(path, why, code="TRANSPARENT", hint="save it without an alpha channel (flattened)")
    return colors


def upright(array: Array, orientation: int, first: int = 0) -> Array:
    """The array as it is meant to be seen (EXIF 2.3, 0x0112); ``first`` is its axis of rows, then columns."""
    if orientation >= 5:
        array = array.swapaxes(first, first + 1)
    if orientation in (3, 4, 7, 8):
        array = np.flip(array, first)
    if orientation in (2, 3, 6, 7):
        array = np.flip(array, first + 1)
    return array


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write PNG or BMP without loss; spacing other than 1 mm goes into ``CASE.json`` beside it.

    ``meta["palette"]`` (index -> color) says how 8-bit class numbers are shown; they stay as they are.

    Raises:
        DataError: BAD_DTYPE for values other than uint8 or uint16 (BMP: uint8), SHEARED for a turned grid,
            UNKNOWN_FORMAT for JPEG and WebP, whose losses would change labels, and for GIF and PNM.
    """
    from PIL import Image

    check_array(path, array, grid, colors=True)
    plugin = _PLUGINS[path.suffix.lower()]
    if plugin in _READ_ONLY:
        raise broken(path, f"{plugin} is read, not written", code="UNKNOWN_FORMAT", hint="write .png instead")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    allowed = ("uint8", "uint16") if plugin == "PNG" and array.ndim == 2 else ("uint8",)
    if len(grid.shape) != 2 or array.dtype.name not in allowed:
        why = f"cannot hold {len(grid.shape)}D {array.dtype} values, wanted 2D {' or '.join(allowed)}"
        raise broken(path, why, code="BAD_DTYPE", hint="write .tif or .nii.gz instead")
    check_upright(path, grid)
    picture = Image.fromarray(np.ascontiguousarray(array))
    palette = (meta or {}).get("palette")
    if palette and picture.mode == "L":
        picture = Image.frombytes("P", picture.size, picture.tobytes())
        picture.putpalette(flat_palette(palette))
    with atomic_file(path) as stream:
        picture.save(stream, format=plugin)
    keep_spacing(path, grid)


def check_upright(path: Path, grid: Grid) -> None:
    """Refuse grids that pictures cannot hold: anything but spacing along the axes (an origin is dropped)."""
    if not np.allclose(grid.affine[:3, :3], scaling([*grid.spacing, 1.0][:3])[:3, :3], atol=1e-6):
        hint = "write .nii.gz instead, which keeps the orientation"
        raise broken(path, "pictures cannot hold this turned grid", code="SHEARED", hint=hint)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """The picture, whichever of the formats of this file it has, and its stream."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(stream, formats=tuple(dict.fromkeys(_PLUGINS.values())))
        except Image.DecompressionBombError as error:
            raise broken(path, f"claims too many pixels ({error})", code="ABSURD_HEADER") from error
        except UnidentifiedImageError as error:
            known = "/".join(dict.fromkeys(_PLUGINS.values()))
            raise broken(path, f"is not a picture ({known})") from error
        with image:
            yield image, stream


def _describe(path: Path, image: Image.Image, stream: BinaryIO) -> _Layout:
    if image.mode not in _MODES or _is_deep_color(stream):
        hint = "save it as 8-bit RGB or as one file per channel"
        raise broken(
            path, f"pixels of the kind {image.mode!r} are not supported", code="BAD_DTYPE", hint=hint
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's second view is no animation
        raise broken(path, "is an animation", code="NOT_3D", hint="save one picture per file")
    channels, dtype = _MODES[image.mode]
    if image.mode == "P" and _palette_mode(image) == "L":
        channels = 1
    orientation = int(image.getexif().get(_ORIENTATION, 1) or 1)
    turned = 5 <= orientation <= 8
    shape = (image.width, image.height) if turned else (image.height, image.width)
    needed = needed_bytes(shape, np.dtype(dtype).itemsize, channels)
    packed = 8 * channels if image.mode in ("1", "L", "P") else 1  # may have one bit per pixel in the file
    check_claim(path, shape, needed // packed or 1, path.stat().st_size, compressed=True)
    check_memory(path, needed, f"{image.width} x {image.height} pixels")
    known = spacing_beside(path, 2)
    if known is None and (density := _density(image)):
        known = density[:: -1 if turned else 1]
    grid = Grid(shape, scaling(known or [1.0, 1.0]), "mm" if known else "px")
    return _Layout(Header(grid, dtype, channels, needed, None), orientation)


def _palette_mode(image: Image.Image) -> str:
    """``L`` where all colors of the palette are gray, else ``RGB``."""
    if image.mode != "P":
        return image.mode
    return "L" if all(red == green == blue for red, green, blue in _palette(image).values()) else "RGB"


def _palette(image: Image.Image) -> dict[int, tuple[int, int, int]]:
    """Index -> color."""
    values = image.getpalette("RGB") or []
    return dict(enumerate(zip(values[::3], values[1::3], values[2::3], strict=True)))


def flat_palette(colors: Mapping[int, tuple[int, int, int]]) -> list[int]:
    """256 colors in a row, black where none is given."""
    return [part for index in range(256) for part in colors.get(index, (0, 0, 0))]


def _check_chunks(path: Path, stream: BinaryIO) -> None:
    """Compare the checksum of every chunk of a PNG: Pillow passes over those of the pixels."""
    back = stream.tell()
    stream.seek(8)
    kind = b""
    while kind != b"IEND":
        start = stream.read(8)
        kind, length = start[4:], int.from_bytes(start[:4], "big")
        body = stream.read(length)
        checksum = stream.read(4)
        if len(start) < 8 or len(checksum) < 4:
            raise broken(path, "the picture is cut off", code="TRUNCATED")
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big"):
            raise broken(path, f"the picture is damaged (checksum of its {kind.decode('latin-1')!r} part)")
    stream.seek(back)


def _is_deep_color(stream: BinaryIO) -> bool:
    """Whether a PNG holds 16-bit colors, which Pillow would silently cut to 8 bits."""
    back = stream.tell()
    stream.seek(0)
    start = stream.read(26)
    stream.seek(back)
    return start.startswith(b"\x89PNG") and len(start) == 26 and start[24] == 16 and start[25] != 0


def _density(image: Image.Image) -> list[float] | None:
    """Spacing in mm (rows, columns) from the picture's own density, where it is more than a default."""
    dpi = image.info.get("dpi")
    return spacing_from_dpi(float(dpi[1]), float(dpi[0])) if dpi else None


def spacing_from_dpi(rows: float, columns: float) -> list[float] | None:
    """Spacing in mm for dots per inch; None for none, nonsense, and what software writes unasked."""
    values = (rows, columns)
    nonsense = any(not 0 < v < float("inf") for v in values)
    if nonsense or any(abs(v - dpi) < 0.5 for v in values for dpi in _SCREEN_DPI) or values == (1.0, 1.0):
        return None
    return [25.4 / v for v in values]
