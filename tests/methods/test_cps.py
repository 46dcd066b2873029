"""What the cross term must do for every input; what two networks share is in test_two_networks."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.cps import CPS
from tests.methods.answers import Pointwise

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)


@few
@given(seeds, classes, dims)
def test_agreement_with_confidence_costs_nothing_and_disagreement_does(seed, k, dim):
    method = CPS(lambda: Pointwise(dim, k))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(k, (2, *[4] * dim), generator=generator)
    sure = 50 * torch.nn.functional.one_hot(chosen, k).movedim(-1, 1).float()
    assert method.lesson(sure, 3 * sure).item() < 1e-6
    assert method.lesson(sure, sure.roll(1, 1)).item() > 40


@few
@given(seeds, classes, dims)
def test_only_the_most_likely_class_of_the_other_matters(seed, k, dim):
    method = CPS(lambda: Pointwise(dim, k))
    generator = torch.Generator().manual_seed(seed)
    z, other = (torch.randn((2, k, *[4] * dim), generator=generator) for _ in range(2))
    torch.testing.assert_close(method.lesson(z, other), method.lesson(z, 7 * other - 3))
