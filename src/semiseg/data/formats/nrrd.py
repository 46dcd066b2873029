"""NRRD, attached (.nrrd) or with its voxels in a file beside it (.nhdr); headers are parsed by pynrrd."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from semiseg.atomic import atomic_file
from semiseg.data.formats.arrays import Array, raw_bytes, shaped, squeezed, writable
from semiseg.data.formats.beside import data_file_beside
from semiseg.data.formats.geometry import LPS_TO_RAS, lies_flat, lps_parts, ras_grid
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

ENDINGS = (".nrrd", ".nhdr")

_MAX_HEADER = 1 << 24
_CODECS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_COLOR_KINDS = ("rgb-color", "rgba-color", "3-color", "4-color", "vector", "3-vector", "4-vector", "list")
_FRAMES = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
"""Frames by name; any other, or none, is taken as left-posterior-superior, as ITK does."""

_TYPES = {
    "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int",
    "uint32": "uint", "int64": "int64", "uint64": "uint64", "float32": "float", "float64": "double",
}  # fmt: skip


def read_header(path: Path) -> Header:
    """Shape, grid and type from the text at the start of the file."""
    return _describe(path, *_parse(path))


def read(path: Path) -> Volume:
    """Voxels and grid; encodings raw, gzip and bzip2."""
    fields, start = _parse(path)
    header = _describe(path, fields, start)
    codec = _codec(path, fields)
    source, start = _source(path, fields, start)
    with source.open("rb") as stream:
        _skip(stream, fields, start, header.needed_bytes, codec)
        if codec == "raw":
            data = plain(stream, header.needed_bytes, source)
        else:
            data = inflate(stream, header.needed_bytes, source, bzip2=codec == "bzip2")
    dtype = _dtype(path, fields)
    array = shaped(data, dtype, header.grid.shape, header.channels, path)
    return Volume(array, header.grid, {"format": "nrrd"})


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write one gzip-encoded file in LPS; a sheared grid is kept, as NRRD can hold it."""
    check_array(path, array, grid)
    if path.suffix.lower() == ".nhdr":
        raise broken(path, "is a two-file format", code="UNKNOWN_FORMAT", hint="write .nrrd instead")
    array = writable(array)
    steps, origin = lps_parts(grid)
    flat = len(grid.shape) == 2 and lies_flat(grid)
    space = 2 if flat else 3
    lines = [
        "NRRD0004",
        f"type: {_TYPES[array.dtype.name]}",
        f"dimension: {array.ndim}",
        "space dimension: 2" if flat else "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in array.shape)}",
        f"space directions: {' '.join(_vector(step[:space]) for step in steps)}",
        f"kinds: {' '.join(['domain'] * array.ndim)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(origin[:space])}",
        "",
        "",
    ]
    packer = zlib.compressobj(6 if array.dtype.itemsize == 1 else 1, wbits=31)
    with atomic_file(path) as stream:
        stream.write("\n".join(lines).encode("ascii"))
        stream.write(packer.compress(raw_bytes(array)))
        stream.write(packer.flush())


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"


def _parse(path: Path) -> tuple[dict[str, Any], int]:
    """The header's fields and the byte after its blank line."""
    import nrrd

    with path.open("rb") as stream:
        if stream.read(4) != b"NRRD":
            raise broken(path, "is not an NRRD file (its first bytes are something else)")
        stream.seek(0)
        lines: list[bytes] = []
        for line in iter(lambda: stream.readline(_MAX_HEADER), b""):
            if not line.strip() or stream.tell() > _MAX_HEADER:
                break
            lines.append(line)
        start = stream.tell()
    fields = dict(nrrd.read_header([line.decode("utf-8", "replace") for line in lines]))
    for key in ("sizes", "type", "encoding"):
        if key not in fields:
            raise broken(path, f"the header has no {key!r}")
    return fields, start


def _describe(path: Path, fields: dict[str, Any], start: int) -> Header:
    sizes = [int(n) for n in fields["sizes"]]
    dtype = _dtype(path, fields)
    source, start = _source(path, fields, start)
    present = max(source.stat().st_size - start, 0)
    codec = _codec(path, fields)
    needed = needed_bytes(sizes, dtype.itemsize)
    check_claim(path, sizes, needed, present, compressed=codec != "raw")
    channels = _channels(fields, sizes)
    shape = squeezed(sizes[1:] if channels > 1 else sizes)
    if len(shape) not in (2, 3):
        raise not_3d(path, sizes)
    grid = check_grid(path, _grid(path, fields, shape, first=int(channels > 1)))
    return Header(grid, dtype.name, channels, needed, present if codec == "raw" else None)


def _channels(fields: dict[str, Any], sizes: list[int]) -> int:
    """Colors are an innermost axis of 3 or 4 that the header says is not space."""
    kinds = [str(kind).lower() for kind in fields.get("kinds", [])]
    inner = bool(kinds) and kinds[0] in _COLOR_KINDS and sizes[0] in (3, 4)
    return sizes[0] if inner and len(sizes) > 2 else 1


def _dtype(path: Path, fields: dict[str, Any]) -> np.dtype[Any]:
    from nrrd.reader import _TYPEMAP_NRRD2NUMPY as TYPES

    name: str | None = TYPES.get(str(fields["type"]).strip())
    if name is None or name == "V":
        raise broken(path, f"voxels of the unknown type {fields['type']!r}", code="BAD_DTYPE")
    big = str(fields.get("endian", "little")).lower() == "big"
    dtype: np.dtype[Any] = np.dtype(name).newbyteorder(">" if big else "<")
    return dtype


def _codec(path: Path, fields: dict[str, Any]) -> str:
    name = str(fields["encoding"]).strip().lower()
    if name not in _CODECS:
        raise broken(
            path, f"the encoding {name!r} is not supported", hint="save it with raw or gzip encoding"
        )
    return _CODECS[name]


def _source(path: Path, fields: dict[str, Any], start: int) -> tuple[Path, int]:
    name = fields.get("data file", fields.get("datafile"))
    return (path, start) if name is None else (data_file_beside(path, str(name)), 0)


def _skip(stream: BinaryIO, fields: dict[str, Any], start: int, needed: int, codec: str) -> None:
    """Go to the first byte of the voxels, past what the header says to skip."""
    stream.seek(start)
    for _ in range(int(fields.get("line skip", fields.get("lineskip", 0)))):
        if not stream.readline():
            break
    step = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if step == -1 and codec == "raw":
        stream.seek(-needed, 2)
    elif step > 0:
        stream.seek(step, 1)


def _grid(path: Path, fields: dict[str, Any], shape: tuple[int, ...], first: int) -> Grid:
    axes = len(shape)
    spacings = [float(s) for s in fields.get("spacings", [])][first : first + axes]
    if any(not 0 < s < float("inf") for s in spacings):
        raise bad_spacing(path, spacings)
    directions = fields.get("space directions")
    if directions is not None:
        steps = np.asarray(
            [[np.nan] if row is None else row for row in directions][first : first + axes], float
        )
    else:
        steps = np.diag(spacings or [1.0] * axes)
    origin = fields.get("space origin")
    start = np.zeros(steps.shape[1]) if origin is None else np.nan_to_num(np.asarray(origin, float))
    flip = _FRAMES.get(str(fields.get("space", "")).strip().lower(), LPS_TO_RAS)
    return ras_grid(shape, steps, start, flip)
