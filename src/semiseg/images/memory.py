"""Images in memory: NumPy arrays, nibabel and SimpleITK images, and results in the same form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semiseg.errors import DataError, UsageError, plural
from semiseg.images.grid import Grid, lps_grid, scaling, unit_normal


class Held(NamedTuple):
    """The voxels and the grid of an image in memory, and the way back to its own form."""

    array: NDArray[Any]
    """(*S) or (C, *S), axes in the order of the form: as nibabel has them, for SimpleITK x first."""
    grid: Grid
    """Of ``*S``."""
    give: Callable[[NDArray[Any]], Any]
    """(*S) or (C, *S) on the same grid -> the same kind of object."""
    rows_first: bool = False
    """Whether the first axis of two counts rows, as in an array of a picture."""


def hold(
    image: Any, *, spacing: Sequence[float] | None = None, affine: ArrayLike | None = None, channels: int = 1
) -> Held:
    """The array and the grid of an image in memory, and the way back to an object of its kind.

    Args:
        image: an array (*S) or (C, *S), also (rows, columns, C) of a picture with ``channels`` = C; a nibabel
            image, whose fourth axis counts channels; a SimpleITK image, whose components are channels; or a
            list of any of these, one for each channel.
        spacing: mm along each array axis; of an array only. Without it, and without ``affine``, a voxel is
            one pixel of unknown size.
        affine: (4, 4) index to RAS+ mm, instead of ``spacing``.
        channels: C that is wanted.

    Raises:
        DataError: a number of axes or channels that cannot be meant, or channels on different grids.
        UsageError: spacing given to an image that has its own, or none that fits.
    """
    if isinstance(image, list | tuple) and any(np.ndim(part) > 1 or _has_grid(part) for part in image):
        return _several([hold(part, spacing=spacing, affine=affine) for part in image])
    if _has_grid(image):
        if spacing is not None or affine is not None:
            raise UsageError(
                f"spacing was given beside a {type(image).__name__}, which has its own",
                hint="leave out spacing and affine, or give the array alone",
                code="CONTRADICTION",
            )
        held = _nibabel(image) if hasattr(image, "dataobj") else _simpleitk(image)
    else:
        held = _plain(np.asarray(image), spacing, affine, channels)
    if held.array.dtype.kind not in "biuf":
        raise DataError(
            f"got values of type {held.array.dtype}, wanted numbers",
            hint="give an array of integers or floats",
            code="BAD_DTYPE",
        )
    return held


def _has_grid(image: Any) -> bool:
    return (hasattr(image, "dataobj") and hasattr(image, "affine")) or hasattr(image, "GetDirection")


def _several(parts: Sequence[Held]) -> Held:
    """One image of one channel each, on one grid."""
    first = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        if part.array.ndim != len(part.grid.shape) or not part.grid.matches(first.grid):
            raise DataError(
                f"channel {number} ({part.grid.shape}) does not lie on the grid of channel 0 "
                f"({first.grid.shape})",
                hint="resample it onto the first one",
                code="GEOMETRY",
            )
    return first._replace(array=np.stack([part.array for part in parts]))


def _plain(
    array: NDArray[Any], spacing: Sequence[float] | None, affine: ArrayLike | None, channels: int
) -> Held:
    if channels > 1 and array.ndim == 3 and array.shape[-1] == channels != array.shape[0]:
        array = np.moveaxis(array, -1, 0)  # a picture as Pillow, imageio and OpenCV have it
    several = channels > 1 or (array.ndim == 4 and array.shape[0] == 1)
    axes = array.ndim - several
    if axes not in (2, 3):
        wanted = "(C, *S)" if channels > 1 else "(*S)"
        raise DataError(
            f"got an array of shape {array.shape}, wanted {wanted} with two or three axes in space",
            hint=f"the model has {plural(channels, 'channel')}, and channels stand first",
            code="SHAPE",
        )
    shape = array.shape[array.ndim - axes :]
    return Held(array, _grid(shape, spacing, affine), lambda found: found, rows_first=axes == 2)


def _grid(shape: tuple[int, ...], spacing: Sequence[float] | None, affine: ArrayLike | None) -> Grid:
    if affine is not None:
        matrix = np.array(affine, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise UsageError(
                f"affine has shape {matrix.shape}, wanted (4, 4) finite numbers",
                hint="give the matrix from voxel indices to mm, or spacing= alone",
                code="BAD_AFFINE",
            )
        if len(shape) == 2:
            matrix[:3, 2] = unit_normal(matrix)
        return Grid(shape, matrix)
    if spacing is None:
        return Grid(shape, scaling([1.0] * len(shape)), "px")
    mm = [float(value) for value in np.atleast_1d(spacing)]
    if len(mm) != len(shape) or not all(np.isfinite(s) and s > 0 for s in mm):
        raise DataError(
            f"spacing {tuple(mm)} does not fit an image of shape {shape}",
            hint="one positive number of mm for each axis of the array, in its order",
            code="BAD_SPACING",
        )
    return Grid(shape, scaling(mm))


def _nibabel(image: Any) -> Held:
    array = np.asarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    affine = np.array(image.affine, np.float64)
    if array.ndim == 4:
        array = np.moveaxis(array, -1, 0)
    shape = array.shape[-3:] if array.ndim > 3 else array.shape
    if len(shape) not in (2, 3) or array.ndim > 4:
        raise DataError(f"got an image of shape {image.shape}", hint="wanted two or three axes", code="SHAPE")

    def give(found: NDArray[Any]) -> Any:
        last = np.moveaxis(found, 0, -1) if found.ndim > len(shape) else found
        header = image.header.copy()
        header.set_data_dtype(last.dtype)
        if hasattr(header, "set_slope_inter"):
            header.set_slope_inter(1, 0)
        return type(image)(last, image.affine, header)

    if len(shape) == 2:
        affine[:3, 2] = unit_normal(affine)
    return Held(array, Grid(shape, affine), give)


def _simpleitk(image: Any) -> Held:
    import SimpleITK

    axes = image.GetDimension()
    array = SimpleITK.GetArrayViewFromImage(image)
    many = image.GetNumberOfComponentsPerPixel() > 1
    array = np.array(array).T  # (C,) x, y, z
    turn = np.reshape(image.GetDirection(), (axes, axes)).T * np.array(image.GetSpacing())[:, None]
    grid = lps_grid(image.GetSize(), turn, image.GetOrigin())

    def give(found: NDArray[Any]) -> Any:
        vector = found.ndim > axes
        made: Any = SimpleITK.GetImageFromArray(np.ascontiguousarray(found.T), isVector=vector)
        made.SetSpacing(image.GetSpacing())
        made.SetDirection(image.GetDirection())
        made.SetOrigin(image.GetOrigin())
        return made

    if axes not in (2, 3):
        raise DataError(
            f"got a SimpleITK image of {axes} axes",
            hint="give one volume, such as image[..., 0]",
            code="SHAPE",
        )
    return Held(array if many else array.reshape(image.GetSize()), grid, give)
