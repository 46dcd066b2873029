"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr), read and written by SimpleITK behind our own guards.

ITK allocates what a header claims, follows a header to any file, and does not tell of damage among compressed
voxels. So the text header is looked at first (claims, names of data files, conventions on which readers
differ), and what is compressed is decoded by ``inflate``, to its checksum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from semiseg.errors import DataError, plural
from semiseg.images.archive import inflate
from semiseg.images.arrays import Array, as_numbers, is_orthogonal, shaped, squeezed, writable
from semiseg.images.claims import (
    bad_spacing,
    broken,
    check_array,
    check_claim,
    check_file,
    check_grid,
    needed_bytes,
    not_3d,
)
from semiseg.images.grid import Grid, Header, Volume, lies_flat, lps_grid, lps_parts
from semiseg.machine.files import replacing

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")

_MAX_HEADER = 1 << 20
_MAX_AXES = 5
_MILLIMETERS = ("", "mm", "millimeter", "millimeters", "?", "???")
_COLORS = ("rgb-color", "rgba-color", "3-color", "4-color", "vector", "3-vector", "4-vector", "none", "???")
_SPACE = ("domain", "space")


@dataclass(frozen=True)
class _Text:
    """The text header of a file, in one vocabulary for both formats.

    Attributes:
        fields: by MetaImage's own names, or by NRRD's in lower case.
        source: the file with the voxels; start: its first byte of them.
    """

    path: Path
    nrrd: bool
    fields: dict[str, str]
    source: Path
    start: int

    @property
    def packed(self) -> bool:
        if self.nrrd:
            return self.fields["encoding"].lower() in ("gzip", "gz")
        return self.fields.get("CompressedData", "").lower() in ("true", "1")

    @property
    def big_endian(self) -> bool:
        if self.nrrd:
            return self.fields.get("endian", "").lower() == "big"
        flags = (self.fields.get(f"{name}ByteOrderMSB", "") for name in ("BinaryData", "Element"))
        return any(flag.lower() in ("true", "1") for flag in flags)

    @property
    def says_spacing(self) -> bool:
        names = ("spacings", "space directions") if self.nrrd else ("ElementSpacing", "ElementSize")
        return any(name in self.fields for name in names)

    @property
    def kinds(self) -> list[str]:
        return self.fields.get("kinds", "").lower().split() if self.nrrd else []

    def numbers(self, *names: str) -> list[float]:
        text = next((self.fields[name] for name in names if name in self.fields), "")
        return [float(word) for word in text.split()]


def read_header(path: Path) -> Header:
    """Shape, grid and type, without the voxels."""
    return _describe(*_informed(path))


def read(path: Path) -> Volume:
    """Voxels and grid; raw, zlib or gzip."""
    text, reader = _informed(path)
    header = _describe(text, reader)
    array = _unpacked(text, header) if text.packed else _voxels(text, reader)
    full = (*header.grid.shape, header.channels) if header.channels > 1 else header.grid.shape
    return Volume(
        array.reshape(full, order="A"), header.grid, {"format": "nrrd" if text.nrrd else "metaimage"}
    )


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write one compressed .mha or .nrrd.

    Raises:
        DataError: SHEARED for a tilted 2D image, and for a sheared grid in MetaImage, which readers refuse.
    """
    check_array(path, array, grid)
    ending = path.suffix.lower()
    if ending in (".nhdr", ".mhd"):
        one = ".nrrd" if ending == ".nhdr" else ".mha"
        raise broken(path, "is a two-file format", code="UNKNOWN_FORMAT", hint=f"write {one} instead")
    axes = len(grid.shape)
    flat = axes == 3 or lies_flat(grid)
    if not flat or not (ending == ".nrrd" or is_orthogonal(grid.affine, axes)):
        hint = "write .nii.gz instead, which keeps the affine as it is"
        raise broken(path, f"{ending} cannot hold this sheared or tilted grid", code="SHEARED", hint=hint)
    sitk = _sitk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(writable(array).T))
    steps, origin = lps_parts(grid)
    spacing = np.linalg.norm(steps, axis=1)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin[:axes].tolist())
    image.SetDirection((steps / spacing[:, None])[:, :axes].T.ravel().tolist())
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _sitk() -> Any:
    """SimpleITK, which has no types, imported when it is first needed."""
    import SimpleITK

    return SimpleITK


def _informed(path: Path) -> tuple[_Text, Any]:
    """The checked text header, and ITK's reader once it has read the same header."""
    text = _parsed(path)
    _check_text(text)
    sitk = _sitk()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if text.nrrd else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _not_read(path, error) from error
    return text, reader


def _unpacked(text: _Text, header: Header) -> Array:
    """Compressed voxels, decoded here: ITK gives what it has when the stream is damaged, without an error."""
    with text.source.open("rb") as stream:
        stream.seek(text.start)
        data = inflate(stream, header.needed_bytes, text.source)
    dtype = np.dtype(header.dtype).newbyteorder(">" if text.big_endian else "<")
    return shaped(data, dtype, header.grid.shape, header.channels, text.path)


def _voxels(text: _Text, reader: Any) -> Array:
    """First axis fastest, as both formats store it; components last."""
    try:
        array = _sitk().GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _not_read(text.path, error) from error
    axes = len(reader.GetSize())
    return as_numbers(array.transpose(*range(axes - 1, -1, -1), *range(axes, array.ndim)), text.path)


def _not_read(path: Path, error: RuntimeError) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = (lines or ["no reason given"])[-1].rpartition("): ")[2][:160]
    return broken(path, f"cannot be read ({why})")


def _parsed(path: Path) -> _Text:
    with path.open("rb") as stream:
        nrrd = stream.read(4) == b"NRRD"
        stream.seek(0)
        fields = _nrrd_fields(stream) if nrrd else _meta_fields(stream)
        start = stream.tell()
    wanted = ("dimension", "sizes", "type", "encoding")
    if not nrrd:
        wanted = ("NDims", "DimSize", "ElementType", "ElementDataFile")
    missing = [key for key in wanted if key not in fields]
    if missing:
        name = "an NRRD" if nrrd or path.suffix.lower() in (".nrrd", ".nhdr") else "a MetaImage"
        raise broken(path, f"is not {name} file (its header has no {', '.join(missing)})")
    named = fields.get("data file", fields.get("datafile")) if nrrd else fields["ElementDataFile"]
    if named is None or (not nrrd and named.upper() == "LOCAL"):
        return _Text(path, nrrd, fields, path, start)
    return _Text(path, nrrd, fields, data_file_of(path, named), 0)


def _nrrd_fields(stream: BinaryIO) -> dict[str, str]:
    """``key: value`` up to a blank line; comments and ``key:=value`` pairs of users are passed over."""
    fields: dict[str, str] = {}
    for line in iter(lambda: stream.readline(_MAX_HEADER), b""):
        words = line.decode("utf-8", "replace").strip()
        if not words or stream.tell() > _MAX_HEADER:
            break
        key, colon, value = words.partition(": ")
        if colon and not words.startswith("#") and ":=" not in key:
            fields[key.strip().lower()] = value.strip()
    return fields


def _meta_fields(stream: BinaryIO) -> dict[str, str]:
    """``key = value`` up to ElementDataFile, which is the last."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields and stream.tell() < _MAX_HEADER:
        line = stream.readline(1 << 16)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        fields[key.strip()] = value.strip()
    return fields


def data_file_of(path: Path, name: str) -> Path:
    """The file ``name`` in the folder of the header ``path``: a plain name, nothing that leads elsewhere.

    Raises:
        DataError: UNREADABLE for lists, patterns and paths, MISSING_FILE when absent.
    """
    plain = Path(name).name == name and not set(name) & set("\\% ")
    if not plain or name.upper().startswith("LIST") or name in ("", ".", ".."):
        hint = "save the image as one file (.nii.gz, .nrrd or .mha)"
        raise broken(path, f"keeps its voxels in {name!r}, wanted one file in the same folder", hint=hint)
    source = path.with_name(name)
    if not source.is_file():
        hint = f"copy {name} beside it, or save the image as one file"
        raise broken(path, f"keeps its voxels in {name!r}, which is missing", code="MISSING_FILE", hint=hint)
    check_file(source)
    return source


def _check_text(text: _Text) -> None:
    """Refuse what ITK would read otherwise than the header says, or not safely."""
    path, fields = text.path, text.fields
    axes = int(fields["dimension" if text.nrrd else "NDims"])
    sizes = [int(word) for word in fields["sizes" if text.nrrd else "DimSize"].split()]
    if len(sizes) != axes or not 1 <= axes <= _MAX_AXES:
        raise broken(
            path,
            f"the header has {plural(len(sizes), 'size')} for {plural(axes, 'axis', 'axes')}",
            code="NOT_3D",
        )
    if any(not 0 < n < 2**31 for n in sizes):
        raise broken(path, f"the header claims sizes {sizes}", code="ABSURD_HEADER")
    _check_encoding(text)
    inner = [kind not in _SPACE for kind in text.kinds] or [False] * axes
    spacing = text.numbers("spacings") or text.numbers("ElementSpacing", "ElementSize")
    spacing = [mm for mm, not_space in zip(spacing, inner, strict=False) if not not_space]
    if any(not 0 < mm < float("inf") for mm in spacing):
        raise bad_spacing(path, spacing)
    if (
        text.nrrd
        and not text.says_spacing
        and {"axis mins", "axis maxs", "axismins", "axismaxs"} & set(fields)
    ):
        why = (
            "says where its axes begin and end and not how far its samples lie apart, which ITK does not read"
        )
        raise broken(path, why, code="BAD_SPACING", hint="save it with spacings or space directions")
    _check_units(text, inner)
    timed = [n for n, kind in zip(sizes, text.kinds, strict=False) if kind == "time" and n > 1]
    if timed:
        raise not_3d(path, sizes, f", not {timed[0]} points in time")
    spaces = [word for word in fields.get("space directions", "").split(")") if "(" in word]
    if text.nrrd and spaces and len(spaces) != spaces[0].count(",") + 1:
        why = f"has {len(spaces)} axes in a space of {spaces[0].count(',') + 1}, which ITK does not read"
        raise broken(path, why, code="NOT_3D", hint="save it as .nii.gz, or as a volume of one slice")


def _check_encoding(text: _Text) -> None:
    path, fields = text.path, text.fields
    if text.nrrd:
        encoding = fields["encoding"].lower()
        if encoding not in ("raw", "gzip", "gz"):
            hint = "save it with raw or gzip encoding"
            raise broken(path, f"the encoding {encoding!r} is not supported", hint=hint)
        skips = [fields[key] for key in ("line skip", "lineskip", "byte skip", "byteskip") if key in fields]
        if text.packed and any(int(skip) for skip in skips):
            raise broken(path, "skips bytes of compressed data", hint="save it again as one file")
        return
    if fields.get("BinaryData", "True").lower() in ("false", "0"):
        raise broken(path, "keeps its voxels as text", hint="save it in binary form")
    present = text.source.stat().st_size - text.start
    if text.packed and int(fields.get("CompressedDataSize", present)) != present:
        why = f"holds {present} bytes of compressed voxels, its header says {fields['CompressedDataSize']}"
        raise broken(path, why, code="TRUNCATED")
    slope = text.numbers("ElementToIntensityFunctionSlope") or [1.0]
    offset = text.numbers("ElementToIntensityFunctionOffset") or [0.0]
    if (slope, offset) != ([1.0], [0.0]):
        why = f"scales its values by {slope[0]:g} and {offset[0]:g}, which readers apply or not"
        raise broken(path, why, code="BAD_RESCALE", hint="save it with the values themselves")


def _check_units(text: _Text, inner: Sequence[bool]) -> None:
    """ITK takes any unit for millimeters."""
    if text.nrrd:
        given = text.fields.get("space units")
        units = given.split('"')[1::2] if given else text.fields.get("units", "").split('"')[1::2]
        if not given:
            units = [unit for unit, not_space in zip(units, inner, strict=False) if not not_space]
    else:
        units = [text.fields.get("DistanceUnits", "")]
    odd = sorted({unit for unit in units if unit.strip().lower() not in _MILLIMETERS})
    if odd:
        why = f"measures in {', '.join(map(repr, odd))}, which ITK takes for mm"
        hint = "save it with spacing and origin in mm"
        raise broken(text.path, why, code="BAD_SPACING", hint=hint)


def _describe(text: _Text, reader: Any) -> Header:
    path, sizes, channels = text.path, list(reader.GetSize()), int(reader.GetNumberOfComponents())
    kind = str(_sitk().GetPixelIDValueAsString(reader.GetPixelIDValue()))
    dtype = _dtype(path, kind)
    needed = needed_bytes(sizes, dtype.itemsize, channels)
    present = max(text.source.stat().st_size - text.start, 0)
    check_claim(path, sizes, needed, present, compressed=text.packed)
    shape = squeezed(sizes)
    inner = [kind for kind in text.kinds if kind not in _SPACE]
    colors = channels in (3, 4) and dtype.kind == "u" and text.kinds[:1] == inner[:1]
    colors = colors and not set(inner) - set(_COLORS)
    if len(shape) not in (2, 3) or (channels > 1 and not colors):
        values = f", not {channels} values ({dtype.name}) per voxel" if channels > 1 else ""
        raise not_3d(path, [*sizes, channels] if channels > 1 else sizes, values)
    space = min(len(sizes), 3)
    steps = np.reshape(reader.GetDirection(), (len(sizes), -1)).T * np.reshape(reader.GetSpacing(), (-1, 1))
    grid = lps_grid(shape, steps[: len(shape), :space], reader.GetOrigin()[:space])
    if not text.says_spacing:
        grid = replace(grid, unit="px")
    return Header(check_grid(path, grid), dtype.name, channels, needed, None if text.packed else present)


def _dtype(path: Path, kind: str) -> np.dtype[Any]:
    """From ITK's words, such as ``vector of 8-bit unsigned integer``."""
    bits = next((word.removesuffix("-bit") for word in kind.split() if word.endswith("-bit")), "")
    if not bits or "complex" in kind:
        raise broken(path, f"voxels of the type {kind!r}", code="BAD_DTYPE", hint="save real numbers")
    name = "float" if "float" in kind else "uint" if "unsigned" in kind else "int"
    return np.dtype(f"{name}{bits}")
