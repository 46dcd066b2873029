"""Several networks that predict as one."""

from __future__ import annotations

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.core import Average
from tests.methods.answers import Fixed
from tests.methods.tiny import TinyNet

few = settings(max_examples=10, deadline=None)


@few
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([torch.float32, torch.bfloat16]))
def test_its_probabilities_are_the_mean(seed, n, dtype):
    generator = torch.Generator().manual_seed(seed)
    logits = [(9 * torch.randn((2, 3, 4, 4), generator=generator)).to(dtype) for _ in range(n)]
    answer = Average([Fixed(z) for z in logits])(torch.empty(2, 1, 4, 4)).logits
    assert answer.dtype == torch.float32
    expected = torch.stack([z.float().softmax(1) for z in logits]).mean(0)
    torch.testing.assert_close(answer.softmax(1), expected)


def test_it_shares_the_weights_and_a_copy_does_not():
    networks = [TinyNet(2, 3), TinyNet(2, 3)]
    networks[0].divisor = (2, 2)
    average = Average(networks)
    assert average.divisor == (2, 2)
    assert not hasattr(Average(networks[1:]), "divisor")
    assert {key.split(".")[0] for key in average.state_dict()} == {"0", "1"}
    other = copy.deepcopy(average)
    with torch.no_grad():
        networks[1].head.bias.add_(1)
    assert torch.equal(average[1].head.bias, networks[1].head.bias)
    assert not torch.equal(other[1].head.bias, networks[1].head.bias)
    average.eval()
    assert not networks[0].training
