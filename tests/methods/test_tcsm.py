"""What TCSM's consistency must do for every input. Transforms: tests/methods/parts/test_geometry.py."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy, softmax_mse
from semiseg.methods.parts.transforms import Chain, Symmetries, Zoom, symmetries_of
from semiseg.methods.tcsm import TCSM
from tests.methods.answers import Fixed, Pointwise
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
BRANCHES = ["teacher_transformed", "student_transformed", "pi_model", "three_way"]
LAST = Clock(10, 10)


def make(seed: int, k: int, dim: int, net=TinyNet, **options: object) -> TCSM:
    torch.manual_seed(seed)
    return TCSM(lambda: net(dim, k), **options)


def one_update(method, batch, t=LAST):
    (update,) = method.step(batch, t)
    return update


@few
@given(seeds, classes, dims, st.sampled_from(BRANCHES), st.sampled_from(["all", "unlabeled"]))
def test_2_a_pointwise_network_agrees_with_itself_under_turns_and_flips(seed, k, dim, branches, where):
    method = make(seed, k, dim, Pointwise, branches=branches, consistency_on=where, scale=0.0, noise=0.0)
    update = one_update(method, batches(dim, k, edge=6)(seed))
    assert update.logs["consistency"].item() < 1e-10
    assert update.logs["valid"].item() == 1


@few
@given(seeds, classes, dims)
def test_2_the_answers_come_back_to_the_voxels_they_are_of(seed, k, dim):
    """Against an answer that stays where it was, only an empty transform agrees."""
    method = make(seed, k, dim, Pointwise, scale=0.0, noise=0.0)
    batch = batches(dim, k, edge=6)(seed)
    quarter = [s for s in symmetries_of((6,) * dim) if s.order != tuple(range(dim))]
    method.draw = lambda images: Symmetries([quarter[0]] * len(images))
    assert one_update(method, batch).logs["consistency"].item() < 1e-10
    method.teacher = Fixed(method.net(torch.cat([batch.x_l, batch.x_u["weak"]])).logits.detach())
    assert one_update(method, batch).logs["consistency"].item() > 1e-8


@few
@given(seeds, classes, dims, st.sampled_from(BRANCHES), st.sampled_from(["joint", "separate"]))
def test_4_the_consistency_reaches_the_student_and_not_the_teacher(seed, k, dim, branches, forwards):
    method = make(seed, k, dim, branches=branches, forwards=forwards, weight=1e6)
    batch = batches(dim, k, edge=6)(seed)
    unknown = torch.full_like(batch.y_l, IGNORE)
    update = one_update(method, batch._replace(y_l=unknown))
    assert update.logs["supervised"].item() == 0
    update.loss.backward()
    assert sum(p.grad.abs().sum() for p in method.net.parameters()).item() > 0
    assert all(p.grad is None for p in method.teacher.parameters())


@few
@given(seeds, dims, st.sampled_from(["counted", "excluded"]), st.sampled_from(["mse", "kl"]))
def test_5_voxels_out_of_sight_have_no_loss_and_no_gradient(seed, dim, border, consistency):
    edge, k = 8, 3
    sides = [(edge - 2,) * dim, (edge + 2,) * dim, (edge - 4,) * dim, (edge,) * dim]
    generator = torch.Generator().manual_seed(seed)
    z, target, other = (torch.randn((4, k, *[edge] * dim), generator=generator) for _ in range(3))
    z.requires_grad_()
    valid = Zoom(sides).valid(z)
    method = make(seed, k, dim, border=border, consistency=consistency)
    loss = method.agreement([z, target], valid)
    loss.backward()
    assert torch.equal(z.grad * ~valid, torch.zeros_like(z))
    assert (z.grad * valid).abs().sum() > 0
    for sample, side in enumerate(sides):  # by itself, whatever the others are
        assert valid[sample].sum() == min(side[0], edge) ** dim
    changed = method.agreement([z.detach().where(valid, other), target.where(valid, -other)], valid)
    assert torch.equal(changed, loss.detach())


@few
@given(seeds, classes, dims)
def test_the_mean_is_over_all_voxels_or_over_those_in_sight(seed, k, dim):
    generator = torch.Generator().manual_seed(seed)
    z, target = (torch.randn((2, k, *[6] * dim), generator=generator) for _ in range(2))
    valid = Zoom([(4,) * dim, (6,) * dim]).valid(z)
    difference = softmax_mse(z, target, reduction="none") * valid
    counted = make(0, k, dim).agreement([z, target], valid)
    torch.testing.assert_close(counted, difference.mean())
    excluded = make(0, k, dim, border="excluded").agreement([z, target], valid)
    torch.testing.assert_close(excluded, difference.sum() / (k * valid.sum()))


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("where", ["all", "unlabeled"])
@pytest.mark.parametrize("forwards", ["joint", "separate"])
def test_who_is_asked_for_what(branches, where, forwards):
    method = make(0, 2, 2, Pointwise, branches=branches, consistency_on=where, forwards=forwards, noise=0.0)
    batch = batches(2, 2, edge=6)(0)
    symmetry = symmetries_of((6, 6))[5]
    transform = Symmetries([symmetry] * (5 if where == "all" else 3))
    method.draw = lambda images: transform
    seen = {"net": [], "teacher": []}
    for name, inputs in seen.items():
        getattr(method, name).register_forward_hook(lambda _, x, __, inputs=inputs: inputs.append(x[0]))
    one_update(method, batch)
    plain = batch.x_u["weak"] if where == "unlabeled" else torch.cat([batch.x_l, batch.x_u["weak"]])
    looks = {"plain": plain, "moved": transform.apply(plain)}
    of_student = {"teacher_transformed": ["plain"], "student_transformed": ["moved"]}
    student = [looks[name] for name in of_student.get(branches, ["plain", "moved"])]
    of_teacher = {"student_transformed": ["plain"], "pi_model": []}
    teacher = [looks[name] for name in of_teacher.get(branches, ["moved"])]

    assert len(seen["teacher"]) == len(teacher)
    assert all(torch.equal(a, b) for a, b in zip(seen["teacher"], teacher, strict=True))
    if forwards == "separate":  # the labels last, as published
        assert all(torch.equal(a, b) for a, b in zip(seen["net"], [*student, batch.x_l], strict=True))
    else:
        shared = where == "all" and branches != "student_transformed"
        wanted = torch.cat([*([] if shared else [batch.x_l]), *student])
        assert torch.equal(*seen["net"], wanted)


@few
@given(seeds, st.sampled_from(BRANCHES), st.sampled_from(["all", "unlabeled"]), dims)
def test_one_pass_or_several_are_the_same_without_batch_norm(seed, branches, where, dim):
    losses = []
    batch = batches(dim, 3, edge=6)(seed)
    for forwards in ("joint", "separate"):
        method = make(seed, 3, dim, Pointwise, branches=branches, consistency_on=where, forwards=forwards)
        torch.manual_seed(seed)
        losses.append(one_update(method, batch).loss)
    torch.testing.assert_close(*losses)


def test_the_transform_is_drawn_for_each_sample_and_each_step():
    method = make(0, 2, 2)
    x = torch.zeros(64, 1, 8, 8)
    torch.manual_seed(1)
    first, second = method.draw(x), method.draw(x)
    assert isinstance(first, Chain)
    symmetries, zoom = first.steps
    assert len(set(symmetries.symmetries)) == 8
    assert {side for sides in zoom.sides for side in sides} == {6, 8}
    assert symmetries.symmetries != second.steps[0].symmetries
    torch.manual_seed(1)
    again = method.draw(x)
    assert again.steps[0].symmetries == symmetries.symmetries
    assert again.steps[1].sides == zoom.sides


def test_the_scale_is_that_of_the_paper():
    _, zoom = make(0, 2, 2).draw(torch.zeros(256, 1, 100, 100)).steps
    drawn = {side for sides in zoom.sides for side in sides}
    assert {min(drawn), max(drawn)} == {90, 108}  # 110 needs a draw of exactly 1.1
    assert len(drawn) == 10


def test_the_strong_view_goes_to_the_student_alone():
    method = make(0, 3, 2, student_view="strong", noise=0.0, scale=0.0)
    batch, seen = batches(2, 3)(0), []
    whole = symmetries_of((12, 12))[0]
    method.draw = lambda images: Symmetries([whole] * len(images))
    method.net.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    method.teacher.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    one_update(method, batch, Clock(0, 10))
    assert method.views == ("weak", "strong")
    assert torch.equal(seen[0][2:], batch.x_u["strong"])
    assert torch.equal(seen[1][2:], batch.x_u["weak"])


def test_the_ramp_is_that_of_the_launch_script():
    method = make(0, 2, 2)
    for epoch, wanted in [(0, 0.006738), (100, 0.031048), (300, 0.286505), (599, 0.999986)]:
        for k in (10 * epoch, 10 * epoch + 9):
            assert method.consistency_weight(Clock(k, 8000)) == pytest.approx(wanted, abs=1e-6)
    assert method.consistency_weight(Clock(7000, 8000)) == 1


@few
@given(seeds, classes, dims, st.booleans())
def test_cross_entropy_is_that_of_torch(seed, k, dim, weighted):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((2, k, *[5] * dim), generator=generator)
    y = torch.randint(k, (2, *[5] * dim), generator=generator)
    y[torch.rand(y.shape, generator=generator) < 0.3] = IGNORE
    weights = torch.rand(k, generator=generator) + 0.1 if weighted else None
    ours = cross_entropy(z, y, weights=None if weights is None else weights.tolist())
    torch.testing.assert_close(ours, F.cross_entropy(z, y, weights, ignore_index=IGNORE))
    assert cross_entropy(z, torch.full_like(y, IGNORE)).item() == 0
    assert cross_entropy(z.bfloat16(), y).dtype == torch.float32


def test_the_supervised_loss_is_an_option():
    batch = batches(2, 3)(0)
    z = torch.randn(2, 3, 12, 12)
    ce = make(0, 3, 2).supervised(z, batch.y_l)
    weighted = make(0, 3, 2, class_weights=(1.0, 2.0, 3.0)).supervised(z, batch.y_l)
    both = make(0, 3, 2, supervised="dice_ce").supervised(z, batch.y_l)
    assert len({round(loss.item(), 5) for loss in (ce, weighted, both)}) == 3
    assert ce.item() == pytest.approx(F.cross_entropy(z, batch.y_l).item())
    assert math.isfinite(make(0, 3, 2, class_weights=(0.0, 0.0, 0.0)).supervised(z, batch.y_l).item())


def test_wrong_options():
    with pytest.raises(UsageError, match="2 class weights for 3 classes"):
        one_update(make(0, 3, 2, class_weights=(1.0, 2.0)), batches(2, 3)(0))
    with pytest.raises(UsageError, match="class_weights"):
        make(0, 3, 2, class_weights=(1.0, 2.0, 3.0), supervised="dice_ce")
    for options in ({"scale": 1.5}, {"branches": "both"}, {"class_weights": [-1.0, 1.0]}, {"border": "cut"}):
        with pytest.raises(UsageError, match=next(iter(options))):
            methods.check_options(TCSM, options)
    assert methods.check_options(TCSM, {"class_weights": [1, 2]}) == {"class_weights": (1.0, 2.0)}


def test_no_default_deviates(caplog):
    assert make(0, 2, 2).deviations == []
    assert not caplog.records


@pytest.mark.parametrize("shape", [(6, 8), (7, 5), (6, 6, 8), (4, 6, 8), (5, 7, 7)])
def test_scans_of_any_shape(shape):
    method = make(0, 2, len(shape), Pointwise, scale=0.4)
    x = torch.randn(3, 1, *shape)
    batch = Batch(x[:1], torch.zeros(1, *shape, dtype=torch.int64), {"weak": x[1:]})
    for seed in range(5):
        torch.manual_seed(seed)
        update = one_update(method, batch)
        assert torch.isfinite(update.loss)
        assert 0 < update.logs["valid"].item() <= 1
