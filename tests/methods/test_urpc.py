"""What the consistency of several scales must do for every input."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.errors import UsageError
from semiseg.methods.urpc import URPC, divergence_from_mean, pyramid_consistency
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, make

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)


def scales(seed: int, k: int, dim: int, count: int = 4, size: float = 3.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [size * torch.randn((2, k, *[3] * dim), generator=generator) for _ in range(count)]


@few
@given(seeds, classes, dims)
def test_1_equal_heads_cost_nothing(seed, k, dim):
    (z,) = scales(seed, k, dim, count=1)
    divergence, _, _ = divergence_from_mean([z, z + 5, z - 2, z])
    assert divergence.abs().max() < 1e-5
    assert pyramid_consistency([z] * 4).abs().max() < 1e-6


@few
@given(seeds, classes, dims)
def test_2_the_divergence_is_not_negative_and_of_different_heads_positive(seed, k, dim):
    logits = scales(seed, k, dim)
    divergence, p, mean = divergence_from_mean(logits)
    assert divergence.min() > -1e-6
    assert (divergence.flatten(1).mean(1) > 1e-3).all()
    assert (pyramid_consistency(logits) > 1e-3).all()
    torch.testing.assert_close(mean, p.mean(0))


@few
@given(seeds, classes, st.permutations(range(4)))
def test_3_the_order_of_the_heads_does_not_matter(seed, k, order):
    logits = scales(seed, k, 2)
    permuted = [logits[i] for i in order]
    before = pyramid_consistency(logits)
    torch.testing.assert_close(pyramid_consistency(permuted), before[list(order)])
    torch.testing.assert_close(pyramid_consistency(permuted).mean(), before.mean())


@few
@given(seeds)
def test_saturated_predictions_have_finite_values_and_gradients(seed):
    logits = [z.requires_grad_() for z in scales(seed, 3, 2, size=300.0)]
    loss = pyramid_consistency(logits).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(z.grad).all() for z in logits)


def test_every_scale_gets_a_gradient_through_the_mean():
    for i, j in itertools.permutations(range(3), 2):
        logits = [z.requires_grad_() for z in scales(0, 3, 2, count=3)]
        pyramid_consistency(logits)[i].backward()
        assert logits[j].grad.any()


@pytest.mark.parametrize("perturbation", ["mixed", "dropout"])
@pytest.mark.parametrize("dim", [2, 3])
def test_what_is_exported_is_the_plain_network(dim, perturbation):
    method = make("urpc", dim, 3, perturbation=perturbation)
    network = getattr(method, method.predictor)
    assert network.state_dict().keys() == TinyNet(dim, 3).state_dict().keys()
    x = torch.randn(2, 1, *[8] * dim)
    method.eval()
    torch.testing.assert_close(method.net(x).logits, network(x).logits)


def test_heads_are_disturbed_in_training_only():
    method = make("urpc", 2, 3)
    method.main.eval()
    x = torch.randn(2, 1, 8, 8)
    (first,), (second,) = (method.net(x).heads.values() for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(method.net(x).logits, method.net(x).logits)
    method.eval()
    (first,), (second,) = (method.net(x).heads.values() for _ in range(2))
    torch.testing.assert_close(first, second)


def test_a_network_without_levels_is_refused():
    with pytest.raises(UsageError, match="urpc predicts from several levels"):
        URPC(lambda: Pointwise(2, 3))


@pytest.mark.parametrize("options", [{"scales": 1}, {"perturbation": "none"}, {"weight": -1.0}, {"ramp": 0}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(URPC, options)
