"""The command line. One command is one file in ``commands``, imported when it is called.

Standard streams whose reader may go away, or that were closed from the start, end no command.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``semiseg ARGV`` and return its exit code.

    0 success, 1 failure, 2 wrong usage or configuration, 3 invalid dataset, 4 out of memory or no such
    device, 5 finished with failed cases, 130 interrupted.
    """
    from semiseg.cli.app import run

    if argv is None:  # the process is ours
        from semiseg.machine.folders import sweep

        secure()
        sweep()
    return run(argv)


def secure() -> None:
    """Make standard output and error safe to write to, for the rest of this process.

    Streams that were closed (``>&-``, daemons) go nowhere. Their numbers are taken, too: else the next file
    that is opened, such as a checkpoint, would get what libraries print. A reader that has gone (``| head``,
    a closed terminal) is no error; a full disk is one for results, and none for messages.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = _patient(sys.stdout, 1, _GONE)
    sys.stderr = _patient(sys.stderr, 2, None)


_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)
"""What the system says of a pipe without a reader, a terminal that was closed, a connection that dropped."""


class _Patient(io.FileIO):
    """Writes that fail are forgotten, if they fail for one of ``forgiven`` (None: for whatever reason)."""

    def __init__(self, number: int, forgiven: tuple[int, ...] | None) -> None:
        super().__init__(number, "w", closefd=False)
        self._forgiven = forgiven

    def write(self, data: Any, /) -> int:
        """All of ``data``, or nothing of it."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if self._forgiven is not None and error.errno not in self._forgiven:
                self._forgiven = None  # told once is enough: what is left in buffers comes again at the end
                raise
            return len(memoryview(data).cast("B"))


def _patient(stream: TextIO | None, number: int, forgiven: tuple[int, ...] | None) -> TextIO:
    """A text stream in place of ``stream``, with its encoding; None is one that was closed."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    errors = getattr(stream, "errors", None) or "replace"
    buffered = io.BufferedWriter(_Patient(number, forgiven))
    lines = number == 2 or bool(getattr(stream, "line_buffering", False))
    return io.TextIOWrapper(buffered, encoding, errors, line_buffering=lines, write_through=number == 2)
