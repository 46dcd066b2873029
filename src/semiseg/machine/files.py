"""A file is there whole or not at all: written beside its place, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from semiseg.errors import UsageError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of ``path``; it takes the name ``path`` if the block succeeds.

    Raises:
        OSError: the folder cannot be written; ``path`` is then as it was.
    """
    with _beside(Path(path), "") as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which takes its place when the block ends well.

    For writers that want a name and not a stream; it keeps the ending, by which they choose the format.
    """
    with _beside(path, path.suffix) as stream:
        yield Path(stream.name)


@contextmanager
def _beside(path: Path, ending: str) -> Iterator[BinaryIO]:
    """The temporary file of ``path``, marked as being written: see :func:`remove_leftovers`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp{ending}")
    try:
        with temporary.open("x+b") as stream:
            _mark(stream)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text, whole or not at all; bytes of file names that are not UTF-8 as ``\udcXX``."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all; paths and other objects as their text."""
    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def printable(text: str, keep: str = "") -> str:
    """``text`` without control characters and stray bytes: names from files must not steer a terminal.

    What comes out can be written as UTF-8, whatever bytes a file's name has.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def plain(value: Any) -> Any:
    """``value`` as JSON knows it: paths as text, NaN and infinity as null, arrays and sets as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Iterable) and not isinstance(value, Path):
        return [plain(item) for item in value]
    return str(value)


def read_json(path: Path) -> Any:
    """The value in a JSON file (UTF-8, with or without a byte order mark).

    Raises:
        OSError: it cannot be read.
        ValueError: what is wrong with the text, in words for a person.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_key_once)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except _KeyTwice:
        raise
    except ValueError:
        raise ValueError("a number in it has too many digits") from None


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _KeyTwice(ValueError):
    """JSON would keep the last of two values and say nothing."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _KeyTwice(f"the key {twice!r} is given twice")
    return found


def remove_leftovers(folder: Path) -> None:
    """Delete the half-written files that killed processes left in a folder, not in those below it.

    A file that a living process writes stays: that process has it locked. Where the system cannot lock, a
    file of the last minute stays.
    """
    for temporary in folder.glob(f".{'[0-9a-f]' * 16}.tmp*"):
        with contextlib.suppress(OSError):  # gone already; on Windows, an open file
            if _is_abandoned(temporary):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can do so."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def require_writable(folder: Path, flag: str) -> None:
    """See that ``folder`` exists or can be made, and can be written into; nothing is made here.

    Raises:
        UsageError: a file is in the way, or permission is missing.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        why = f"{place} is a file"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"no permission to write into {place}"
    else:
        return
    raise UsageError(
        f"cannot write into {folder}: {why}",
        hint=f"choose another place with {flag}",
        code="NOT_WRITABLE",
        details={"folder": str(folder)},
    )


@contextmanager
def writing(what: str, hint: str) -> Iterator[None]:
    """A block that writes files: what fails there is told as a problem of ``what`` (UsageError)."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {what}: {error.strerror or error}", hint=hint, code="NOT_WRITABLE"
        ) from error


if sys.platform == "win32":

    def _mark(stream: BinaryIO) -> None:
        """Nobody can remove an open file there."""

    def _is_abandoned(path: Path) -> bool:
        return path.is_file()
else:
    import fcntl

    def _mark(stream: BinaryIO) -> None:
        """Lock a file that is being written; by its descriptor, as threads of one process may meet here."""
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_SH)

    def _is_abandoned(path: Path) -> bool:
        """Whether no living process has marked it."""
        age = time.time() - path.stat().st_mtime
        with path.open("r+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return age > 60.0
        return age > 1.0  # a younger one may be between its opening and its marking
