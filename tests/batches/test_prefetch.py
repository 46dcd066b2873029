"""The next batch in a thread: the same batches, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from tests.batches.test_batches import equal, make

from semiseg.batches.batches import Prefetch
from semiseg.core import Batch
from semiseg.preparation.resident import make_resident


class Recorder:
    """Notes which batches are made, in which thread, and that never two are made at once."""

    def __init__(self, failing: int | None = None) -> None:
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.failing, self.busy = failing, threading.Lock()

    def __call__(self, step: int) -> int:
        assert self.busy.acquire(blocking=False)
        try:
            self.made.append(step)
            self.threads.add(threading.current_thread().name)
            time.sleep(0.002)
            if step == self.failing:
                raise ValueError(f"batch {step}")
            return step
        finally:
            self.busy.release()


def threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


@pytest.mark.parametrize("steps", [range(6), (4, 0, 3, 3, 1, 2), (5, 5)])
def test_same_batches_in_any_order(steps):
    plain = make("default", 3, targets=("sdf",), views=("weak", "strong"), seed=3)
    other = make("default", 3, targets=("sdf",), views=("weak", "strong"), seed=3)
    with Prefetch(other, 6) as ahead:
        for k in steps:
            torch.manual_seed(k)  # the global generator is not theirs
            ours, theirs = ahead(k), plain(k)
            assert equal(ours, theirs)
            assert torch.equal(ours.targets["sdf"], theirs.targets["sdf"])


def test_a_batch_whose_samples_are_not_known_yet_is_not_made_ahead():
    recorder = Recorder()
    with Prefetch(recorder, 4, pauses=[2]) as ahead:
        assert ahead(0) == 0
        assert ahead(1) == 1
        time.sleep(0.02)
        assert recorder.made == [0, 1]
        assert ahead(2) == 2
        assert ahead(3) == 3
    assert recorder.made == [0, 1, 2, 3]


def test_one_batch_ahead_in_a_thread_of_its_own_and_none_beyond_the_run():
    recorder = Recorder()
    with Prefetch(recorder, 4) as ahead:
        assert [ahead(k) for k in range(4)] == [0, 1, 2, 3]
    assert recorder.made == [0, 1, 2, 3]
    assert threading.current_thread().name not in recorder.threads


def test_the_next_batch_is_made_while_this_one_is_used():
    recorder = Recorder()
    with Prefetch(recorder, 10) as ahead:
        ahead(0)
        deadline = time.monotonic() + 5
        while recorder.made != [0, 1] and time.monotonic() < deadline:
            time.sleep(0.001)
        assert recorder.made == [0, 1]


def test_an_error_belongs_to_its_iteration():
    recorder = Recorder(failing=2)
    with Prefetch(recorder, 10) as ahead:
        assert [ahead(0), ahead(1)] == [0, 1]
        time.sleep(0.05)  # batch 2 has failed by now
        with pytest.raises(ValueError, match="batch 2"):
            ahead(2)
        assert ahead(3) == 3
        with pytest.raises(ValueError, match="batch 2"):
            ahead(2)


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_thread_ends_with_the_run(error):
    before = threads()

    def run() -> None:
        with Prefetch(Recorder(), 10) as ahead:
            ahead(0)
            assert threads() == before + 1
            if error:
                raise error

    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert threads() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_batches_are_made_on_a_stream_of_their_own():
    def residents(stored):
        return make_resident(stored, torch.device("cuda"))

    plain = make("default", 3, views=("weak", "strong"), seed=3, place=residents)
    other = make("default", 3, views=("weak", "strong"), seed=3, place=residents)
    streams = set()

    def noted(step: int) -> Batch:
        streams.add(torch.cuda.current_stream().stream_id)
        return other(step)

    with Prefetch(noted, 20, "cuda") as ahead:
        for k in range(20):
            ours = ahead(k)
            busy = torch.randn(2000, 2000, device="cuda") @ torch.randn(2000, 2000, device="cuda")
            assert equal(ours, plain(k))
            del busy
    assert torch.cuda.current_stream().stream_id not in streams
