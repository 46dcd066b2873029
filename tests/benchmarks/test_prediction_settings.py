"""What the benchmarks of prediction settings compute, at tiny sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import quality, windows
from semiseg.core import SegOutput
from semiseg.networks.layers import InstanceNorm

PATCH = (8, 8, 8)


class Net(nn.Module):
    """Answers by what its norm sees of the whole window."""

    divisor = (4, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv3d(1, 4, 1), InstanceNorm(4), nn.Conv3d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> SegOutput:
        return SegOutput(self.last(self.norm(self.first(x))))


@pytest.fixture
def network() -> Net:
    return Net().eval()


def forward(network: nn.Module):
    return lambda x: network(x).logits.softmax(1)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((16, 12, 16), (16, 16, 16)),  # not larger
        ((18, 16, 20), (20, 16, 20)),
        ((21, 40, 18), (16, 16, 20)),  # too large along two axes
    ],
)
def test_windows_grew_where_a_quarter_more_made_one_enough(size, wanted) -> None:
    assert windows.grown((16, 16, 16), size, (4, 4, 4)) == wanted


@torch.inference_mode()
def test_without_a_larger_scan_all_ways_are_one(network) -> None:
    image = torch.randn(1, 8, 8, 8)
    found = [way() for way in windows.ways(network, forward(network), image, PATCH).values()]
    assert len(found) == 6
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_exchanged_statistics_are_the_whole_difference_of_a_network_of_points(network) -> None:
    image = torch.randn(1, 18, 16, 16) + torch.linspace(0, 3, 18)[:, None, None]
    made = windows.ways(network, forward(network), image, (16, 16, 16))
    found = {name: way() for name, way in made.items()}
    patch, grown = found["windows of the patch's size"], found["grown windows"]
    assert (patch - grown).abs().max() > 0.01
    swapped = found["the same, statistics of the grown window"]
    torch.testing.assert_close(swapped, grown, atol=1e-4, rtol=1e-3)
    assert not network.norm._forward_hooks


def test_a_row_takes_the_place_of_the_same_measurement_and_the_page_has_both_states() -> None:
    def row(setting: str, state: str, dice: float) -> dict:
        same = {"part": "test", "dataset": "D", "method": "m", "scans": 2, "hd95": 3.0, "seconds": 1.25}
        return same | {"setting": setting, "state": state, "dice": dice}

    rows: list[dict] = []
    for new in (row("best", "before", 0.5), row("best", "after", 0.7), row("best", "before", 0.6)):
        rows = quality.with_row(rows, new)
    rows = quality.with_row(rows, row("fast", "before", 0.4))
    text = quality.page(rows)
    assert "| D | m | 2 | best | 0.6000 | 3.00 | 1.25 | 0.7000 | 3.00 | 1.25 |" in text
    assert "| D | m | 2 | fast | 0.4000 | 3.00 | 1.25 | - | - | - |" in text
    assert "Held-out" not in text
