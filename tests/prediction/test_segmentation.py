"""Slabs of several predictions, cut differently, make one mean."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from semiseg.inference.accumulate import Slab
from semiseg.prediction.assembly import mean_slabs


def cut(whole: torch.Tensor, *rows: int) -> Generator[Slab, None, None]:
    start = 0
    for stop in rows:
        yield Slab(start, whole[:, start:stop])
        start = stop


def test_the_mean_of_slabs_is_the_mean_of_volumes() -> None:
    first, second, third = torch.rand(3, 2, 10, 3, 3)
    parts = [(1, cut(first, 4, 10)), (2, cut(second, 1, 5, 6, 10)), (1, cut(third, 10))]
    made = list(mean_slabs(parts))
    assert [slab.start for slab in made] == [0, 1, 4, 5, 6]
    found = torch.cat([slab.probabilities for slab in made], 1)
    torch.testing.assert_close(found, (first + 2 * second + third) / 4)


def test_one_prediction_passes_through_and_all_are_closed_in_the_end() -> None:
    whole = torch.rand(2, 6, 3, 3)
    (slab,) = mean_slabs([(3, cut(whole, 6))])
    assert slab.probabilities.data_ptr() == whole.data_ptr()
    ended = []

    def watched() -> Generator[Slab, None, None]:
        try:
            yield from cut(whole, 2, 4, 6)
        finally:
            ended.append(True)

    means = mean_slabs([(1, watched()), (1, watched())])
    next(means)
    means.close()
    assert ended == [True, True]


@pytest.mark.parametrize("precision", ["bf16", "32"])
def test_a_format_that_is_not_trusted_falls_back_and_says_so(
    precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.trained import make_plan

    from semiseg.core import SegOutput
    from semiseg.prediction.members import Member, trusted

    class Garbled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> SegOutput:
            return SegOutput(x * (torch.nan if torch.is_autocast_enabled("cpu") else 1.0))

    chosen, copies = trusted([Member(make_plan(), Garbled())], precision)
    assert chosen == "32"
    assert bool(copies) == (precision == "32")
    assert ("predicting in float32" in caplog.text) == (precision == "bf16")
