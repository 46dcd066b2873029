"""Class shares and the alignment to them, for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.co_da import Shares, align, share_ratio

few = settings(max_examples=12, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)


def draw(seed: int, k: int, dim: int, n: int = 2) -> torch.Tensor:
    z = 2 * torch.randn((n, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))
    return z.softmax(1)


def zeros(p: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(p[:, 0], dtype=torch.long)


@few
@given(seeds, classes, dims)
def test_equal_shares_change_nothing(seed, k, dim):
    """Property 1."""
    p = draw(seed, k, dim)
    shares = draw(seed + 1, k, dim).flatten(2).mean((0, 2))[None]
    q = align(p, share_ratio(shares, shares), zeros(p))
    torch.testing.assert_close(q, p)
    assert torch.equal(q.argmax(1), p.argmax(1))


@few
@given(seeds, classes, dims)
def test_a_constant_prediction_takes_on_the_labeled_shares(seed, k, dim):
    """Property 2, with the current batch alone, up to the 1e-6 that keeps ratios finite."""
    labeled, unlabeled = Shares(1, k, 0.0), Shares(1, k, 0.0)
    p_l = draw(seed, k, dim)
    p_u = draw(seed + 1, k, dim).flatten(2)[:1, :, :1].view(1, k, *[1] * dim).expand(2, k, *[4] * dim)
    labeled.update(p_l, zeros(p_l))
    unlabeled.update(p_u, zeros(p_u))
    q = align(p_u, share_ratio(labeled.mean, unlabeled.mean, limit=1e6), zeros(p_u))
    tolerance = 1e-5 + 2e-6 / p_u.min().item()
    shares = q.transpose(0, 1).flatten(1).mean(1)
    torch.testing.assert_close(shares, labeled.mean[0], atol=tolerance, rtol=1e-3)


@few
@given(seeds, classes, dims, st.floats(1.01, 5))
def test_aligned_is_a_distribution_and_a_larger_share_never_lowers_it(seed, k, dim, factor):
    """Property 3."""
    p = draw(seed, k, dim)
    wanted, found = (draw(seed + i, k, dim).flatten(2).mean((0, 2))[None] for i in (1, 2))
    q = align(p, share_ratio(wanted, found), zeros(p))
    torch.testing.assert_close(q.sum(1), torch.ones_like(q[:, 0]))
    c = seed % k
    more = wanted.clone()
    more[0, c] *= factor
    assert (align(p, share_ratio(more, found), zeros(p))[:, c] >= q[:, c] - 1e-6).all()


@few
@given(seeds, classes, dims, st.floats(0, 0.99), st.integers(1, 5))
def test_running_shares_are_the_corrected_mean(seed, k, dim, momentum, n):
    shares = Shares(1, k, momentum)
    batches = [draw(seed + i, k, dim) for i in range(n)]
    mean, weight = torch.zeros(k), 0.0
    for p in batches:
        shares.update(p, zeros(p))
        batch = p.movedim(1, 0).flatten(1).mean(1)
        mean, weight = momentum * mean + (1 - momentum) * batch, momentum * weight + 1 - momentum
    torch.testing.assert_close(shares.mean[0], mean / weight, rtol=1e-4, atol=1e-6)
    assert shares.mean.sum().item() == pytest.approx(1, abs=1e-4)


def test_rows_are_of_their_own_voxels_and_keep_what_they_had():
    shares, p = Shares(3, 3, 0.5), draw(0, 3, 2)
    rows = p.argmax(1)
    rows[rows == 2] = -1
    shares.update(p, rows)
    assert shares.seen.flatten().tolist() == [True, True, False]
    for row in (0, 1):
        torch.testing.assert_close(shares.mean[row], p.movedim(1, -1)[rows == row].mean(0))
    before = shares.mean.clone()
    shares.update(draw(1, 3, 2), torch.full_like(rows, 2))
    assert torch.equal(shares.mean[:2], before[:2])
    shares.update(p * torch.nan, rows)
    assert shares.mean.isfinite().all()


def test_the_ratio_is_limited():
    ratio = share_ratio(torch.tensor([[0.99, 0.01, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]]), limit=4)
    torch.testing.assert_close(ratio, torch.tensor([[4.0, 0.25, 0.25]]))
