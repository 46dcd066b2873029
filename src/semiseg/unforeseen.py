"""An exception that nobody foresaw as an error with one line of cause; whether memory ran out."""

from __future__ import annotations

import errno
import re

from semiseg.errors import SemisegError

_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory", re.I
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether main or device memory ran out, told without importing torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def unforeseen(error: BaseException) -> SemisegError:
    """``error`` as one that can be told in a line."""
    if isinstance(error, OSError) and error.strerror:
        name = f" {error.filename}" if error.filename else ""
        message = f"{error.strerror.lower()}:{name}" if name else error.strerror.lower()
    else:
        message = f"{type(error).__name__}{first_line(error)}"
    return SemisegError(
        message, hint="run again with -v for the traceback", code=type(error).__name__.upper()
    )


def first_line(error: BaseException) -> str:
    """``: what it says``, or nothing where it says nothing."""
    text = str(error).strip()
    return f": {text.splitlines()[0]}" if text else ""
