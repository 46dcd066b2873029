"""What a user is told when something is wrong: one line of cause, one line of fix, one exit code."""

from __future__ import annotations

import difflib
import errno
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class SemisegError(Exception):
    """A problem that a user can understand and fix. Never shown with a traceback unless asked (``-v``).

    Args:
        message: what, where, got and wanted, in one line.
        hint: how to fix it, in one line.
        code: a stable word for machines, such as ``LABEL_VALUES``.
        details: whatever helps a machine: case, file, values.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "FAILED"

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # for whoever sees the traceback, as in a notebook
        self.code = code or self.default_code
        self.details = dict(details or {})

    def as_dict(self) -> dict[str, Any]:
        """The ``--json`` form of interfaces: ``{"ok": false, "code": …, "message": …, …}``."""
        told = {name: getattr(self, name) for name in ("code", "message", "hint", "details")}
        return {"ok": False, **told}


class UsageError(SemisegError):
    """A wrong flag, name, path or configuration value (exit 2)."""

    exit_code = 2
    default_code = "USAGE"


class DataError(SemisegError):
    """A dataset or a file that cannot be used as it is (exit 3)."""

    exit_code = 3
    default_code = "DATA"


class DeviceError(SemisegError):
    """Out of memory, or no usable device (exit 4)."""

    exit_code = 4
    default_code = "DEVICE"


class PartialError(SemisegError):
    """The work is done, but some cases failed (exit 5)."""

    exit_code = 5
    default_code = "PARTIAL"


class Interrupted(SemisegError):
    """Stopped by Ctrl-C or SIGTERM after saving what there was (exit 130)."""

    exit_code = 130
    default_code = "INTERRUPTED"


def deprecated(function: Callable[_Given, _Made], instead: str) -> Callable[_Given, _Made]:
    """``function`` under a former name: it warns that ``instead`` is what to call."""

    @functools.wraps(function)
    def call(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        warnings.warn(
            f"this name goes with the next release; call {instead}", DeprecationWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    return call


def unknown_name(
    kind: str, got: str, known: Iterable[str], *, of: str = "", hint: str = "", see: str = ""
) -> UsageError:
    """The error for a name that does not exist: the nearest one, and what else there is.

    Args:
        kind: what the name is of, such as ``method``; the code is made of it.
        got: what was given.
        known: every name that exists.
        of: whose name it is, after ``kind``.
        hint: says how to fix it instead of naming names.
        see: the command that lists the names, where they are too many for a line; the hint then has the
            three nearest and this.
    """
    names = sorted(known)
    near = nearest(got, names)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    others = f"nearest: {', '.join(near)}; see {see}" if near else f"see {see}"
    return UsageError(
        f"unknown {kind}{of and f' {of}'} {got!r}.{guess}",
        hint=hint or (others if see else f"known: {', '.join(names)}"),
        code=f"UNKNOWN_{kind.upper().replace(' ', '_')}",
        details={"got": got, "known": names},
    )


def nearest(got: str, known: Iterable[str], n: int = 3, cutoff: float = 0.5) -> list[str]:
    """The ``n`` names most like ``got``, the nearest first.

    Case does not count, and two swapped letters are one step.
    """
    same = {name.lower(): name for name in sorted(known, reverse=True)}  # UNet is nearer to unet than to vnet
    like = difflib.get_close_matches(got.lower(), same, n=len(same) or 1, cutoff=cutoff)
    anagram = sorted(got.lower())
    like.sort(key=lambda name: (_steps(got.lower(), name), sorted(name) != anagram))
    return [same[name] for name in like[:n]]


def near_path(path: Path) -> str:
    """`` Did you mean …?`` for a path that does not exist, where a similar one does; else nothing."""
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    try:
        known = {entry.name: entry for entry in missing.parent.iterdir() if not entry.name.startswith(".")}
    except OSError:
        return ""
    near = nearest(missing.name, known, n=1, cutoff=0.6)
    if not near or path.exists():
        return ""
    whole = known[near[0]] / path.relative_to(missing)
    return f" Did you mean {whole if whole.exists() else known[near[0]]}?"


def _steps(a: str, b: str) -> int:
    """How many letters to insert, delete, replace or swap with their neighbor (Damerau 1964)."""
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            best = min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, above = above, row
    return above[-1]


def missing_extra(extra: str, package: str, wanted_by: str) -> UsageError:
    """The error for a package that only an extra of semiseg installs."""
    return UsageError(
        f"{wanted_by} needs {package}, which is not installed",
        hint=f'pip install "semiseg[{extra}]"',
        code="MISSING_EXTRA",
    )


_OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can('|no)t allocate memory", re.I)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether main or device memory ran out, told without importing torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def as_semiseg_error(error: BaseException) -> SemisegError:
    """``error`` as one that can be told in a line; one of ours as it is."""
    if isinstance(error, SemisegError):
        return error
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
    import tempfile  # which every command would wait for

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


def some(names: Iterable[object], most: int = 5) -> str:
    """The first names, and how many more there are: a list that fits a line."""
    listed = list(map(str, names))
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def plural(number: float, one: str, many: str = "") -> str:
    """``1 case``, ``2 cases``: a number with its noun, whose plural ends in ``s`` unless it is given."""
    shown = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{shown} {one if number == 1 else many or one + 's'}"


def in_a_line(message: str) -> str:
    """A message as part of a sentence: its first letter small, values in it as they are."""
    return message[:1].lower() + message[1:]


def first_line(error: BaseException) -> str:
    """``: what it says``, or nothing where it says nothing."""
    text = str(error).strip()
    return f": {text.splitlines()[0]}" if text else ""


def on_one_line(error: BaseException) -> str:
    """All that an error says, 200 characters of it at most."""
    return " ".join(str(error).split())[:200] or "no reason given"
