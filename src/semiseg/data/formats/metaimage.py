"""MetaImage: .mha (one file) and .mhd (voxels in a file beside it). The short text header is parsed here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.atomic import atomic_file
from semiseg.data.formats.arrays import Array, is_orthogonal, raw_bytes, shaped, squeezed, writable
from semiseg.data.formats.beside import data_file_beside
from semiseg.data.formats.geometry import lies_flat, lps_grid, lps_parts
from semiseg.data.formats.guards import (
    bad_spacing,
    broken,
    check_array,
    check_claim,
    check_grid,
    needed_bytes,
    not_3d,
)
from semiseg.data.formats.inflate import inflate, plain
from semiseg.data.volume import Grid, Header, Volume

ENDINGS = (".mha", ".mhd")

_MAX_HEADER_LINES = 512
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""MetaIO's type names; its LONG has 4 bytes on every machine."""

_WRITTEN = {
    "i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip

_Fields = dict[str, str]


def read_header(path: Path) -> Header:
    """Shape, grid and type from the text at the start of the file."""
    return _describe(path, *_parse(path))


def read(path: Path) -> Volume:
    """Voxels and grid; raw or zlib-compressed."""
    fields, start = _parse(path)
    header = _describe(path, fields, start)
    source, start = _source(path, fields, start)
    with source.open("rb") as stream:
        if _flag(fields, "CompressedData"):
            stream.seek(start)
            data = inflate(stream, header.needed_bytes, source)
        else:
            skip = int(fields.get("HeaderSize", "0"))
            stream.seek(*((-header.needed_bytes, 2) if skip == -1 else (start + max(skip, 0), 0)))
            data = plain(stream, header.needed_bytes, source)
    array = shaped(data, _dtype(path, fields), header.grid.shape, header.channels, path)
    return Volume(array, header.grid, {"format": "metaimage"})


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write one compressed .mha, or an .mhd with a .zraw beside it.

    Raises:
        DataError: SHEARED, since MetaImage keeps directions and spacing apart and readers refuse a shear.
    """
    check_array(path, array, grid)
    axes = len(grid.shape)
    flat = axes == 3 or lies_flat(grid)
    if not flat or not is_orthogonal(grid.affine, axes):
        hint = "write .nii.gz instead, which keeps the affine as it is"
        raise broken(path, "MetaImage cannot hold this sheared or tilted grid", code="SHEARED", hint=hint)
    array = writable(array)
    data = zlib.compress(raw_bytes(array), 6 if array.dtype.itemsize == 1 else 1)
    detached = path.suffix.lower() == ".mhd"
    if detached:
        with atomic_file(path.with_suffix(".zraw")) as stream:
            stream.write(data)
    with atomic_file(path) as stream:
        stream.write(_header_text(array, grid, len(data), path, detached).encode("utf-8"))
        if not detached:
            stream.write(data)


def _header_text(array: Array, grid: Grid, size: int, path: Path, detached: bool) -> str:
    axes = len(grid.shape)
    steps, origin = lps_parts(grid)
    spacing = np.linalg.norm(steps, axis=1)
    cosines = (steps / spacing[:, None])[:, :axes]
    fields = {
        "ObjectType": "Image",
        "NDims": str(axes),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(size),
        "TransformMatrix": _numbers(cosines.ravel()),
        "Offset": _numbers(origin[:axes]),
        "CenterOfRotation": _numbers(np.zeros(axes)),
        "ElementSpacing": _numbers(spacing),
        "DimSize": " ".join(str(n) for n in array.shape),
        "ElementType": _WRITTEN[array.dtype.str[1:]],
        "ElementDataFile": path.with_suffix(".zraw").name if detached else "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items())


def _numbers(values: Array) -> str:
    return " ".join(repr(float(v)) for v in values)


def _parse(path: Path) -> tuple[_Fields, int]:
    """The ``key = value`` lines up to ElementDataFile, which is the last, and the byte after them."""
    fields: _Fields = {}
    with path.open("rb") as stream:
        for _ in range(_MAX_HEADER_LINES):
            line = stream.readline(1 << 16)
            key, equals, value = line.decode("utf-8", "replace").partition("=")
            if not equals:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        start = stream.tell()
    missing = [key for key in ("NDims", "DimSize", "ElementType", "ElementDataFile") if key not in fields]
    if missing:
        raise broken(path, f"is not a MetaImage file (its header has no {', '.join(missing)})")
    return fields, start


def _describe(path: Path, fields: _Fields, start: int) -> Header:
    sizes = [int(n) for n in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]):
        raise broken(path, f"DimSize has {len(sizes)} numbers, NDims says {fields['NDims']}")
    if fields.get("BinaryData", "True").lower() == "false":
        raise broken(path, "keeps its voxels as text", hint="save it in binary form")
    dtype = _dtype(path, fields)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    source, start = _source(path, fields, start)
    present = max(source.stat().st_size - start, 0)
    compressed = _flag(fields, "CompressedData")
    needed = needed_bytes(sizes, dtype.itemsize, channels)
    check_claim(path, sizes, needed, present, compressed=compressed)
    shape = squeezed(sizes)
    if len(shape) not in (2, 3) or channels not in (1, 3, 4):
        raise not_3d(path, sizes, f" with 1, 3 or 4 channels, not {channels}" if channels > 1 else "")
    grid = check_grid(path, _grid(path, fields, shape, len(sizes)))
    return Header(grid, dtype.name, channels, needed, None if compressed else present)


def _grid(path: Path, fields: _Fields, shape: tuple[int, ...], axes: int) -> Grid:
    spacing = _floats(fields, ("ElementSpacing", "ElementSize"), [1.0] * axes)
    origin = _floats(fields, ("Offset", "Position", "Origin"), [0.0] * axes)
    cosines = _floats(fields, ("TransformMatrix", "Rotation", "Orientation"), list(np.eye(axes).ravel()))
    if any(not 0 < s < float("inf") for s in spacing):
        raise bad_spacing(path, spacing)
    # each row is the direction of one array axis
    steps = np.reshape(cosines, (axes, axes)) * np.asarray(spacing)[:, None]
    return lps_grid(shape, steps[: len(shape), : min(axes, 3)], origin[: min(axes, 3)])


def _floats(fields: _Fields, keys: tuple[str, ...], default: list[float]) -> list[float]:
    text = next((fields[key] for key in keys if key in fields), None)
    return default if text is None else [float(t) for t in text.split()]


def _dtype(path: Path, fields: _Fields) -> np.dtype[Any]:
    name = fields["ElementType"].removesuffix("_ARRAY")
    if name not in _TYPES:
        raise broken(path, f"voxels of the unknown type {name!r}", code="BAD_DTYPE")
    big = _flag(fields, "BinaryDataByteOrderMSB") or _flag(fields, "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + _TYPES[name])


def _flag(fields: _Fields, key: str) -> bool:
    return fields.get(key, "False").strip().lower() in ("true", "1")


def _source(path: Path, fields: _Fields, start: int) -> tuple[Path, int]:
    name = fields["ElementDataFile"]
    return (path, start) if name.upper() == "LOCAL" else (data_file_beside(path, name), 0)
