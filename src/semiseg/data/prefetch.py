"""The next batch is made while the method works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from semiseg.core import Batch


class Prefetch:
    """``batches`` with a thread of its own, for batches that take the processor a while: distance maps.

    A call gives the batch of its iteration, and leaves the thread making the next one. The batches are a pure
    function of the iteration, so nothing changes but the time it takes: a call out of order only finds that
    the wrong batch was made. All batches are made by the one thread, never two at a time. What goes wrong in
    it is raised by the call for that iteration.

    On CUDA the thread works on the device's default stream, as the training does, so that the device runs the
    kernels of both one after the other, and no tensor is read before it is written. Only the thread waits
    where labels are copied to the processor; the transforms then run beside the device's work.

    Args:
        batches: iteration -> batch.
        total: iterations of the run; nothing is made beyond them.
    """

    def __init__(self, batches: Callable[[int], Batch], total: int) -> None:
        self.batches, self.total = batches, total
        self._thread = ThreadPoolExecutor(1, "batches")
        self._step = -1
        self._next: Future[Batch] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration."""
        if self._next is None or self._step != step:
            self._next = self._thread.submit(self.batches, step)
        waited, self._next = self._next, None
        batch = waited.result()
        if step + 1 < self.total:
            self._step, self._next = step + 1, self._thread.submit(self.batches, step + 1)
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, after the batch that it is making."""
        self._thread.shutdown(cancel_futures=True)
