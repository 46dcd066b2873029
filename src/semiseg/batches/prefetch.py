"""The next batch is made while the method works on this one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from semiseg.core import Batch


class Prefetch:
    """``batches`` with a thread of its own.

    For batches that would keep the training waiting: from a disk, with distance maps, or on a GPU, whose
    kernels are then started in time. On a CPU that has the cases in memory there is nothing to gain: the
    threads of the training need every core.

    A call gives the batch of its iteration, and leaves the thread making the next one. The batches are a pure
    function of the iteration, so nothing changes but the time it takes: a call out of order only finds that
    the wrong batch was made. All batches are made by the one thread, never two at a time. What goes wrong in
    it is raised by the call for that iteration.

    On CUDA the thread works on a stream of its own, so that its copies and transforms run beside the
    training, not between its kernels. The caller's stream waits for a batch, the caller itself does not.

    Args:
        batches: iteration -> batch.
        total: iterations of the run; nothing is made beyond them.
        device: of the batches.
        pauses: iterations whose batch must not be made before it is asked for.
    """

    def __init__(
        self,
        batches: Callable[[int], Batch],
        total: int,
        device: torch.device | str = "cpu",
        pauses: Collection[int] = (),
    ) -> None:
        self.batches, self.total, self.pauses = batches, total, frozenset(pauses)
        self._thread = ThreadPoolExecutor(1, "batches")
        self._step = -1
        self._next: Future[Batch] | None = None
        self._stream: torch.cuda.Stream | None = None
        if torch.device(device).type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the cases are being copied there

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration."""
        if self._next is None or self._step != step:
            self._next = self._thread.submit(self._make, step)
        waited, self._next = self._next, None
        batch = waited.result()
        if self._stream is not None:
            _hand_over(batch, self._stream)
        if step + 1 < self.total and step + 1 not in self.pauses:
            self._step, self._next = step + 1, self._thread.submit(self._make, step + 1)
        return batch

    def _make(self, step: int) -> Batch:
        with torch.cuda.stream(self._stream):  # without a stream this does nothing
            return self.batches(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, after the batch that it is making."""
        self._thread.shutdown(cancel_futures=True)


def _hand_over(batch: Batch, made_on: torch.cuda.Stream) -> None:
    """Let the current stream read what another one wrote, and keep the memory until it has."""
    here = torch.cuda.current_stream(made_on.device)
    here.wait_stream(made_on)
    for tensor in _tensors(batch):
        tensor.record_stream(here)


def _tensors(batch: Batch) -> Iterator[Tensor]:
    named = (batch.x_u, batch.targets, batch.views_l)
    yield from (batch.x_l, batch.y_l, *(tensor for tensors in named for tensor in tensors.values()))
    if batch.pseudo is not None:
        yield batch.pseudo
    if batch.confidence is not None:
        yield batch.confidence
