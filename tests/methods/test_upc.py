"""What UPC's rectified pseudo-labels must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.core import Clock
from semiseg.losses import confident_pseudo_label, rectified, rectified_pseudo_label, softmax_kl
from semiseg.methods.upc import UPC
from tests.methods.answers import Pointwise
from tests.methods.tiny import batches, loop_for, make

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
close = dict(rtol=1e-4, atol=1e-5)


def logits(seed: int, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, target = (3 * torch.randn((2, k, *[5] * dim), generator=generator) for _ in range(2))
    return z, target


@few
@given(seeds, classes, dims)
def test_agreement_costs_only_the_teachers_doubt(seed, k, dim):
    z, target = logits(seed, k, dim)
    assert rectified_pseudo_label(z, target).item() >= 0
    agreed = rectified_pseudo_label(z, z)
    torch.testing.assert_close(agreed, -z.log_softmax(1).amax(1).mean(), **close)


@few
@given(seeds, classes, dims)
def test_constants_and_the_order_of_classes_change_nothing(seed, k, dim):
    z, target = logits(seed, k, dim)
    loss = rectified_pseudo_label(z, target)
    constant = torch.randn((2, 1, *[5] * dim), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rectified_pseudo_label(z + constant, target - constant), loss, **close)
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rectified_pseudo_label(z[:, order], target[:, order]), loss, **close)


@few
@given(seeds, classes, dims)
def test_the_weight_can_be_cut_from_the_gradient_without_changing_the_loss(seed, k, dim):
    z, target = logits(seed, k, dim)
    z.requires_grad_()
    gradients = []
    for detach in (False, True):
        loss = rectified_pseudo_label(z, target, detach_weight=detach)
        (gradient,) = torch.autograd.grad(loss, z)
        gradients.append(gradient)
    torch.testing.assert_close(loss, rectified_pseudo_label(z, target))
    assert not torch.allclose(*gradients)


def test_an_undecided_teacher_counts_less_than_a_sure_one():
    sure = torch.tensor([8.0, 0.0, 0.0]).view(1, 3, 1, 1)
    divergence = softmax_kl(-sure, torch.zeros_like(sure), reduction="none").sum(1)
    assert 0 < torch.exp(-divergence).item() < 0.2
    loss = torch.tensor([[[5.0]]])
    assert rectified(loss, divergence).item() < 5.0 * 0.2 + divergence.item()


@pytest.mark.parametrize(("threshold", "counted"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_threshold_selects_and_the_mean_is_over_all_voxels(threshold, counted):
    z, target = logits(0, 3, 2)
    loss = confident_pseudo_label(z, target, threshold=threshold)
    everything = torch.nn.functional.cross_entropy(z, target.argmax(1))
    torch.testing.assert_close(loss, counted * everything)


def test_the_teacher_is_the_mean_of_all_students_so_far():
    torch.manual_seed(0)
    method = make("upc", 2, 3)
    loop, snapshots = loop_for(method, batches(2, 3), 6), []
    for _ in range(6):
        loop.iterate_once()
        snapshots.append([p.detach().clone() for p in method.net.parameters()])
    means = [torch.stack(values).mean(0) for values in zip(*snapshots, strict=True)]
    for ours, mean in zip(method.teacher.parameters(), means, strict=True):
        torch.testing.assert_close(ours, mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3])
def test_both_terms_fall_with_the_ramp_over_a_short_run(dim):
    seen = []
    loop = loop_for(make("upc", dim, 3, ramp=None), batches(dim, 3), 60, log_every=10)
    loop.listeners = [lambda e: seen.append(e.values) if hasattr(e, "values") else None]
    loop.run()
    assert seen[-1]["weight"] > 0.9
    assert seen[-1]["supervised"] < 0.8 * seen[0]["supervised"]
    assert seen[-1]["consistency"] < 0.8 * seen[0]["consistency"]


def test_without_warm_up_the_teacher_hardly_moves():
    torch.manual_seed(0)
    method = UPC(lambda: Pointwise(2, 3), warm_up=False)
    with torch.no_grad():
        for p in method.net.parameters():
            p += 1.0
    method.after_step(Clock(0, 10))
    for student, teacher in zip(method.net.parameters(), method.teacher.parameters(), strict=True):
        torch.testing.assert_close(student - teacher, torch.full_like(student, 0.9999), rtol=1e-4, atol=1e-4)


def test_noise_is_on_every_scan_of_the_student_and_on_none_of_the_teacher():
    torch.manual_seed(0)
    method, batch, seen = UPC(lambda: Pointwise(2, 3), noise=0.2), batches(2, 3)(0), {}
    for name in ("net", "teacher"):
        getattr(method, name).register_forward_hook(lambda _, x, __, name=name: seen.update({name: x[0]}))
    list(method.step(batch, Clock(0, 10)))
    clean = torch.cat([batch.x_l, batch.x_u["weak"]])
    assert torch.equal(seen["teacher"], clean)
    noise = seen["net"] - clean
    assert noise.abs().amax().item() == pytest.approx(0.4, abs=1e-3)
    assert noise.flatten(1).std(1).min() > 0.1
