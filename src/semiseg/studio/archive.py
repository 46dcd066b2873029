"""A ZIP that is sent while it is made, without a copy on the disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 2**20


class _Sink(io.RawIOBase):
    """Holds what was written until it is taken."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Hold it."""
        self._held += data
        return len(data)

    def take(self) -> bytes:
        """Everything since the last call."""
        found = bytes(self._held)
        self._held.clear()
        return found


def stream(members: Iterable[tuple[str, Path | str]]) -> Iterator[bytes]:
    """The bytes of an archive whose members (name, and a file or a text) are stored as they are.

    Each member is asked for when its turn has come.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            if isinstance(content, str):
                archive.writestr(name, content)
            else:
                about = zipfile.ZipInfo.from_file(content, name, strict_timestamps=False)
                with archive.open(about, "w") as member:
                    for piece in pieces(content):
                        member.write(piece)
                        yield sink.take()
            yield sink.take()
    yield sink.take()


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, at most :data:`CHUNK` at a time."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece
