"""An exception that nobody foresaw as an error with one line of cause; whether memory ran out."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path

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
    hint = "run again with -v for the traceback"
    if isinstance(error, OSError) and error.strerror:
        name = f" {error.filename}" if error.filename else ""
        message = f"{error.strerror.lower()}:{name}" if name else error.strerror.lower()
        hint = where_to_move(error) or hint
    else:
        message = f"{type(error).__name__}{first_line(error)}"
    return SemisegError(message, hint=hint, code=type(error).__name__.upper())


def where_to_move(error: OSError) -> str:
    """For a place that is full or cannot be written: the setting that names another one; else nothing."""
    if error.errno not in _NO_ROOM:
        return ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    mend = "free some space" if full else "see that it can be written"
    if not error.filename:
        return f"{mend}; {_SETTINGS}; `-j 0` needs no /dev/shm" if full else f"{mend}; {_SETTINGS}"
    path = Path(os.fsdecode(error.filename)).absolute()
    home = Path(os.environ.get("SEMISEG_HOME") or "~/.semiseg").expanduser().absolute()
    if path.is_relative_to(home):
        return f"{mend}, or set SEMISEG_HOME to another folder (now {home}): the cache goes there"
    if path.is_relative_to("/dev/shm"):
        return f"{mend} in /dev/shm, or work in one process: -j 0"
    if path.is_relative_to(tempfile.gettempdir()):
        return f"{mend}, or set TMPDIR to another folder (now {tempfile.gettempdir()})"
    return f"{mend}, or choose another place with -o, --runs or --run; {_SETTINGS}"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_SETTINGS = "SEMISEG_HOME moves the cache, TMPDIR temporary files"


def first_line(error: BaseException) -> str:
    """``: what it says``, or nothing where it says nothing."""
    text = str(error).strip()
    return f": {text.splitlines()[0]}" if text else ""
