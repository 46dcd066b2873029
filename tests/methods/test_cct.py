"""What the consistency of disturbed decoders must do for every input; disturbances: tests/methods/parts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.cct import CCT
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, make

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)


@few
@given(seeds, classes, dims)
def test_1_no_loss_if_and_only_if_all_heads_agree(seed, k, dim):
    method = make("cct", dim, k)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((2, k, *[4] * dim), generator=generator)
    agreeing = [z, z + 3, z.clone(), z - 1]  # softmax does not see a constant
    assert method.consistency(agreeing).item() < 1e-12
    for i in range(4):
        heads = list(agreeing)
        heads[i] = z.roll(1, 1) + torch.randn(z.shape, generator=generator)
        assert method.consistency(heads).item() > 1e-4


@pytest.mark.parametrize(("detach_main", "pulled"), [(False, True), (True, False)])
def test_the_main_decoder_is_pulled_unless_it_is_detached(detach_main, pulled):
    method = make("cct", 2, 3, detach_main=detach_main)
    heads = [torch.randn(2, 3, 4, 4).requires_grad_() for _ in range(4)]
    method.consistency(heads).backward()
    assert (heads[0].grad is not None) == pulled
    assert all(z.grad.any() for z in heads[1:])


def test_all_heads_learn_from_labels_and_the_encoder_from_all():
    method = make("cct", 2, 3, weight=0.0)
    (update,) = method.step(batches(2, 3)(0), Clock(0, 10))
    update.loss.backward()
    parts = [method.net.main.body, method.net.main.up, *(d.head for d in method.net.decoders)]
    assert all(any(p.grad.any() for p in part.parameters()) for part in parts)


def test_what_is_exported_is_the_plain_network():
    method = make("cct", 2, 3)
    network = getattr(method, method.predictor)
    assert network.state_dict().keys() == TinyNet(2, 3).state_dict().keys()
    names = {name.split(".")[1] for name in method.net.decoders.state_dict()}
    assert names == {"up", "head"}


def test_a_network_in_one_piece_is_refused():
    with pytest.raises(UsageError, match="cct runs encoder and decoder"):
        CCT(lambda: Pointwise(2, 3))


@pytest.mark.parametrize("options", [{"noise": 1.5}, {"dropout": -0.1}, {"weight": -1.0}, {"decoders": 2}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(CCT, options)
