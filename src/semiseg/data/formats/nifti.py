"""NIfTI-1 and NIfTI-2, plain or gzip, by nibabel's header rules: sheared affines are kept as they are."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.atomic import atomic_file
from semiseg.data.formats.arrays import (
    Array,
    is_orthogonal,
    raw_bytes,
    rescale,
    shaped,
    squeezed,
    writable,
)
from semiseg.data.formats.geometry import unit_normal
from semiseg.data.formats.guards import (
    bad_spacing,
    broken,
    check_array,
    check_claim,
    check_grid,
    meta_number,
    needed_bytes,
    not_3d,
)
from semiseg.data.formats.inflate import head, inflate, is_gzip, plain
from semiseg.data.volume import Grid, Header, Volume

ENDINGS = (".nii.gz", ".nii")

_MILLIMETERS = {1: 1000.0, 3: 0.001}
"""Spatial unit codes that are not millimeters: meters and microns."""


def read_header(path: Path) -> Header:
    """Shape, affine and type of a NIfTI file; 348 or 540 bytes are read."""
    return _describe(path, _parse(path))


def read(path: Path) -> Volume:
    """Voxels with scl_slope and scl_inter applied, and the codes that ``write`` gives back."""
    raw = _parse(path)
    header = _describe(path, raw)
    start = _start(path, raw)
    with path.open("rb") as stream:
        if is_gzip(path):
            data = inflate(stream, start + header.needed_bytes, path)
        else:
            stream.seek(start)
            data, start = plain(stream, header.needed_bytes, path), 0
    color = raw.get_data_dtype().fields is not None
    dtype = np.dtype(np.uint8) if color else np.dtype(raw.get_data_dtype())
    array = shaped(memoryview(data)[start:], dtype, header.grid.shape, header.channels, path)
    slope, intercept = raw.get_slope_inter()
    if slope is not None and not color:
        array = rescale(array, float(slope), float(intercept))
    return Volume(array, header.grid, _meta(raw, header.grid))


def write(path: Path, array: Array, grid: Grid, meta: Mapping[str, Any] | None = None) -> None:
    """Write with the affine as given (sform), codes from ``meta``, and the array's own type.

    ``meta`` may hold ``sform_code``, ``qform_code``, ``xyzt_units`` and, for 2D, ``thickness_mm``, as
    ``read`` gives them. Nothing else of the input's header is copied: free text there may name a patient.
    """
    check_array(path, array, grid)
    array = writable(array)
    header = _new_header(array, grid, meta)
    level = 6 if array.dtype.itemsize == 1 else 1  # label maps shrink a lot, floats hardly at all
    packer = zlib.compressobj(level, wbits=31) if path.name.lower().endswith(".gz") else None
    with atomic_file(path) as stream:
        for piece in (header.binaryblock, b"\0\0\0\0", raw_bytes(array)):
            stream.write(packer.compress(piece) if packer else piece)
        if packer:
            stream.write(packer.flush())


def _parse(path: Path) -> Any:
    """The header as nibabel's object, or a DataError when the first bytes are not NIfTI's."""
    import nibabel as nib

    start = head(path, 540)
    kinds: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    size = {int.from_bytes(start[:4], order): order for order in ("little", "big")}
    kind = next((kinds[n] for n in size if n in kinds), None)
    if kind is None or len(start) < kind.sizeof_hdr:
        raise broken(path, "is not a NIfTI file (its first bytes are something else)")
    magic = start[344:347] if kind is nib.Nifti1Header else start[4:7]
    if magic not in (b"n+1", b"n+2"):
        hint = "convert it to a single .nii.gz file"
        raise broken(path, "is an Analyze or two-file NIfTI header, wanted a single NIfTI file", hint=hint)
    return kind.from_fileobj(io.BytesIO(start), check=False)


def _describe(path: Path, raw: Any) -> Header:
    axes = int(raw["dim"][0])
    if not 1 <= axes <= 7:
        raise broken(path, f"the header claims {axes} axes", code="ABSURD_HEADER")
    sizes = tuple(int(n) for n in raw["dim"][1 : axes + 1])
    dtype = _dtype(path, raw)
    size, gz = path.stat().st_size, is_gzip(path)
    needed = needed_bytes(sizes, dtype.itemsize)
    present = size if gz else max(size - _start(path, raw), 0)
    check_claim(path, sizes, needed, present, compressed=gz)
    shape = squeezed(sizes)
    if len(shape) not in (2, 3):
        raise not_3d(path, sizes)
    grid = check_grid(path, _grid(path, raw, shape))
    channels = len(dtype.fields) if dtype.fields else 1
    name = "uint8" if dtype.fields else dtype.name
    return Header(grid, name, channels, needed, None if gz else present)


def _dtype(path: Path, raw: Any) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    code = int(raw["datatype"])
    try:
        dtype: np.dtype[Any] = np.dtype(raw.get_data_dtype())
    except (HeaderDataError, KeyError, TypeError) as error:
        raise broken(path, f"voxels of the unknown type {code}", code="BAD_DTYPE") from error
    if dtype.itemsize == 0 or dtype.kind == "c":
        hint = "convert it to a real-valued image"
        raise broken(
            path, f"voxels of a type that is no number on a scale ({code})", code="BAD_DTYPE", hint=hint
        )
    return dtype


def _start(path: Path, raw: Any) -> int:
    offset = float(raw["vox_offset"])
    if not np.isfinite(offset) or offset >= 2**28:
        raise broken(path, f"the header puts the voxels at byte {offset:g}", code="ABSURD_HEADER")
    return max(int(offset), int(raw.sizeof_hdr))  # 0 means "right after the header" to some writers


def _grid(path: Path, raw: Any, shape: tuple[int, ...]) -> Grid:
    """Sform first, then qform, then pixdim alone, as nibabel (and the standard) choose."""
    from nibabel.spatialimages import HeaderDataError

    pixdim = [float(p) for p in raw["pixdim"][1 : len(shape) + 1]]
    try:
        affine = np.asarray(raw.get_best_affine(), np.float64).copy()
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise bad_spacing(path, pixdim) from error
    if int(raw["sform_code"]) == 0 and not all(np.isfinite(p) and p > 0 for p in pixdim):
        raise bad_spacing(path, pixdim)
    affine[:3] *= _unit(raw)
    if len(shape) == 2:
        affine[:3, 2] = _third(affine)
    return Grid(shape, affine)


def _third(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upright unit vector, on the side where the file has its third axis."""
    normal = unit_normal(affine)
    return -normal if float(normal @ np.nan_to_num(affine[:3, 2])) < 0 else normal


def _unit(raw: Any) -> float:
    return _MILLIMETERS.get(int(raw["xyzt_units"]) % 8, 1.0)


def _meta(raw: Any, grid: Grid) -> dict[str, Any]:
    units = int(raw["xyzt_units"])
    meta: dict[str, Any] = {
        "format": "nifti",
        "sform_code": int(raw["sform_code"]),
        "qform_code": int(raw["qform_code"]),
        "xyzt_units": units if _unit(raw) == 1.0 else units // 8 * 8 + 2,
    }
    if len(grid.shape) == 2:
        affine = np.asarray(raw.get_best_affine())
        thickness = float(np.linalg.norm(affine[:3, 2])) * _unit(raw)
        if np.isfinite(thickness) and thickness > 0:
            meta["thickness_mm"] = thickness
    return meta


def _new_header(array: Array, grid: Grid, meta: Mapping[str, Any] | None) -> Any:
    import nibabel as nib

    kind: Any = nib.Nifti1Header if max(array.shape) < 2**15 else nib.Nifti2Header
    header = kind()
    header.set_data_dtype(array.dtype.newbyteorder("<"))
    header.set_data_shape(array.shape)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["xyzt_units"] = meta_number(meta, "xyzt_units", 2)
    header["scl_slope"], header["scl_inter"] = 1, 0
    affine = grid.affine.copy()
    if len(grid.shape) == 2:
        affine[:3, 2] *= float((meta or {}).get("thickness_mm") or 1.0)
    qform = meta_number(meta, "qform_code", 1)
    upright = is_orthogonal(affine, 3, 1e-6)
    header.set_qform(affine, qform if upright else 0, strip_shears=True)
    sform = meta_number(meta, "sform_code", 1)
    header.set_sform(affine, sform)
    if not np.allclose(header.get_best_affine(), affine, rtol=1e-6, atol=1e-5):
        header.set_sform(affine, sform or 1)  # a quaternion alone cannot hold this affine
    return header
