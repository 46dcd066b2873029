"""What TCSeg must do for every input; the numbers are those of its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.parts.branches import all_logits
from semiseg.methods.parts.mixing import columns
from semiseg.methods.tcseg import Said, TCSeg
from semiseg.methods.tcseg.prototypes import (
    centers,
    closed,
    difference,
    dilated,
    draw_element,
    prototype_maps,
    regions,
)
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, dims, classes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)


def logits(seed: int, k: int, dim: int, n: int = 2) -> Tensor:
    return 3 * torch.randn((n, k, *[6] * dim), generator=torch.Generator().manual_seed(seed))


def method_of(dim: int = 2, k: int = 2, **options: object) -> TCSeg:
    torch.manual_seed(0)
    return TCSeg(lambda **choice: TinyNet(dim, k), **options)


def said(seed: int, k: int, dim: int, *, equal: bool = False) -> Said:
    z = [logits(seed + (0 if equal else i), k, dim) for i in range(2)]
    features = [logits(seed + 7 + (0 if equal else i), 5, dim) for i in range(2)]
    maps = [prototype_maps(a, f, high=0.85, low=0.1) for a, f in zip(z, features, strict=True)]
    return Said(z, [a.softmax(1) for a in z], maps)


@few
@given(seeds, dims, classes, st.floats(0.1, 10.0))
def test_1_maps_do_not_depend_on_the_length_of_features(seed, dim, k, factor):
    z, f = logits(seed, k, dim), logits(seed + 1, 5, dim)
    one, two = (prototype_maps(z, c * f, high=0.85, low=0.1) for c in (1.0, factor))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert one.abs().max() <= 1 + 1e-5


@few
@given(seeds, dims)
def test_2_equal_decoders_are_unreliable_only_where_they_are_unsure(seed, dim):
    method, own = method_of(dim), said(seed, 2, dim, equal=True)
    assert method.consistency(own) >= 0
    agree = method.agreement(own, own)
    assert torch.equal(*agree)
    losses = [method.lesson(own.logits[i], own.logits[1 - i], agree[i]) for i in (0, 1)]
    torch.testing.assert_close(*losses)
    q = own.probabilities[0][:, 1]
    unsure = ~((q > 0.85) | (1 - q > 0.9))
    assert torch.equal(method.unreliable(own, own), unsure)


@few
@given(seeds, dims, classes)
def test_3_and_4_only_the_learner_learns_and_only_where_all_agree(seed, dim, k):
    method, own = method_of(dim, k, tolerance=0.4), said(seed, k, dim)
    z, other = (x.clone().requires_grad_() for x in own.logits)
    agree = method.agreement(own, own)[1]
    method.lesson(z, other, agree).backward()
    assert other.grad is None
    assert (z.grad[(~agree)[:, None].expand_as(z)] == 0).all()
    assert method.lesson(z, other, torch.zeros_like(agree)) == 0


@few
@given(seeds, dims, classes)
def test_5_a_larger_tolerance_agrees_more_and_trusts_more(seed, dim, k):
    own, taught = said(seed, k, dim), said(seed + 20, k, dim)
    strict, loose = (method_of(dim, k, tolerance=tolerance) for tolerance in (0.1, 0.5))
    for a, b in zip(strict.agreement(own, taught), loose.agreement(own, taught), strict=True):
        assert (a <= b).all()
    apart = strict.unreliable(own, taught)
    assert (loose.unreliable(own, taught) <= apart).all()
    for agree in strict.agreement(
        own, taught
    ):  # what is neither unsure nor apart may still differ from its map
        assert (difference(*own.maps)[agree] <= 0.2).all()
        assert (difference(*own.probabilities)[~apart] <= 0.1).all()


@few
@given(seeds)
def test_6_boxes_are_exchanged_after_a_while_and_at_regions_in_odd_steps_only(seed):
    method = method_of(2, 3, mix_after=3)
    batch, asked = batches(2, 3, labeled=2, unlabeled=2)(seed), []
    method.region_centers = lambda *_: asked.append(1)
    for step, exchanged, at_region in ((3, False, 0), (4, True, 0), (5, True, 1)):
        (update,) = method.step(batch, Clock(step, 10))
        assert ("mixed" in update.logs) == exchanged
        assert len(asked) == at_region


@few
@given(seeds, dims)
def test_7_outside_of_a_box_everything_is_the_host_s(seed, dim):
    method = method_of(dim, 3)
    batch = batches(dim, 3, labeled=2, unlabeled=2, edge=6)(seed)
    seen: list[Tensor] = []
    method.net.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    boxes = columns([6] * dim, [(1, 2), (4, 3)], [(2, 2), (1, 2)])
    method.mixed(batch, said(seed, 3, dim), boxes)
    x_l, x_u = batch.x_l, batch.x_u["weak"]
    hosts, patches = torch.cat([x_l[:1], x_u[1:]]), torch.cat([x_u[:1], x_l[1:]])
    assert torch.equal(seen[0][~boxes], hosts[~boxes])
    assert torch.equal(seen[0][boxes], patches[boxes])


@few
@given(seeds, dims, classes)
def test_8_balanced_decoders_can_be_swapped(seed, dim, k):
    own = said(seed, k, dim)
    swapped = Said(*(part[::-1] for part in own))
    balanced, released = method_of(dim, k, balanced=True), method_of(dim, k)
    torch.testing.assert_close(balanced.consistency(own), balanced.consistency(swapped))
    (p, q), (m, o) = own.probabilities, own.maps
    by = 0.25 * ((o - q).square().mean() - (m - p).square().mean())
    torch.testing.assert_close(released.consistency(swapped) - released.consistency(own), by)


@few
@given(seeds, dims, st.floats(0.05, 0.6))
def test_9_a_region_is_one_piece_or_nothing(seed, dim, share):
    torch.manual_seed(seed)
    masks = torch.rand(2, *[12] * dim) < share
    found = regions(masks, [draw_element(dim) for _ in masks])
    for region in found.numpy():
        assert ndimage.label(region)[1] <= 1
    middles = centers(found)
    assert (middles is None) == (not all(region.any() for region in found))


# --- beyond the paper -----------------------------------------------------------------------------


@few
@given(seeds, dims)
def test_morphology_is_that_of_scipy(seed, dim):
    torch.manual_seed(seed)
    mask, element = torch.rand([9] * dim) < 0.3, draw_element(dim)
    wanted = ndimage.binary_closing(mask.numpy(), np.ones([3] * dim))
    np.testing.assert_array_equal(closed(mask[None])[0], wanted)
    grown = ndimage.binary_dilation(mask.numpy(), element.numpy()) if element.any() else np.zeros([9] * dim)
    np.testing.assert_array_equal(dilated(mask, element), grown)


def test_the_plain_network_is_exported():
    for who, name in (("student", "net"), ("teacher", "teacher")):
        method = method_of(predict_with=who)
        assert getattr(method, method.predictor) is getattr(method, name).main
    assert not any(p.requires_grad for p in method.teacher.parameters())


def test_both_decoders_are_exported_as_networks_that_share_an_encoder():
    method = method_of(predict_with="both").eval()
    both = getattr(method, method.predictor)
    x = torch.randn(2, 1, 8, 8)
    first, second = all_logits(method.net(x))
    mean = torch.stack([z.softmax(1) for z in (first, second)]).mean(0)
    torch.testing.assert_close(both(x).logits.softmax(1), mean)
    body, deep = (dict(network.named_parameters())["body.0.weight"] for network in both)
    assert body is deep
    assert "body.0.weight" not in dict(method.net.decoders[0].named_parameters())


def test_a_region_is_not_dilated_away_if_asked():
    method = method_of(keep_center=True)
    for seed in range(30):
        torch.manual_seed(seed)
        element = method.draw_element(2)
        assert element[len(element) // 2, len(element) // 2]


def test_the_average_has_the_student_s_statistics_if_asked():
    for average, same in (("all", True), ("parameters", False)):
        method = method_of(average=average)
        method.net.main.body[1].running_mean.fill_(5.0)
        method.after_step(Clock(0, 10))
        assert torch.equal(method.teacher.main.body[1].running_mean, torch.full((8,), 5.0)) == same


@pytest.mark.parametrize("options", [{"high": 1.5}, {"tolerance": -1}, {"box_axes": "last"}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(TCSeg, options)
