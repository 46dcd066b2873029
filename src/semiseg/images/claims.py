"""Checks of every file before it is read: it is there, and it can hold what its header claims."""

from __future__ import annotations

import logging
import math
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.errors import DataError, SemisegError, on_one_line, plural
from semiseg.images.grid import Grid, times
from semiseg.machine.hardware import free_memory_gb

MAX_RATIO = 1032
"""The most that deflate can shrink anything (zlib's technical notes); a larger claim cannot be true."""

PLAUSIBLE_BYTES = 1 << 30
"""Below this a claim that the file cannot hold is called a cut file, above it an absurd header."""

COPIES = 2
"""Of the voxels in memory while a scan is read: as decoded, and as stacked or converted."""

RESTORE = "the file is damaged; copy it again from its source or leave it out of the dataset"


def broken(
    path: Path, why: str, *, code: str = "UNREADABLE", hint: str = RESTORE, **details: Any
) -> DataError:
    """The error for a file that cannot be used: its name, one line of cause, one line of fix."""
    return DataError(f"{path}: {why}", hint=hint, code=code, details={"file": str(path), **details})


def check_file(path: Path) -> int:
    """The size of ``path`` in bytes, which must be a regular, non-empty file; it is not opened.

    A pipe, socket or device is refused here: opening one can wait for ever.
    """
    try:
        about = path.stat()
    except FileNotFoundError:
        raise broken(path, "does not exist", hint="check the name", code="MISSING_FILE") from None
    except OSError as error:
        raise _unopened(path, error) from None
    if stat.S_ISDIR(about.st_mode):
        raise broken(path, "is a folder, not an image file", hint="name the files in it, or use semiseg init")
    if not stat.S_ISREG(about.st_mode):
        hint = "save the image to a file first"
        raise broken(path, "is a pipe or a device, wanted a regular file", hint=hint)
    if about.st_size == 0:
        raise broken(path, "is empty (0 bytes)", code="EMPTY_FILE")
    return about.st_size


def needed_bytes(shape: Sequence[int], itemsize: int, channels: int = 1) -> int:
    """Bytes of the decoded voxels, in Python integers that do not overflow."""
    return math.prod(int(n) for n in shape) * itemsize * channels


def check_claim(path: Path, shape: Sequence[int], needed: int, present: int, *, compressed: bool) -> None:
    """Refuse a header that claims more voxels than the file can hold, before anything is allocated.

    Args:
        path: named in the error.
        shape: voxels per axis, as the header has it.
        needed: bytes of the decoded voxels.
        present: bytes of the file that hold voxels.
        compressed: whether those bytes may be up to ``MAX_RATIO`` times larger when decoded.

    Raises:
        DataError: ABSURD_HEADER, TRUNCATED or TOO_LARGE (more than the memory that is free now).
    """
    claim = f"{times(shape)} voxels ({readable_bytes(needed)})"
    details: dict[str, Any] = {
        "shape": [int(n) for n in shape],
        "needed_bytes": needed,
        "present_bytes": present,
    }
    if needed <= 0 or any(n <= 0 for n in shape):
        why = f"the header claims {claim}, which is not an image"
        raise broken(path, why, code="ABSURD_HEADER", **details)
    why = f"the header claims {claim}, the file holds {readable_bytes(present)}"
    limit = present * (MAX_RATIO if compressed else 1) + (1 << 10 if compressed else 0)
    if needed > limit:
        absurd = needed > max(PLAUSIBLE_BYTES, MAX_RATIO * present)
        raise broken(path, why, code="ABSURD_HEADER" if absurd else "TRUNCATED", **details)
    check_memory(path, needed, claim)


def check_memory(path: Path, needed: int, claim: str) -> None:
    """Refuse before decoding what cannot be held: the decoded bytes and one copy of them.

    Raises:
        DataError: TOO_LARGE.
    """
    if COPIES * needed <= PLAUSIBLE_BYTES // 4:  # not worth a look
        return
    free = free_memory_gb()
    if free is not None and COPIES * needed > free * 2**30:
        hint = "crop or downsample the image, free some memory, or use a machine with more"
        why = f"{claim} take {readable_bytes(COPIES * needed)} to read, {free:g} GB of memory are free"
        raise broken(path, why, code="TOO_LARGE", hint=hint, needed_bytes=needed)


def check_grid(path: Path, grid: Grid) -> Grid:
    """Refuse a grid without extent: NaN, zero spacing, or axes that fall together."""
    affine = grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    finite = np.isfinite(affine).all() and (spacing > 0).all()
    if not finite or abs(np.linalg.det(affine[:3, :3] / spacing)) <= 1e-4:
        raise bad_spacing(path, [float(s) for s in spacing])
    return grid


def bad_spacing(path: Path, spacing: Sequence[float]) -> DataError:
    """The error for spacing that is zero, negative or NaN, or axes that do not span space."""
    return broken(
        path,
        f"no usable geometry (spacing {times(spacing, 6)} mm, wanted positive numbers and independent axes)",
        code="BAD_SPACING",
        hint="set the spacing and orientation in the file's header, then run semiseg check again",
        spacing=[str(s) for s in spacing],
    )


def not_3d(path: Path, shape: Sequence[int], why: str = "") -> DataError:
    """The error for images with more axes than a volume."""
    return broken(
        path,
        f"has {plural(len(shape), 'axis', 'axes')} ({times(shape)}), wanted one 2D or 3D image{why}",
        code="NOT_3D",
        hint="split it into one file per frame or channel (CASE_0000, CASE_0001, ...)",
        shape=[int(n) for n in shape],
    )


def check_array(path: Path, array: np.ndarray[Any, Any], grid: Grid, *, colors: bool = False) -> None:
    """Make sure that ``array`` lies on ``grid`` before it is written (``colors``: a last axis of 3 or 4)."""
    extra = array.shape[len(grid.shape) :]
    if array.shape[: len(grid.shape)] != grid.shape or extra not in (((), (3,), (4,)) if colors else ((),)):
        why = f"cannot write an array of shape {array.shape} on a grid of shape {grid.shape}"
        raise broken(path, why, code="SHAPE_MISMATCH", hint="write one channel per file, on its own grid")
    if array.dtype.kind not in "buif":
        why = f"cannot write values of type {array.dtype}"
        raise broken(path, why, code="BAD_DTYPE", hint="convert the array to integers or floats")
    check_grid(path, grid)


@contextmanager
def explained(path: Path, doing: str = "read") -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into one DataError that names the file."""
    try:
        yield
    except SemisegError:
        raise
    except MemoryError as error:
        why, hint = "does not fit into memory", "crop or downsample the image, or free some memory"
        raise broken(path, why, code="TOO_LARGE", hint=hint) from error
    except PermissionError as error:
        raise _unopened(path, error) from error
    except Exception as error:  # decoders raise anything at all on garbage
        why = f"cannot be {doing} ({type(error).__name__}: {on_one_line(error)})"
        hint = RESTORE if doing == "read" else "check the folder's permissions and free space"
        raise broken(path, why, hint=hint) from error


@contextmanager
def silenced(logger: str) -> Iterator[None]:
    """Keep a decoder's own log lines out of the user's log: our error says what matters."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    logging.getLogger(logger).addFilter(drop)
    try:
        yield
    finally:
        logging.getLogger(logger).removeFilter(drop)


def readable_bytes(count: int) -> str:
    """``1536`` -> ``1.5 KB``."""
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PB"


def _unopened(path: Path, error: OSError) -> DataError:
    why = f"cannot be opened ({error.strerror or error})"
    return broken(path, why, hint="check the permissions of the file and its folder")
