"""What DHC must do for every input; the numbers are those of its card of properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy, dice_loss
from semiseg.methods.dhc import DHC, DifficultyWeights, DistributionWeights, rarity
from tests.methods.answers import Fixed

few = settings(max_examples=10, deadline=None)
seeds, dims, classes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 6)
forms = st.sampled_from(["apart", "released"])
END = Clock(10, 10)


def labels(seed: int, k: int, dim: int, n: int = 2) -> torch.Tensor:
    return torch.randint(k, (n, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def logits(seed: int, k: int, dim: int, n: int) -> torch.Tensor:
    return 3 * torch.randn((n, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def with_answers(*z: torch.Tensor, **options) -> DHC:
    left = iter(z)

    def make_net() -> Fixed:
        network = Fixed(next(left))
        network.classes = z[0].shape[1]
        return network

    return DHC(make_net, **{"weight": 1.0, **options})


def a_batch(seed: int, k: int, dim: int) -> Batch:
    y = labels(seed, k, dim)
    x = torch.zeros((4, 1, *y.shape[1:]))
    return Batch(x[:2], y, {"weak": x[2:]})


@few
@given(seeds, dims, classes, forms)
def test_1_weights_lie_between_0_and_the_number_of_classes(seed, dim, k, absent):
    hard, rare = DifficultyWeights(k, absent=absent), DistributionWeights(k, absent=absent)
    for i in range(3):
        y = labels(seed + i, k, dim)
        w, v = hard.update(y, labels(seed - i, k, dim)), rare.update(y, labels(seed - i, k, dim))
        assert w.max().item() == pytest.approx(k, rel=1e-5)
        assert (v >= 0).all()
        assert (v <= k * 1.001).all()
    counts = torch.randint(0, 1000, (k,), generator=torch.Generator().manual_seed(seed)).float()
    counts[0] = 2000.0
    target = rarity(counts, absent)
    assert target[0] == 0
    assert target.max().item() == pytest.approx(k, rel=1e-5)


@few
@given(seeds, dims, classes, st.integers(2, 50), forms)
def test_2_only_shares_matter_and_classes_are_only_names(seed, dim, k, factor, absent):
    counts = torch.randint(1, 1000, (k,), generator=torch.Generator().manual_seed(seed)).float()
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rarity(factor * counts, absent), rarity(counts, absent), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rarity(counts[order], absent), rarity(counts, absent)[order])
    y, guess = labels(seed, k, dim), labels(seed + 1, k, dim)
    plain, renamed = DifficultyWeights(k, absent=absent), DifficultyWeights(k, absent=absent)
    back = order.argsort()
    torch.testing.assert_close(renamed.update(back[y], back[guess]), plain.update(y, guess)[order])


def test_2_equally_frequent_classes_weigh_1():
    assert rarity(torch.full((4,), 7.0)).tolist() == [1.0] * 4


def test_3_perfect_classes_lose_their_weight_and_falling_ones_gain():
    y = torch.tensor([[0, 0, 1, 1, 2, 2]])
    weights = DifficultyWeights(3, steps=10)
    before = weights.hard.clone()
    for _ in range(5):
        weights.update(y, y)
        torch.testing.assert_close(weights.hard, 0.9 * before)
        before = weights.hard.clone()
    learned, falls = DifficultyWeights(3, steps=10), torch.tensor([[0, 0, 1, 0, 2, 2]])
    rises = torch.tensor([[0, 0, 1, 1, 2, 0]])
    learned.update(y, rises)  # class 1 was right and is not, class 2 the other way round
    w = learned.update(y, falls)
    assert w[1] > w[2]


@few
@given(seeds, dims, classes)
def test_4_equal_weights_are_plain_losses(seed, dim, k):
    z, y = logits(seed, k, dim, 2), labels(seed, k, dim)
    method = with_answers(z, z)
    dice = 1 - dice_loss(z.softmax(1), y, include_background=False, squared=False, smooth=1.0)
    torch.testing.assert_close(method.weighted(z, y, torch.ones(k)), cross_entropy(z, y) - dice)


@few
@given(seeds, dims, classes, forms)
def test_5_each_loss_reaches_its_own_network_alone(seed, dim, k, absent):
    method = with_answers(logits(seed, k, dim, 4), logits(seed + 1, k, dim, 4), absent=absent)
    first, second = method.step(a_batch(seed, k, dim), END)
    first.loss.backward()
    assert method.net.logits.grad.abs().sum() > 0
    assert method.net2.logits.grad is None
    assert not any(value.requires_grad for value in (*first.logs.values(), *second.logs.values()))
    assert not any(buffer.requires_grad for buffer in method.buffers())


@few
@given(seeds, dims, classes, st.floats(0.1, 10.0))
def test_6_a_factor_of_all_weights_scales_dice_alone(seed, dim, k, factor):
    z, y = logits(seed, k, dim, 2), labels(seed, k, dim)
    w = 0.1 + torch.rand(k, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(cross_entropy(z, y, weights=factor * w), cross_entropy(z, y, weights=w))
    method = with_answers(z, z)
    dice = [method.weighted(z, y, v) - cross_entropy(z, y, weights=v) for v in (factor * w, w)]
    torch.testing.assert_close(dice[0], factor * dice[1], rtol=1e-4, atol=1e-5)


# --- beyond the paper -----------------------------------------------------------------------------


@few
@given(seeds, dims)
def test_an_absent_class_changes_no_other_weight(seed, dim):
    """The release presses those together that are there."""
    counts = torch.tensor([10000.0, 100.0, 10.0, 1.0])
    without = torch.tensor([10000.0, 100.0, 10.0, 0.0])
    torch.testing.assert_close(rarity(without), rarity(counts))
    assert (rarity(without, "released")[1:3] < 0.5 * rarity(counts)[1:3]).all()
    hard = DifficultyWeights(4)
    hard.update(labels(seed, 4, dim), labels(seed + 1, 4, dim))
    before = hard.state_dict()["hard"].clone()
    y = labels(seed + 2, 3, dim)
    hard.update(y, y)
    assert hard.hard[3] == before[3]
    assert (hard.hard[:3] < before[:3]).all()


@few
@given(seeds, dims, classes)
def test_unknown_voxels_count_nowhere(seed, dim, k):
    y, guess = labels(seed, k, dim), labels(seed + 1, k, dim)
    y[:, 0] = IGNORE
    changed = guess.clone()
    changed[:, 0] = 0
    one, two = DifficultyWeights(k), DifficultyWeights(k)
    torch.testing.assert_close(one.update(y, guess), two.update(y, changed))


def test_a_floor_keeps_the_background():
    z = logits(0, 2, 2, 4)
    batch = a_batch(0, 2, 2)
    for floor, learns in ((0.0, False), (0.1, True)):
        method = with_answers(z, z, floor=floor, weight=0.0)
        method.distribution.counts.copy_(torch.tensor([1e6, 1.0]))
        y = torch.zeros_like(batch.y_l)
        list(method.step(batch._replace(y_l=y), END))
        ce = cross_entropy(z[:2], y, weights=method.distribution.weights.clamp_min(method.floor))
        assert (ce > 0) == learns


@pytest.mark.parametrize(
    "options", [{"momentum": 2.0}, {"difficulty_steps": 0}, {"floor": -1.0}, {"absent": "skip"}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(DHC, options)
