"""How this process is asked to stop: Ctrl-C, SIGTERM and a closed terminal.

A loop stops after the iteration at hand, and at once on a second Ctrl-C. What has no loop ends on all of them
as on Ctrl-C. Imports nothing heavy: the command line needs it before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Stopped(Exception):
    """Work inside of an iteration was ended on request; what it has done so far is on disk."""


class StopRequest:
    """A context in which SIGINT, SIGTERM and SIGHUP raise a flag instead of an exception.

    Within another one it passes the flag on, and begins with it: a stop that came while the last iteration of
    a training ended still stops what trains one after the other.

    Outside the main thread, where Python cannot install handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.raised = False
        self._before: dict[int, Any] = {}
        self._outer: StopRequest | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_endings()):
                self._before[number] = signal.signal(number, self._note)
            outer = getattr(self._before[signal.SIGINT], "__self__", None)
            if isinstance(outer, StopRequest):
                self._outer, self.raised = outer, outer.raised
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.raised and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._raise()

    def _raise(self) -> None:
        self.raised = True
        if self._outer is not None:
            self._outer._raise()


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP raise KeyboardInterrupt, once: what they interrupt tidies up.

    Outside the main thread it does nothing.
    """
    before: dict[int, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in before:  # a shell sends SIGHUP a second time, in the middle of the tidying up
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        before |= {number: signal.getsignal(number) for number in _endings()}
        for number in before:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _endings() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP unless it is ignored, as under ``nohup``."""
    if sys.platform == "win32":  # which has no terminal that hangs up
        return [signal.SIGTERM]
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGHUP]


def stop_politely() -> None:
    """In a worker: end as after Ctrl-C on SIGTERM and on the end of standard input.

    Ctrl-C itself, and a closed terminal, are left to whoever started this process.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_wait_for_the_end_of_input, daemon=True, name="watch").start()


def _wait_for_the_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
