"""A file is there whole or not at all: written beside its place, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of ``path``; it takes the name ``path`` if the block succeeds.

    Raises:
        OSError: the folder cannot be written; ``path`` is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which takes its place when the block ends well.

    For writers that want a name and not a stream; it keeps the ending, by which they choose the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text, whole or not at all; bytes of file names that are not UTF-8 as ``\udcXX``."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all; paths and other objects as their text."""
    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file (UTF-8, with or without a byte order mark).

    Raises:
        OSError: it cannot be read.
        ValueError: what is wrong with the text, in words for a person.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("a number in it has too many digits") from None


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Delete the half-written files that a process killed inside :func:`atomic_file` left in a folder.

    Args:
        folder: this one, not those below it.
        older_than: spare files of the last so many seconds, which another process may be writing.
    """
    for temporary in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - temporary.stat().st_mtime >= older_than:
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can do so."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
