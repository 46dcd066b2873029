"""What SDCL must do for every input; the numbers are those of its properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.core import IGNORE, Clock
from semiseg.errors import UsageError
from semiseg.methods.bcp import BCP, Pasted, Source
from semiseg.methods.sdcl import SDCL
from tests.methods.answers import Fixed, Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for

few = settings(max_examples=10, deadline=None)
seeds, dims, classes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)
HERE = Clock(0, 10, "selftrain")


def logits(seed: int, k: int, dim: int, n: int = 2) -> torch.Tensor:
    return 3 * torch.randn((n, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def labels(seed: int, k: int, dim: int, n: int = 2) -> torch.Tensor:
    return torch.randint(k, (n, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def pasted(seed: int, k: int, dim: int) -> tuple[Pasted, torch.Tensor]:
    """Images with random labels, of which the patch's count half; and a mask."""
    x = torch.zeros((2, 1, *[4] * dim))
    sources = [Source(x, labels(seed + i, k, dim), weight) for i, weight in enumerate((1.0, 0.5))]
    return Pasted(x, *sources), labels(seed + 2, 2, dim, 1)[0].bool()


def terms(method: SDCL, z: torch.Tensor, other: torch.Tensor, images: Pasted, mask: torch.Tensor):
    return method.correct(z, images, z.argmax(1) != other.argmax(1), mask)


def any_method(dim: int = 2, k: int = 3, **options: object) -> SDCL:
    return SDCL(lambda **choice: Pointwise(dim, k), **options)


@few
@given(seeds, dims, classes)
def test_1_equal_students_are_those_of_bcp(seed, dim, k):
    torch.manual_seed(seed)
    batch = batches(dim, k, labeled=4, unlabeled=4, edge=6)(seed)
    method = any_method(dim, k)
    method.net2.load_state_dict(method.net.state_dict())
    plain = BCP(lambda: Pointwise(dim, k))
    for network in (plain.net, plain.teacher):
        network.load_state_dict(method.net.state_dict())
    method.teacher.load_state_dict(method.net.state_dict())
    torch.manual_seed(1)
    updates = list(method.step(batch, HERE))
    flipped = batch._replace(x_u={"weak": batch.x_u["weak"].roll(2, 0)})  # who is pasted into whom
    torch.manual_seed(1)
    (wanted,) = plain.step(flipped, HERE)
    for update, number in zip(updates, ["", "2"], strict=True):
        assert update.logs[f"review{number}"] == update.logs[f"rectify{number}"] == 0
        torch.testing.assert_close(update.loss, wanted.loss)


@few
@given(seeds, dims, classes)
def test_2_to_forget_is_to_hold_all_for_equally_likely(seed, dim, k):
    images, mask = pasted(seed, k, dim)
    z, other = logits(seed, k, dim), logits(seed + 1, k, dim)
    target = torch.where(mask, images.host.y, images.patch.y)
    weight = torch.where(mask, 1.0, 0.5).expand_as(target)
    wrong = (z.argmax(1) != other.argmax(1)) & (z.argmax(1) != target)
    least = math.log(k) * (weight * wrong).sum() / wrong.sum().clamp_min(1)
    found = terms(any_method(dim, k), z, other, images, mask).rectify
    assert found >= least - 1e-5
    slight = 1e-4 * torch.nn.functional.one_hot(z.argmax(1), k).movedim(-1, 1).float()
    torch.testing.assert_close(
        terms(any_method(dim, k), slight, other, images, mask).rectify, least, rtol=1e-3, atol=1e-4
    )


@few
@given(seeds, dims)
def test_3_of_two_classes_one_student_is_wrong_wherever_they_differ(seed, dim):
    images, mask = pasted(seed, 2, dim)
    one, two = logits(seed, 2, dim), logits(seed + 1, 2, dim)
    target = torch.where(mask, images.host.y, images.patch.y)
    differ = one.argmax(1) != two.argmax(1)
    wrong = [(differ & (z.argmax(1) != target)).sum() for z in (one, two)]
    assert sum(wrong) == differ.sum()


@few
@given(seeds, dims, classes)
def test_4_swapping_the_students_swaps_their_losses(seed, dim, k):
    batch = batches(dim, k, labeled=2, unlabeled=2, edge=6)(seed)
    torch.manual_seed(seed)
    method = any_method(dim, k)

    def losses() -> list[torch.Tensor]:
        torch.manual_seed(1)
        return [update.loss for update in method.step(batch, HERE)]

    there = losses()
    method.net, method.net2 = method.net2, method.net
    torch.testing.assert_close(losses(), there[::-1])


@few
@given(seeds, dims, classes)
def test_5_where_they_agree_only_the_loss_of_bcp_counts(seed, dim, k):
    images, mask = pasted(seed, k, dim)
    z, other = logits(seed, k, dim).requires_grad_(), logits(seed + 1, k, dim)
    found = terms(any_method(dim, k), z, other, images, mask)
    (found.review + found.rectify).backward()
    agree = (z.argmax(1) == other.argmax(1))[:, None].expand_as(z)
    assert (z.grad[agree] == 0).all()


@few
@given(seeds, dims, classes)
def test_6_without_their_weights_the_corrections_count_nothing(seed, dim, k):
    batch = batches(dim, k, labeled=2, unlabeled=2, edge=6)(seed)
    method = any_method(dim, k, review_weight=0.0, rectify_weight=0.0)
    for update, number in zip(method.step(batch, HERE), ["", "2"], strict=True):
        torch.testing.assert_close(update.loss.detach(), update.logs[f"pasted{number}"])


# --- beyond the paper -----------------------------------------------------------------------------


@few
@given(seeds, dims, classes)
def test_unknown_voxels_are_not_corrected(seed, dim, k):
    images, mask = pasted(seed, k, dim)
    for source in (images.host, images.patch):
        source.y[:, 0] = IGNORE
    z, other = logits(seed, k, dim).requires_grad_(), logits(seed + 1, k, dim)
    sum(terms(any_method(dim, k), z, other, images, mask)).backward()
    assert (z.grad[:, :, 0] == 0).all()


@few
@given(seeds, dims, classes)
def test_what_is_right_is_reviewed_or_what_is_not_as_well(seed, dim, k):
    images, mask = pasted(seed, k, dim)
    z, other = logits(seed, k, dim).requires_grad_(), logits(seed + 1, k, dim)
    terms(any_method(dim, k, review_on="correct"), z, other, images, mask).review.backward()
    wrong = z.argmax(1) != torch.where(mask, images.host.y, images.patch.y)
    assert (z.grad[wrong[:, None].expand_as(z)] == 0).all()


def test_both_students_are_trained_before_the_teacher_teaches():
    torch.manual_seed(0)
    method = SDCL(lambda **choice: TinyNet(2, 3), pretrain_share=0.5)
    before = [[p.clone() for p in getattr(method, name).parameters()] for name in method.trainable]
    loop_for(method, batches(2, 3), 2).iterate_once()
    for name, old in zip(method.trainable, before, strict=True):
        changed = zip(old, getattr(method, name).parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in changed)


def test_the_partner_is_another_network_and_the_teacher_is_like_the_first():
    asked = []

    def make_net(**choice: object) -> nn.Module:
        asked.append(choice)
        return Fixed(logits(0, 2, 2))

    method = SDCL(make_net, partner="unet", partner_options={"residual": True})
    assert asked == [{}, {"network": "unet", "residual": True}]
    assert torch.equal(method.teacher.logits, method.net.logits)


@pytest.mark.parametrize(
    "options", [{"review_weight": -1.0}, {"review_on": "wrong"}, {"predict_with": "teacher"}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(SDCL, options)
