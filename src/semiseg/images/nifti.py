"""NIfTI-1 and NIfTI-2, plain or gzip, one file or .hdr and .img: sheared affines are kept as they are."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import SemisegError
from semiseg.images.archive import head, inflate, plain
from semiseg.images.arrays import Array, is_orthogonal, raw_bytes, rescale, shaped, squeezed, writable
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
from semiseg.images.grid import Grid, Header, Volume, unit_normal
from semiseg.machine.files import atomic_file

ENDINGS = (".nii.gz", ".nii", ".hdr")

_MILLIMETERS = {1: 1000.0, 3: 0.001}
"""Spatial unit codes that are not millimeters: meters and microns."""
_UNKNOWN_SIZE = b"voxel size unknown"
"""The description that we give files whose grid has the unit ``px``."""
_PAIR = (b"ni1", b"ni2")
_QUATERNION_NOISE = 1e-5
"""How much longer than 1 the vector of a quaternion may be: float32 noise, which ITK and FSL pass over."""


@dataclass
class _File:
    """A NIfTI file that is open: its header, and the stream that holds its voxels."""

    path: Path
    raw: Any
    """nibabel's header object."""
    stream: BinaryIO
    packed: bool
    size: int
    start: int
    """Of the first voxel, in the decoded bytes of ``stream``."""

    @property
    def present(self) -> int:
        """Bytes that hold voxels; where they are packed, those of the file."""
        return self.size if self.packed else max(self.size - self.start, 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """All axes as the header has them; (x, y, z, 1, n), n values per voxel, as (x, y, z, n)."""
        axes = int(self.raw["dim"][0])
        if not 1 <= axes <= 7:
            raise broken(self.path, f"the header claims {axes} axes", code="ABSURD_HEADER")
        sizes = [int(n) for n in self.raw["dim"][1 : axes + 1]]
        if len(sizes) > 4 and sizes[3] == 1:
            del sizes[3]
        return tuple(sizes)


def read_header(path: Path) -> Header:
    """Shape, affine and type of a NIfTI file; 348 or 540 bytes are read."""
    with _opened(path) as file:
        return _describe(file)


def has_vectors(path: Path) -> bool:
    """Whether the file holds several values per voxel, (x, y, z, 1, n), and not frames, (x, y, z, n)."""
    with _opened(path) as file:
        axes = [int(n) for n in file.raw["dim"]]
    return axes[0] > 4 and axes[4] == 1 and axes[5] > 1


def read(path: Path) -> Volume:
    """Voxels with scl_slope and scl_inter applied, and what ``write`` needs to give the file back.

    ``meta`` has ``sform_code``, ``qform_code``, ``xyzt_units``; ``slope`` where values are scaled; where both
    forms are set, ``qform`` (4, 4) and ``form_gap_mm``, how far the two put a corner apart.
    """
    with _opened(path) as file:
        header = _describe(file)
        return _volume(file, header.grid, header.needed_bytes, 0)


def read_frame(path: Path, frame: int) -> Volume:
    """One frame of a 4D file, read and checked as :func:`read` does; the others are not kept.

    Raises:
        DataError: as ``read``; NOT_3D for a file without such a frame.
    """
    with _opened(path) as file:
        sizes = file.sizes
        needed = _checked_claim(file, sizes)
        if len(squeezed(sizes)) != 4 or not 0 <= frame < sizes[3]:
            raise not_3d(path, sizes, f" per frame, and frame {frame}")
        grid = check_grid(path, _grid(file, sizes[:3]))
        return _volume(file, grid, needed // sizes[3], frame)


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write the affine as given (sform), codes from the ``meta`` of :func:`read`, and the array's own type.

    Nothing else of the input's header is copied: free text there may name a patient.
    """
    check_array(path, array, grid)
    if path.suffix.lower() == ".hdr":
        raise broken(path, "is a two-file format", code="UNKNOWN_FORMAT", hint="write .nii.gz instead")
    array = writable(array)
    _save(path, header_of(array, grid, meta), array)


def write_frames(path: Path, array: Array, first: Volume, *, like: Path) -> None:
    """Write (columns, rows, slices, frames): each as ``first`` lies, in the times of another 4D file."""
    array = writable(array)
    header = header_of(array[..., 0], first.grid, first.meta)
    with _opened(like) as film:
        step = float(film.raw["pixdim"][4])
        unit = int(film.raw["xyzt_units"]) & 0x38
    header.set_data_shape(array.shape)
    header["pixdim"][4] = step if np.isfinite(step) and step > 0 else 1.0
    header["xyzt_units"] = int(header["xyzt_units"]) & 0x07 | unit
    _save(path, header, array)


def _save(path: Path, header: Any, array: Array) -> None:
    level = 6 if array.dtype.itemsize == 1 else 1  # label maps shrink a lot, floats hardly at all
    packer = zlib.compressobj(level, wbits=31) if path.name.lower().endswith(".gz") else None
    with atomic_file(path) as stream:
        for piece in (header.binaryblock, b"\0\0\0\0", raw_bytes(array)):
            stream.write(packer.compress(piece) if packer else piece)
        stream.write(packer.flush() if packer else b"")


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """Open once: the header is parsed, and the stream is at the start of the file that holds the voxels."""
    with path.open("rb") as stream:
        raw, packed, paired = _parse(path, stream)
        if paired:
            data = _image_beside(path)
            with data.open("rb") as voxels:
                packed = head(voxels, 4, data)[1]
                yield _File(path, raw, voxels, packed, data.stat().st_size, _start(path, raw, 0))
        else:
            size = path.stat().st_size
            yield _File(path, raw, stream, packed, size, _start(path, raw, int(raw.sizeof_hdr)))


def _parse(path: Path, stream: BinaryIO) -> tuple[Any, bool, bool]:
    """The header as nibabel's object; whether the stream is gzip; whether another file has the voxels."""
    import nibabel as nib

    start, packed = head(stream, 540, path)
    kinds: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    kind = kinds.get(int.from_bytes(start[:4], "little")) or kinds.get(int.from_bytes(start[:4], "big"))
    if kind is None or len(start) < kind.sizeof_hdr:
        raise broken(path, "is not a NIfTI file (its first bytes are something else)")
    magic = start[344:347] if kind is nib.Nifti1Header else start[4:7]
    if magic not in (b"n+1", b"n+2", *_PAIR):
        hint = "convert it to NIfTI with the tool that wrote it, and look at left and right"
        why = "is an Analyze 7.5 header, which does not say where left and right are"
        raise broken(path, f"{why} (tools differ), wanted NIfTI", hint=hint)
    return kind.from_fileobj(io.BytesIO(start), check=False), packed, magic in _PAIR


def _image_beside(path: Path) -> Path:
    places = [path.with_suffix(ending) for ending in (".img", ".img.gz", ".IMG")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        hint = f"copy {places[0].name} beside it, or save the image as one .nii.gz file"
        why = f"keeps its voxels in {places[0].name}, which is missing"
        raise broken(path, why, code="MISSING_FILE", hint=hint)
    check_file(found)
    return found


def _volume(file: _File, grid: Grid, count: int, frame: int) -> Volume:
    """``count`` bytes of voxels from those of ``frame`` on, scaled."""
    raw, start = file.raw, file.start + frame * count
    if file.packed:
        data = memoryview(inflate(file.stream, start + count, file.path))[start:]
    else:
        file.stream.seek(start)
        data = memoryview(plain(file.stream, count, file.path))
    stored = np.dtype(raw.get_data_dtype())
    channels = len(stored.fields or ()) or 1
    dtype = np.dtype(np.uint8) if channels > 1 else stored
    array = shaped(data, dtype, grid.shape, channels, file.path)
    meta = _meta(file, grid)
    slope, intercept = raw.get_slope_inter()
    if slope is not None and channels == 1 and (slope, intercept) != (1, 0):
        array = rescale(array, float(slope), float(intercept))
        meta["slope"] = float(slope)
    return Volume(array, grid, meta)


def _describe(file: _File) -> Header:
    sizes = file.sizes
    needed = _checked_claim(file, sizes)
    shape = squeezed(sizes)
    if len(shape) not in (2, 3):
        values = f", not {sizes[3]} values per voxel or points in time" if len(shape) == 4 else ""
        raise not_3d(file.path, sizes, values)
    grid, dtype = check_grid(file.path, _grid(file, shape)), _dtype(file)
    name, channels = "uint8" if dtype.fields else dtype.name, len(dtype.fields or ()) or 1
    return Header(grid, name, channels, needed, None if file.packed else file.present)


def _checked_claim(file: _File, sizes: tuple[int, ...]) -> int:
    """Bytes of all voxels, which the file can hold."""
    needed = needed_bytes(sizes, _dtype(file).itemsize)
    check_claim(file.path, sizes, needed, file.present, compressed=file.packed)
    return needed


def _dtype(file: _File) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    kind, hint = int(file.raw["datatype"]), "convert it to a real-valued image"
    try:
        dtype: np.dtype[Any] = np.dtype(file.raw.get_data_dtype())
    except (HeaderDataError, KeyError, TypeError) as error:
        raise broken(file.path, f"voxels of the unknown type {kind}", code="BAD_DTYPE") from error
    if dtype.itemsize == 0 or dtype.kind == "c":
        raise broken(file.path, f"voxels of a non-numeric type ({kind})", code="BAD_DTYPE", hint=hint)
    return dtype


def _start(path: Path, raw: Any, least: int) -> int:
    offset = float(raw["vox_offset"])
    if not np.isfinite(offset) or offset >= 2**28:
        raise broken(path, f"the header puts the voxels at byte {offset:g}", code="ABSURD_HEADER")
    return max(int(offset), least)  # 0 means "right after the header" to some writers


def _grid(file: _File, shape: tuple[int, ...]) -> Grid:
    affine = _best_affine(file, shape)
    affine[:3] *= _unit(file.raw)
    if len(shape) == 2:  # the upright unit vector, on the side where the file has its third axis
        normal = unit_normal(affine)
        affine[:3, 2] = normal * (-1 if float(normal @ np.nan_to_num(affine[:3, 2])) < 0 else 1)
    return Grid(shape, affine, "px" if bytes(file.raw["descrip"].item()) == _UNKNOWN_SIZE else "mm")


def _best_affine(file: _File, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The sform, else the qform, else the pixdim alone, as nibabel (and the standard) choose."""
    raw = file.raw
    if int(raw["sform_code"]) != 0:
        return np.array(raw.get_sform(), np.float64)
    pixdim = [float(p) for p in raw["pixdim"][1 : len(shape) + 1]]
    if not all(np.isfinite(p) and p > 0 for p in pixdim):
        raise bad_spacing(file.path, pixdim)
    return _qform(file) if int(raw["qform_code"]) else np.array(raw.get_base_affine(), np.float64)


def _qform(file: _File) -> NDArray[np.float64]:
    """The affine of quaternion, offsets and pixdim, in the file's unit; a qfac of 0 means 1, as in ITK."""
    from nibabel.quaternions import quat2mat

    raw = file.raw
    vector = np.array([float(raw[f"quatern_{name}"]) for name in "bcd"])
    length = float(vector @ vector)
    if not length <= 1 + _QUATERNION_NOISE:  # NaN is refused too
        why = f"the quaternion of the qform has b^2 + c^2 + d^2 = {length:.8g}, wanted at most 1"
        raise broken(file.path, why, code="BAD_SPACING", hint="fix the qform, or set the sform")
    vector, scalar = vector / np.sqrt(max(length, 1.0)), np.sqrt(max(1.0 - length, 0.0))
    spacing = np.array([float(p) for p in raw["pixdim"][1:4]])
    spacing[~(spacing > 0)] = 1.0  # the third of a 2D image
    spacing[2] *= -1.0 if float(raw["pixdim"][0]) < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([scalar, *vector]) * spacing  # type: ignore[no-untyped-call]
    affine[:3, 3] = [float(raw[f"qoffset_{name}"]) for name in "xyz"]
    return affine


def _unit(raw: Any) -> float:
    return _MILLIMETERS.get(int(raw["xyzt_units"]) % 8, 1.0)


def _meta(file: _File, grid: Grid) -> dict[str, Any]:
    raw = file.raw
    units = int(raw["xyzt_units"])
    meta: dict[str, Any] = {
        "format": "nifti",
        "sform_code": int(raw["sform_code"]),
        "qform_code": int(raw["qform_code"]),
        "xyzt_units": units if _unit(raw) == 1.0 else units // 8 * 8 + 2,
    }
    if len(grid.shape) == 2:
        affine = _best_affine(file, grid.shape)
        thickness = float(np.linalg.norm(affine[:3, 2])) * _unit(raw)
        if np.isfinite(thickness) and thickness > 0:
            meta["thickness_mm"] = thickness
    elif meta["sform_code"] and meta["qform_code"]:
        meta |= _other_form(file, grid)
    return meta


def _other_form(file: _File, grid: Grid) -> dict[str, Any]:
    """The qform beside the sform that counts; nothing where it makes no sense."""
    try:
        qform = _qform(file)
    except SemisegError:
        return {}
    qform[:3] *= _unit(file.raw)
    if not np.isfinite(qform).all() or abs(np.linalg.det(qform[:3, :3])) < 1e-12:
        return {}
    return {"qform": qform.tolist(), "form_gap_mm": grid.corner_gap_mm(Grid(grid.shape, qform))}


def header_of(array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> Any:
    """A NIfTI header for an array (*S) on a grid; see :func:`write` for ``meta``."""
    import nibabel as nib

    kind: Any = nib.Nifti1Header if max(array.shape) < 2**15 else nib.Nifti2Header
    header, meta = kind(), dict(meta or {})
    if grid.unit == "px":
        meta["xyzt_units"], header["descrip"] = 0, _UNKNOWN_SIZE
    header.set_data_dtype(array.dtype.newbyteorder("<"))
    header.set_data_shape(array.shape)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["xyzt_units"] = int(meta.get("xyzt_units", 2))
    header["scl_slope"], header["scl_inter"] = 1, 0
    affine = grid.affine.copy()
    if len(grid.shape) == 2:
        affine[:3, 2] *= float(meta.get("thickness_mm") or 1.0)
    qform = int(meta.get("qform_code", 1))
    if meta.get("qform") is not None:  # tools that prefer the qform must find array and scan in one place
        header.set_qform(np.asarray(meta["qform"], np.float64), qform)
    else:
        upright = is_orthogonal(affine, 3, 1e-6)
        header.set_qform(affine, qform if upright else 0, strip_shears=True)
    sform = int(meta.get("sform_code", 1))
    header.set_sform(affine, sform)
    if not np.allclose(header.get_best_affine(), affine, rtol=1e-6, atol=1e-5):
        header.set_sform(affine, sform or 1)  # a quaternion alone cannot hold this affine
    return header
