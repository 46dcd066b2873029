"""What happens when memory runs out, with the device's answers played by the test."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semiseg.errors import DeviceError
from semiseg.inference.accumulate import Accumulator
from semiseg.inference.window import slide


def test_too_large_a_batch_is_halved_and_the_result_is_the_same() -> None:
    sizes = []

    def small_device(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("no room")
        return torch.cat([x, 1 - x], 1)

    image = torch.rand(1, 1, 12, 12)
    found = slide(small_device, image, (4, 4), stride=(4, 4), weighting="uniform", batch=8)
    torch.testing.assert_close(found[:, :1], image)
    assert sizes[:3] == [8, 4, 2]


def test_one_window_that_does_not_fit_is_a_device_error_with_a_way_out() -> None:
    def no_room(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(DeviceError, match="one single window") as caught:
        slide(no_room, torch.rand(1, 1, 8, 8), (4, 4), batch=4)
    assert "patch" in caught.value.hint
    assert caught.value.exit_code == 4


def test_sums_move_to_main_memory_before_giving_up() -> None:
    total = Accumulator(1, (4, 4), torch.ones(4, 4), torch.device("meta"))
    total.add(torch.ones(1, 2, 4, 4, device="meta"), [(0, (slice(None), slice(0, 4), slice(0, 4)))])
    assert total.result().device.type == "meta"
    total._sum, total._weight = (
        torch.ones(1, 2, 4, 4),
        torch.ones(4, 4),
    )  # meta tensors hold nothing that could be moved
    assert total.make_room(1) == 1
    total.add(torch.ones(1, 2, 4, 4), [(0, (slice(None), slice(0, 4), slice(0, 4)))])
    assert total.result().device.type == "cpu"
    with pytest.raises(DeviceError):
        total.make_room(1)
