"""What UniMatch must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import dice_loss
from semiseg.methods.parts.cutmix import Taught
from semiseg.methods.unimatch import UniMatch
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def draw(seed: int, k: int, dim: int, n: int = 2) -> torch.Tensor:
    return 2 * torch.randn((n, k, *[6] * dim), generator=torch.Generator().manual_seed(seed))


def method_of(k: int, dim: int, **options: object) -> UniMatch:
    torch.manual_seed(0)
    return UniMatch(lambda: TinyNet(dim, k), **options)


@few
@given(seeds, classes, dims)
def test_with_a_threshold_of_zero_a_lesson_is_the_dice_loss_of_the_classes(seed, k, dim):
    z = draw(seed, k, dim)
    found = method_of(k, dim, tau=0.0).lesson(z, Taught.of(z))
    torch.testing.assert_close(found, dice_loss(z.softmax(1), z.argmax(1)))


@few
@given(seeds, classes, dims, st.sampled_from(["dice", "ce"]))
def test_a_batch_twice_is_the_same_lesson(seed, k, dim, loss):
    z, taught = draw(seed, k, dim), Taught.of(draw(seed + 1, k, dim))
    twice = Taught(*(torch.cat([part, part]) for part in taught))
    method = method_of(k, dim, tau=0.5, unlabeled_loss=loss)
    torch.testing.assert_close(method.lesson(torch.cat([z, z]), twice), method.lesson(z, taught))


@few
@given(seeds, classes, dims, st.sampled_from(["dice", "ce"]))
def test_unsure_voxels_get_exactly_no_gradient(seed, k, dim, loss):
    z, taught = draw(seed, k, dim).requires_grad_(), Taught.of(draw(seed + 1, k, dim))
    tau = float(taught.confidence.median())
    method_of(k, dim, tau=tau, unlabeled_loss=loss).lesson(z, taught).backward()
    unsure = (taught.confidence < tau)[:, None].expand_as(z)
    assert not z.grad[unsure].any()
    assert z.grad.any()


@few
@given(seeds, classes, dims, st.sampled_from(["dice", "ce"]))
def test_nothing_sure_costs_nothing(seed, k, dim, loss):
    z = draw(seed, k, dim).requires_grad_()
    taught = Taught.of(draw(seed + 1, k, dim) * 1e-3)
    lesson = method_of(k, dim, tau=0.95, unlabeled_loss=loss).lesson(z, taught)
    lesson.backward()
    assert lesson.item() == pytest.approx(0, abs=1e-6)
    assert not z.grad.any()


@few
@given(seeds, classes, dims)
def test_inside_of_a_box_the_partner_teaches_and_outside_the_own_image(seed, k, dim):
    own, partner = Taught.of(draw(seed, k, dim)), Taught.of(draw(seed + 1, k, dim))
    box = torch.rand(own.classes.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mixed = own.pasted(partner, box)
    assert torch.equal(mixed.classes[box], partner.classes[box])
    assert torch.equal(mixed.classes[~box], own.classes[~box])
    assert torch.equal(mixed.confidence[box], partner.confidence[box])
    sure = mixed.sure(0.6)
    assert torch.equal(sure == IGNORE, mixed.confidence < 0.6)


@few
@given(seeds, classes, dims)
def test_classes_may_be_renamed(seed, k, dim):
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    z, q = draw(seed, k, dim), draw(seed + 1, k, dim)
    method = method_of(k, dim, tau=0.6)
    one, two = method.lesson(z, Taught.of(q)), method.lesson(z[:, order], Taught.of(q[:, order]))
    torch.testing.assert_close(one, two)


def loss_of(method: UniMatch, batch: Batch, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    (update,) = method.step(batch, Clock(0, 10))
    return update.loss


@pytest.mark.parametrize("dim", [2, 3])
def test_strong_views_may_be_exchanged(dim):
    method = method_of(3, dim, cutmix=0.0, tau=0.4, feature_dropout=0.0)
    for drop in (m for m in method.modules() if "Dropout" in type(m).__name__):
        drop.p = 0.0
    batch = batches(dim, 3, edge=8, unlabeled=4)(0)
    views = {**batch.x_u, "strong": batch.x_u["strong2"], "strong2": batch.x_u["strong"]}
    torch.testing.assert_close(
        loss_of(method, batch), loss_of(method, batch._replace(x_u=views)), rtol=1e-5, atol=1e-6
    )


def test_the_partner_is_asked_in_eval_mode_and_the_network_goes_on_in_train_mode():
    method = method_of(3, 2)
    modes = []
    method.main.register_forward_hook(lambda net, x, y: modes.append((net.training, len(x[0]))))
    loss_of(method, batches(2, 3, unlabeled=4)(0))
    assert modes == [(False, 2), (True, 4)]  # the pass with disturbed maps runs the halves
    modes.clear()
    method.pseudo_mode = "eval"
    loss_of(method, batches(2, 3, unlabeled=4)(0))
    assert modes == [(False, 2), (True, 4), (False, 2)]
    assert method.training
    assert method.main.training


def test_without_the_feature_stream_any_network_will_do():
    class Whole(TinyNet):
        encoder_parts = ()

    with pytest.raises(UsageError, match="unimatch runs encoder and decoder"):
        UniMatch(lambda: Whole(2, 3))
    method = UniMatch(lambda: Whole(2, 3), feature_weight=0.0)
    (update,) = method.step(batches(2, 3)(0), Clock(0, 10))
    assert "features" not in update.logs


@pytest.mark.parametrize("options", [{"tau": 1.5}, {"strong_weight": -1.0}, {"unlabeled_loss": "mse"}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("unimatch"), options)
