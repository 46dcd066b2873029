"""The right to work at something, held by one process at a time and given up by the system when it dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

if sys.platform == "win32":
    import msvcrt

    def _lock(stream: BinaryIO) -> None:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(stream: BinaryIO) -> None:
        # Record locks: children that fork off do not inherit them, and NFS servers know them.
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Claim:
    """``with Claim(path) as claim: if claim.mine: …``; the file stays behind, which costs nothing.

    A process must not claim the same file twice at a time: the system counts by process.

    Args:
        path: of the lock file.
        patience: seconds to wait for another holder.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self.path = path
        self.mine = False
        self._patience = patience
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        until = time.monotonic() + self._patience
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._stream = self.path.open("a+b")
            try:
                _lock(self._stream)
                self.mine = True
            except OSError:
                self._stream.close()
                if time.monotonic() < until:
                    time.sleep(0.05)
                    continue
            return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        self.mine = False


def taken(path: Path) -> bool:
    """Whether some other process holds the claim now."""
    if not path.exists() or not os.access(path, os.R_OK | os.W_OK):
        return False
    with Claim(path) as claim:
        return not claim.mine
