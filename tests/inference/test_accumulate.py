"""Slabs that are handed out as early as they are final, and what happens when memory runs out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semiseg.errors import DeviceError
from semiseg.inference.accumulate import Accumulator, Grid
from semiseg.inference.window import slabs, sliding_window


def logits(x: Tensor) -> Tensor:
    """Of which a softmax gives x and 1 - x."""
    return torch.cat([x, 1 - x], 1).clamp_min(1e-9).log()


def test_too_large_a_batch_is_halved_and_the_result_is_the_same() -> None:
    sizes = []

    def small_device(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("no room")
        return logits(x)

    image = torch.rand(1, 12, 12)
    found = sliding_window(small_device, image, (4, 4), stride=(4, 4), weighting="uniform", batch=8)
    torch.testing.assert_close(found[:1], image)
    assert sizes[:3] == [8, 4, 2]


def test_one_window_that_does_not_fit_is_a_device_error_with_a_way_out() -> None:
    def no_room(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(DeviceError, match="one single window") as caught:
        sliding_window(no_room, torch.rand(1, 8, 8), (4, 4), batch=4)
    assert "patch" in caught.value.hint
    assert caught.value.exit_code == 4


def test_sums_move_to_main_memory_before_giving_up() -> None:
    grid = Grid((4, 4, 4), (4, 4, 4), (0, 4), torch.ones(4, 4, 4), (torch.ones(4),) * 3)
    total = Accumulator(grid, torch.device("meta"))
    total._allocate(0, 2)
    # meta tensors hold nothing that could be moved
    total._sums[0] = torch.ones(2, 4, 4, 4)
    assert total.make_room(1) == 1
    total.add(torch.ones(1, 2, 4, 4, 4), [(0, 0, 0)])
    (slab,) = total.finished(4)
    assert slab.probabilities.device.type == "cpu"
    assert slab.probabilities.eq(2).all()
    with pytest.raises(DeviceError):
        total.make_room(1)


def test_running_out_of_memory_in_the_middle_adds_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Accumulator._allocate, []

    def full_at_first(self: Accumulator, slab: int, classes: int) -> None:
        calls.append(slab)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("no room")
        real(self, slab, classes)

    image = torch.rand(1, 16, 6, 6)
    options = {"stride": (2, 4, 4), "weighting": "gaussian"}
    wanted = sliding_window(logits, image, (4, 4, 4), **options)
    monkeypatch.setattr(Accumulator, "_allocate", full_at_first)
    assert torch.equal(sliding_window(logits, image, (4, 4, 4), batch=3, **options), wanted)


@pytest.mark.parametrize("stride", [(3, 4, 4), (8, 8, 8), (5, 8, 8)])
def test_no_more_rows_are_held_than_a_window_and_a_step(stride, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    real = Accumulator.add

    def watched(self: Accumulator, *given) -> None:
        real(self, *given)
        held.append(sum(part.shape[1] for part in self._sums.values()))

    monkeypatch.setattr(Accumulator, "add", watched)
    image = torch.rand(1, 60, 8, 9)
    rows = 0
    for slab in slabs(lambda x: torch.cat([x, 1 - x], 1), image, (8, 8, 8), stride=stride):
        assert slab.start == rows
        rows += slab.probabilities.shape[1]
        torch.testing.assert_close(slab.probabilities[:1], image[:, slab.start : rows])
    assert rows == 60
    assert max(held) <= 8 + stride[0]


def test_a_long_volume_is_handed_out_while_it_is_predicted() -> None:
    seen: list[int] = []

    def spy(x: Tensor) -> Tensor:
        seen.append(len(x))
        return torch.cat([x, 1 - x], 1)

    parts = slabs(spy, torch.rand(1, 64, 8, 8), (8, 8, 8), stride=(4, 8, 8))
    next(parts)
    assert len(seen) == 1  # the next window starts below these rows
    assert not torch.is_inference_mode_enabled()
    parts.close()


def test_padding_is_cut_off_whichever_slab_it_lies_in() -> None:
    image = torch.rand(1, 3, 20, 5)
    found = sliding_window(logits, image, (16, 16, 16))
    assert found.shape == (2, 3, 20, 5)
    torch.testing.assert_close(found[:1], image)
