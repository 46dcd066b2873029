"""What Co-DA must do for every input; what two networks share is in test_two_networks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.co_da import CoDA, class_means, expectation_mask, weighted_cross_entropy
from tests.golden.replay import Answers
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)

READINGS = [
    {},
    {"alignment": "conditional"},
    {"alignment": "none"},
    {"shares": "true"},
    {"momentum": 0.0},
    {"expectation": "global"},
    {"expectation": "labeled"},
    {"at_expectation": "drop"},
    {"confidence": "raw"},
    {"target": "soft"},
    {"divide_by": "all"},
]


def draw(seed: int, k: int, dim: int) -> torch.Tensor:
    z = 2 * torch.randn((2, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))
    return z.softmax(1)


@few
@given(seeds, classes, dims)
def test_each_class_keeps_a_voxel_and_what_it_keeps_is_above_its_mean(seed, k, dim):
    """Property 4; confidences are multiples of 2^-10, so that sums are exact."""
    p = (draw(seed, k, dim) * 1024).round() / 1024
    confidence, found = p.max(1)
    expected = class_means(confidence, found, k)
    mask = expectation_mask(confidence, found, expected, strict=False)
    raised = confidence.clone()
    raised[found == 0] += 0.25
    again = expectation_mask(raised, found, class_means(raised, found, k), strict=False)
    assert torch.equal(mask, again)
    for c in found.unique():
        mine = confidence[found == c]
        kept = mine[mask[found == c]]
        assert len(kept)
        assert (kept >= mine.double().mean() - 1e-6).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 0.9999999])
def test_a_class_of_equal_confidences_is_kept_whole_or_dropped(value):
    confidence, found = torch.full((1, 997), value), torch.zeros(1, 997, dtype=torch.long)
    expected = class_means(confidence, found, 2)
    assert expectation_mask(confidence, found, expected, strict=False).all()
    assert expected[1] == 0


@few
@given(seeds, classes, dims)
def test_the_loss_is_the_mean_over_kept_voxels(seed, k, dim):
    z, p = draw(seed, k, dim).log().requires_grad_(), draw(seed + 1, k, dim)
    mask = torch.rand(p[:, 0].shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[0, ..., 0] = True
    target = F.one_hot(p.argmax(1), k).movedim(-1, 1) * mask.unsqueeze(1)
    expected = F.cross_entropy(z, p.argmax(1), reduction="none")[mask].mean()
    torch.testing.assert_close(weighted_cross_entropy(z, target), expected)
    assert weighted_cross_entropy(z, target * 0).item() == 0


def test_the_pseudo_labels_are_aligned_to_the_labeled_shares():
    """Labeled scans are mostly of class 1, unlabeled ones are seen as class 0 by a hair."""
    k = 3
    p_l = torch.tensor([0.1, 0.8, 0.1]).view(1, k, 1, 1).expand(2, k, 4, 4)
    p_u = torch.tensor([0.5, 0.4, 0.1]).view(1, k, 1, 1).expand(3, k, 4, 4)
    method = CoDA(lambda: TinyNet(2, k), hold_off=2)
    batch = batches(2, k, edge=4)(0)
    logits = torch.cat([p_l, p_u]).log()
    for step in range(3):
        taught = method.teach(logits, batch, Clock(step, 10), on="net")
        assert taught.sum() == 3 * 16
        assert (taught.argmax(1) == (0 if step < 2 else 1)).all()
    torch.testing.assert_close(method.labeled.mean[0], torch.tensor([0.1, 0.8, 0.1]))
    torch.testing.assert_close(method.unlabeled.mean[0], torch.tensor([0.5, 0.4, 0.1]))
    assert not method.labeled2.seen.any()  # each network has its own
    soft = CoDA(lambda: TinyNet(2, k), hold_off=0, target="soft").teach(logits, batch, Clock(0, 10), on="net")
    torch.testing.assert_close(soft, p_l[:1].expand(3, k, 4, 4), rtol=1e-3, atol=1e-4)


@few
@given(seeds, classes, dims)
def test_without_alignment_it_is_plain_argmax(seed, k, dim):
    logits = torch.cat([draw(seed, k, dim), draw(seed + 1, k, dim), draw(seed + 2, k, dim)[:1]]).log()
    batch = batches(dim, k, edge=4)(seed)
    taught = CoDA(lambda: Pointwise(dim, k), alignment="none").teach(logits, batch, Clock(500, 900), on="net")
    counts = taught.sum(1) > 0
    assert torch.equal(taught.argmax(1)[counts], logits[2:].argmax(1)[counts])


@pytest.mark.parametrize("options", READINGS)
@few
@given(seeds, classes)
def test_every_reading_gives_a_finite_loss_and_trains_both(options, seed, k):
    torch.manual_seed(seed)
    method = CoDA(lambda: TinyNet(2, k), hold_off=0, weight=1.0, **options)
    for update in method.step(batches(2, k, absent=k - 1)(seed), Clock(500, 500)):
        update.loss.backward()
        assert update.loss.isfinite()
        assert all(p.grad.isfinite().all() for p in getattr(method, update.on).parameters())


@few
@given(seeds, classes, dims)
def test_swapping_the_networks_swaps_the_aligned_losses(seed, k, dim):
    """Property 5, with the alignment at work; the rest of it is in test_two_networks."""
    torch.manual_seed(seed)
    method = CoDA(lambda: Pointwise(dim, k), hold_off=0, weight=1.0)
    swapped = copy.deepcopy(method)
    swapped.net, swapped.net2 = swapped.net2, swapped.net
    batch = batches(dim, k, edge=4)(seed)
    first, second = (u.loss for u in method.step(batch, Clock(10, 10)))
    torch.testing.assert_close([u.loss for u in swapped.step(batch, Clock(10, 10))], [second, first])


def test_true_shares_are_those_of_the_labels():
    method = CoDA(lambda: TinyNet(2, 3), shares="true", hold_off=0)
    batch = batches(2, 3)(0)
    batch.y_l[0, :3] = 255
    method.teach(torch.randn(5, 3, 12, 12), batch, Clock(0, 10), on="net2")
    known = batch.y_l[batch.y_l != 255]
    torch.testing.assert_close(method.labeled2.mean[0], torch.bincount(known, minlength=3) / len(known))


def test_one_expectation_for_all_crowds_out_an_unsure_class():
    p = torch.tensor([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 2).T.reshape(1, 2, 3, 4)
    logits = torch.cat([torch.zeros(2, 2, 3, 4), p.log()])
    batch = batches(2, 2, unlabeled=1)(0)
    batch = batch._replace(y_l=torch.zeros(2, 3, 4, dtype=torch.long))
    kept = {}
    for expectation in ("class", "global"):
        method = CoDA(lambda: TinyNet(2, 2), alignment="none", expectation=expectation)
        taught = method.teach(logits, batch, Clock(0, 10), on="net")
        kept[expectation] = taught.sum((0, 2, 3)).tolist()
    assert kept == {"class": [10, 2], "global": [10, 0]}


def test_dividing_by_all_voxels_counts_the_filter():
    method = CoDA(lambda: Pointwise(2, 2), divide_by="all")
    kept = CoDA(lambda: Pointwise(2, 2))
    target = torch.zeros(1, 2, 2, 2)
    target[0, 1, 0, 0] = 1
    z = torch.zeros(1, 2, 2, 2)
    assert kept.lesson(z, target).item() == pytest.approx(math.log(2))
    assert method.lesson(z, target).item() == pytest.approx(math.log(2) / 4)


@pytest.mark.parametrize(
    "options", [{"weight": -1.0}, {"momentum": 2.0}, {"alignment": "on"}, {"hold_off": -1}, {"rho": 10.0}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("co_da"), options)


def test_what_cannot_work_is_refused():
    with pytest.raises(UsageError, match="max_ratio"):
        CoDA(lambda: Pointwise(2, 2), max_ratio=0.5)
    with pytest.raises(UsageError, match="classes"):
        CoDA(lambda: Answers())
