"""What mixing and ICT's loss must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Batch, Clock
from semiseg.errors import UsageError
from semiseg.methods.ict import ICT
from semiseg.methods.parts.mixing import beta_factors, mixup
from tests.methods.answers import Fixed, Pointwise

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def draw(seed: int, n: int, k: int, dim: int) -> torch.Tensor:
    return torch.randn((n, k, *[5] * dim), generator=torch.Generator().manual_seed(seed))


@few
@given(seeds, classes, dims)
def test_mixing_is_symmetric_and_stays_between_the_two(seed, k, dim):
    q0, q1 = draw(seed, 2, k, dim).softmax(1), draw(seed + 1, 2, k, dim).softmax(1)
    torch.manual_seed(seed)
    factor = beta_factors(2, 0.2, q0)
    assert factor.shape == (2, *[1] * (dim + 1))
    assert ((factor >= 0) & (factor <= 1)).all()
    mixed = mixup(q0, q1, factor)
    torch.testing.assert_close(mixed, mixup(q1, q0, 1 - factor))
    torch.testing.assert_close(mixed.sum(1), torch.ones_like(mixed[:, 0]))
    assert (mixed >= torch.minimum(q0, q1) - 1e-6).all()
    assert (mixed <= torch.maximum(q0, q1) + 1e-6).all()
    assert torch.equal(mixup(q0, q1, torch.zeros_like(factor)), q0)
    assert torch.equal(mixup(q0, q1, torch.ones_like(factor)), q1)


@few
@given(seeds, classes, dims)
def test_consistency_is_bounded_and_trains_the_student_on_mixtures_only(seed, k, dim):
    method = ICT(lambda: Fixed(10 * draw(seed, 3, k, dim)), weight=1.0)
    method.teacher = Fixed(10 * draw(seed + 1, 1, k, dim)).requires_grad_(False)
    x_u = draw(seed, 2, 1, dim)
    batch = Batch(draw(seed, 2, 1, dim), torch.zeros((2, *[5] * dim), dtype=torch.long), {"weak": x_u})
    (update,) = method.step(batch, Clock(10, 10))
    assert 0 <= update.logs["consistency"].item() <= 2 / k + 1e-6
    supervised = update.loss - update.logs["supervised"]  # its value; the gradient is of both terms
    assert supervised.item() == pytest.approx(update.logs["consistency"].item(), abs=1e-5)
    update.loss.backward()
    assert method.net.logits.grad[2:].abs().sum() > 0
    assert all(p.grad is None for p in method.teacher.parameters())


def test_a_scan_mixed_with_itself_costs_nothing_where_both_networks_agree():
    torch.manual_seed(0)
    method = ICT(lambda: Pointwise(2, 3)).eval()
    one = torch.randn(1, 1, 6, 6)
    batch = Batch(one, torch.zeros((1, 6, 6), dtype=torch.long), {"weak": torch.cat([one, one])})
    (update,) = method.step(batch, Clock(10, 10))
    assert update.logs["consistency"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "pairs"), [(1, [(0, 0)]), (2, [(0, 1)]), (3, [(0, 1), (1, 2)]), (4, [(0, 2), (1, 3)])]
)
def test_pairs_are_the_halves_of_the_batch(n, pairs):
    method = ICT(lambda: Pointwise(2, 2))
    u0, u1 = method.pair(torch.arange(n).view(n, 1, 1, 1))
    assert list(zip(u0.flatten().tolist(), u1.flatten().tolist(), strict=True)) == pairs


def test_shuffled_pairs_hold_every_scan_on_both_sides():
    method = ICT(lambda: Pointwise(2, 2), pairing="shuffle")
    u0, u1 = method.pair(torch.arange(7).view(7, 1, 1, 1))
    assert u0.flatten().tolist() == sorted(u1.flatten().tolist()) == list(range(7))
    (update,) = method.step(
        Batch(
            torch.randn(1, 1, 6, 6),
            torch.zeros((1, 6, 6), dtype=torch.long),
            {"weak": torch.randn(3, 1, 6, 6)},
        ),
        Clock(0, 10),
    )
    assert torch.isfinite(update.loss)


def test_most_draws_are_close_to_one_of_the_two():
    torch.manual_seed(0)
    factor = beta_factors(20000, 0.2, torch.empty(0, 1, 2, 2)).flatten()
    assert ((factor < 0.05) | (factor > 0.95)).float().mean().item() == pytest.approx(0.58, abs=0.02)
    assert ((factor > 0.2) & (factor < 0.8)).float().mean().item() == pytest.approx(0.21, abs=0.02)


def test_alpha_is_any_number_above_0():
    found = methods.find("ict")
    assert methods.check_options(found, {"alpha": 0.75}) == {"alpha": 0.75}
    with pytest.raises(UsageError, match="alpha"):
        methods.check_options(found, {"alpha": 0})
