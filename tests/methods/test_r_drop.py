"""What the divergence must do for every input; what two networks share is in test_two_networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.r_drop import RDrop
from tests.methods.answers import Pointwise

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)
axes = st.sampled_from(["classes", "width"])


def draw(seed: int, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, other = (torch.randn((2, k, *[4] * dim), generator=generator) for _ in range(2))
    return z, other, 3 * torch.randn((2, 1, *[4] * dim), generator=generator)


@few
@given(seeds, classes, dims, axes)
def test_zero_for_equal_logits_and_symmetric(seed, k, dim, axis):
    z, other, _ = draw(seed, k, dim)
    method = RDrop(lambda: Pointwise(dim, k), softmax_axis=axis)
    assert method.lesson(z, z).item() == pytest.approx(0, abs=1e-6)
    assert method.lesson(z, other).item() > 0
    torch.testing.assert_close(method.lesson(z, other), method.lesson(other, z))


@few
@given(seeds, classes, dims)
def test_a_constant_per_voxel_changes_nothing_but_in_the_released_form(seed, k, dim):
    z, other, constant = draw(seed, k, dim)
    ours = RDrop(lambda: Pointwise(dim, k))
    torch.testing.assert_close(ours.lesson(z + constant, other), ours.lesson(z, other), rtol=1e-4, atol=1e-6)
    released = RDrop(lambda: Pointwise(dim, k), softmax_axis="width")
    change = released.lesson(z + constant, other) - released.lesson(z, other)
    assert abs(change.item()) > 1e-3
