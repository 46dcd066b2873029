"""Checkpoints: one dict of tensors, numbers and strings; written atomically, read without pickle."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semiseg.errors import UsageError
from semiseg.machine.files import atomic_file

STATE = "semiseg-state"
"""Full training state: resume from it."""
MODEL = "semiseg-model"
"""One network and what is needed to use it: predict with it."""


_UNREADABLE = (
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError,
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
)  # fmt: skip
"""What torch raises, depending on where in a damaged file it stumbles."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write so that ``path`` always holds either the old or the new checkpoint, whole.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    with atomic_file(path) as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:  # torch's own word for a write that failed
            why = error.__cause__ or error.__context__
            raise (why if isinstance(why, OSError) else error) from None


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UsageError: missing, truncated, damaged, of another kind, or one that holds pickled objects.
    """
    try:
        _require_sound(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"no checkpoint {path}", hint="name a run folder or a .ckpt file in it", code="NO_CHECKPOINT"
        ) from None
    except _UNREADABLE as error:
        raise UsageError(
            f"checkpoint {path} cannot be read ({_why(error)})",
            hint="it is damaged or was not written by semiseg; use another one of the run",
            code="BAD_CHECKPOINT",
        ) from None
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise UsageError(
            f"checkpoint {path} holds {found or 'something else'}, wanted {kind}",
            hint="it was not written by semiseg, or for another purpose; use another one of the run",
            code="BAD_CHECKPOINT",
        )
    return dict(content)


def load_tensors(path: Path) -> Any:
    """The content of a file that others wrote with torch: tensors, numbers and texts, read onto the CPU.

    Numbers of NumPy, which nnU-Net logs, are let in; they hold bytes and a type, and run nothing.

    Raises:
        UsageError: it is damaged, or holds something else, which is not run.
    """
    try:
        with _numpy_numbers():
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise UsageError(
            f"{path} cannot be read as tensors, numbers and texts ({_why(error)})",
            hint="it is damaged, or holds objects, which are not loaded here: save its state_dict alone",
            code="BAD_CHECKPOINT",
        ) from None


@contextlib.contextmanager
def _numpy_numbers() -> Iterator[None]:
    allow = getattr(torch.serialization, "safe_globals", None)
    if allow is None:  # of torch 2.4: files without such numbers are read all the same
        yield
        return
    scalar: Any = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = [np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "bool"))]
    with allow([*kinds, *((scalar, name) for name in names)]):
        yield


def sha256(path: Path) -> str:
    """Of the file, as ``sha256sum`` says it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_sound(path: Path) -> None:
    """Compare the checksum of every part, which torch does not: it loads a flipped bit as another weight.

    Costs about a second per gigabyte.

    Raises:
        BadZipFile: some part is not what was written.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is not what was written")


def _why(error: BaseException) -> str:
    if isinstance(error, zipfile.BadZipFile):
        return f"damaged: {error}"
    return str(getattr(error, "strerror", None) or type(error).__name__)
