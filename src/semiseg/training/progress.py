"""Means of what is logged, and the speed. Tensors stay on the device until they are printed.

Ctrl-C, SIGTERM and a closed terminal ask the loop to stop after the iteration at hand.

A second Ctrl-C stops at once. What has no loop ends on all of them as on Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor


class Meter:
    """Collects the logs of each iteration between two readings."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.per_second = 0.0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Note one iteration's detached scalars."""
        self._steps += 1
        for name, value in logs.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Means since the last reading; the only place where the device is waited for."""
        names = list(self._sums)
        means = [float(torch.as_tensor(self._sums[name])) / self._counts[name] for name in names]
        now = time.monotonic()
        self.per_second = self._steps / max(now - self._since, 1e-9)
        self._sums, self._counts, self._steps, self._since = {}, {}, 0, now
        return dict(zip(names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What has been collected since the last reading, so that a resumed run logs the same means."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def start(self) -> None:
        """The clock of the speed starts now."""
        self._steps, self._since = 0, time.monotonic()

    def seconds_left(self, step: int) -> float:
        """Time to the end at the last measured speed."""
        return (self.total - step) / self.per_second if self.per_second else 0.0


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
