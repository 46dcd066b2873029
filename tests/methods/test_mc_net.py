"""What sharpening and the mutual term must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.errors import UsageError
from semiseg.losses import mutual_consistency, sharpen
from semiseg.methods.mc_net import MCNet
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, make

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)
temperatures = st.sampled_from([0.05, 0.1, 0.5, 1.0])


def two_class(p: torch.Tensor) -> torch.Tensor:
    """Logits (N, 2, 1) with these probabilities of class 1."""
    return torch.stack([torch.log1p(-p), p.log()], dim=1)[..., None]


def random_logits(seed: int, k: int, dim: int, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn((2, k, *[3] * dim), generator=generator) for _ in range(count)]


@pytest.mark.parametrize("form", ["classes", "elements"])
@few
@given(temperatures)
def test_1_sharpening_keeps_0_and_a_half_and_1(form, temperature):
    z = torch.tensor([[[0.0], [300.0]], [[0.0], [0.0]]])
    expected = torch.tensor([[[0.0], [1.0]], [[0.5], [0.5]]])
    torch.testing.assert_close(sharpen(z, temperature=temperature, form=form), expected)


@pytest.mark.parametrize("form", ["classes", "elements"])
@few
@given(seeds, temperatures)
def test_2_sharpening_is_monotone_and_symmetric(form, seed, temperature):
    p = torch.rand(50, generator=torch.Generator().manual_seed(seed)).clamp(1e-4, 1 - 1e-4).sort().values
    q = sharpen(two_class(p), temperature=temperature, form=form)[:, 1, 0]
    assert (q.diff() >= -1e-6).all()
    mirrored = sharpen(two_class(1 - p), temperature=temperature, form=form)[:, 1, 0]
    torch.testing.assert_close(mirrored, 1 - q, rtol=1e-3, atol=1e-4)
    assert ((q - 0.5).abs() >= (p - 0.5).abs() - 1e-5).all()


@few
@given(seeds, classes, dims, temperatures)
def test_over_classes_it_is_a_distribution_and_against_the_rest_only_for_two(seed, k, dim, temperature):
    z = random_logits(seed, k, dim, 1)[0] / 3
    q = sharpen(z, temperature=temperature)
    torch.testing.assert_close(q.sum(1), torch.ones_like(q[:, 0]))
    rest = sharpen(z, temperature=temperature, form="elements")
    assert torch.equal(q.argmax(1), z.argmax(1))
    if k == 2:
        torch.testing.assert_close(q, rest, rtol=1e-3, atol=1e-4)
    elif temperature < 0.5:
        assert not torch.allclose(q, rest, atol=1e-3)


@few
@given(seeds, classes, dims, st.permutations(range(3)))
def test_3_the_order_of_the_heads_does_not_matter(seed, k, dim, order):
    logits = random_logits(seed, k, dim, 3)
    permuted = mutual_consistency([logits[i] for i in order])
    torch.testing.assert_close(permuted, mutual_consistency(logits))


@few
@given(seeds, classes, dims, st.sampled_from(["classes", "elements"]))
def test_4_equal_hard_heads_cost_nothing_and_others_do(seed, k, dim, form):
    (z,) = random_logits(seed, k, dim, 1)
    hard = 100 * torch.nn.functional.one_hot(z.argmax(1), k).movedim(-1, 1).float()
    assert mutual_consistency([hard] * 3, form=form).item() < 1e-8
    assert mutual_consistency([hard, hard, hard.roll(1, 1)], form=form).item() > 1.0
    assert mutual_consistency([z, z], form=form).item() > 0  # agreeing is not enough: one must be sure


@pytest.mark.parametrize("form", ["classes", "elements"])
def test_gradients_are_finite_and_reach_both_sides(form):
    for size in (1.0, 200.0):
        logits = [size * z for z in random_logits(0, 4, 2, 2)]
        leaves = [z.requires_grad_() for z in logits]
        mutual_consistency(leaves, form=form).backward()
        assert all(torch.isfinite(z.grad).all() for z in leaves)
    soft, hard = random_logits(0, 3, 2, 2)
    hard.requires_grad_()
    (soft.softmax(1) - sharpen(hard)).square().mean().backward()
    assert hard.grad.any()


@pytest.mark.parametrize("decoders", [2, 3, 4])
def test_what_is_exported_is_the_plain_network(decoders):
    method = make("mc_net", 2, 3, decoders=decoders)
    assert getattr(method, method.predictor).state_dict().keys() == TinyNet(2, 3).state_dict().keys()
    assert len(method.net.decoders) == decoders - 1
    first = [method.main.head.weight, *(decoder.head.weight for decoder in method.net.decoders)]
    assert all(not torch.equal(a, b) for i, a in enumerate(first) for b in first[:i])


@pytest.mark.parametrize(("dice", "perfect"), [("la", 0.0), ("acdc", 0.0), ("acdc_released", 0.5)])
def test_the_dice_of_a_perfect_prediction(dice, perfect):
    method = make("mc_net", 2, 3, dice=dice)
    y = torch.randint(3, (2, 6, 6), generator=torch.Generator().manual_seed(0))
    z = 100 * torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    assert method.supervised(z, y).item() == pytest.approx(perfect, abs=1e-6)
    assert method.supervised(z.roll(1, 1), y).item() == pytest.approx(1.0, abs=1e-6)
    assert len(method.deviations) == (dice == "acdc_released")


def test_a_network_in_one_piece_is_refused():
    with pytest.raises(UsageError, match="mc_net runs encoder and decoder"):
        MCNet(lambda: Pointwise(2, 3))


@pytest.mark.parametrize(
    "options", [{"decoders": 1}, {"temperature": 0}, {"dice": "ce"}, {"sharpening": "no"}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(MCNet, options)
