"""What UA-MT's uncertainty, mask and loss must do for every input."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.core import Batch, Clock
from semiseg.losses import masked_mean, softmax_mse
from semiseg.methods import _bases
from semiseg.methods.ua_mt import UAMT
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def make(seed: int, k: int, dim: int, **options: object) -> UAMT:
    torch.manual_seed(seed)
    return UAMT(lambda: TinyNet(dim, k), **options)


@few
@given(seeds, classes, dims, st.integers(1, 9))
def test_uncertainty_is_an_entropy(seed, k, dim, passes):
    method = make(seed, k, dim, passes=passes)
    values = method.uncertainty(batches(dim, k, edge=6)(seed).x_u["weak"])
    assert values.shape == (3, 1, *[6] * dim)
    assert values.min() >= -k * 2e-6
    assert values.max() <= math.log(k)
    assert not values.requires_grad


@few
@given(seeds, classes)
def test_the_mask_only_grows_and_is_whole_in_the_end(seed, k):
    method = make(seed, k, 2)
    uncertainty = method.uncertainty(torch.randn(2, 1, 6, 6))
    masks = [uncertainty < method.threshold(Clock(step, 100), k) for step in (0, 20, 50, 80, 100)]
    for before, after in itertools.pairwise(masks):
        assert not (before & ~after).any()
    assert masks[-1].all()


@few
@given(seeds, classes, dims)
def test_with_every_voxel_counted_it_is_the_mean_teacher(seed, k, dim):
    generator = torch.Generator().manual_seed(seed)
    z, target = (torch.randn((2, k, *[5] * dim), generator=generator) for _ in range(2))
    ones = torch.ones(2, 1, *[5] * dim)
    difference = softmax_mse(z, target, reduction="none")
    torch.testing.assert_close(masked_mean(difference, ones), softmax_mse(z, target))
    twice = masked_mean(torch.cat([difference] * 2), torch.cat([ones] * 2))
    torch.testing.assert_close(twice, softmax_mse(z, target))


@few
@given(seeds, classes)
def test_voxels_outside_the_mask_have_no_gradient(seed, k):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((2, k, 5, 5), generator=generator, requires_grad=True)
    target = torch.randn((2, k, 5, 5), generator=generator)
    mask = torch.rand((2, 1, 5, 5), generator=generator) < 0.5
    masked_mean(softmax_mse(z, target, reduction="none"), mask).backward()
    assert torch.equal(z.grad * ~mask, torch.zeros_like(z))
    z.grad = None
    empty = masked_mean(softmax_mse(z, target, reduction="none"), torch.zeros_like(mask))
    empty.backward()
    assert empty.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("where", ["unlabeled", "all"])
def test_the_student_learns_on_the_scans_that_are_asked_for(where):
    method = make(0, 3, 2, consistency_on=where)
    seen = []
    method.teacher.register_forward_hook(lambda _, x, __: seen.append(len(x[0])))
    (update,) = method.step(batches(2, 3)(0), Clock(10, 10))
    n = 3 if where == "unlabeled" else 5
    assert seen == [n, *[2 * n] * 4]
    assert update.logs["certain"].item() == 1


def test_passes_in_one_batch_are_the_same_without_batch_norm(monkeypatch):
    torch.manual_seed(0)
    method = UAMT(lambda: Pointwise(2, 3))
    x = torch.randn(3, 1, 6, 6)
    torch.manual_seed(1)
    separate = method.uncertainty(x)
    monkeypatch.setattr(_bases, "one_pass_pays", lambda network, x: True)
    torch.manual_seed(1)
    torch.testing.assert_close(method.uncertainty(x), separate)


def test_batch_norm_keeps_the_published_groups():
    on_gpu = type("OnGpu", (), {"is_cuda": True})()
    norm = TinyNet(2, 2)
    assert not _bases.one_pass_pays(norm, on_gpu)
    assert _bases.one_pass_pays(norm.eval(), on_gpu)
    assert _bases.one_pass_pays(Pointwise(2, 2), on_gpu)
    assert not _bases.one_pass_pays(Pointwise(2, 2), torch.empty(0))


def test_the_strong_view_goes_to_the_student_alone():
    at = batches(2, 3)
    method = make(0, 3, 2, student_view="strong")
    batch = at(0)
    seen = []
    method.net.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    list(method.step(Batch(batch.x_l, batch.y_l, batch.x_u), Clock(0, 10)))
    assert method.views == ("weak", "strong")
    assert torch.equal(seen[0][2:], batch.x_u["strong"])


@pytest.mark.parametrize(("inputs", "passes"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_passes_share_a_batch_up_to_a_limit_and_answer_alike(inputs, passes, monkeypatch):
    method = UAMT(lambda: TinyNet(2, 3)).eval()  # no batch statistics: sharing changes nothing
    x = [torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(inputs)]
    apart = list(method.ask(x))
    seen = []
    method.teacher.register_forward_hook(lambda module, given, answer: seen.append(len(given[0])))
    monkeypatch.setattr("semiseg.methods._bases.one_pass_pays", lambda network, image: True)
    together = list(method.ask(x))
    assert len(seen) == passes
    assert max(seen) <= 8
    for a, b in zip(apart, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
