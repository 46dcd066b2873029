"""What DyCON must do for every input: its labels, its projection, its schedule, its export."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semiseg import methods, networks
from semiseg.core import IGNORE, Batch, Clock, SegOutput
from semiseg.errors import UsageError
from semiseg.methods.dycon import DyCON
from semiseg.methods.dycon.embedding import (
    EMBEDDINGS,
    Projected,
    Projection,
    draw,
    patch_labels,
    pooled,
    shares,
)
from semiseg.schedules import geometric
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for, make

few = settings(max_examples=10, deadline=None)
T = Clock(3, 10)


def loss_and_gradient(method: DyCON, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of one step from the same weights and random numbers."""
    method.zero_grad()
    torch.manual_seed(7)
    (update,) = method.step(batch, T)
    update.loss.backward()
    return update.loss.detach(), torch.cat([p.grad.flatten() for p in method.net.parameters()])


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.integers(3, 500))
@few
def test_4_beta_falls_by_equal_ratios(first: float, last: float, total: int) -> None:
    first, last = max(first, last) + 0.1, min(first, last)
    values = [geometric(k, total, first, last) for k in range(total + 1)]
    assert values[0] == pytest.approx(first)
    assert values[-1] == pytest.approx(last)
    assert all(b < a for a, b in pairwise(values))
    ratios = [b / a for a, b in pairwise(values)]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-9)
    method = make("dycon", 2, 2, beta_max=first, beta_min=last)
    assert method.beta(Clock(1, total)) == pytest.approx(values[1])


@pytest.mark.parametrize("labels", ["pseudo", "labeled"])
def test_5_labels_of_unlabeled_scans_cannot_matter(labels: str) -> None:
    """The batch has none. Beyond that, only the labels that are asked for reach FeCL."""
    method = make("dycon", 2, 3, fecl_labels=labels, uncl_weight=0.0, weight=0.0, fecl_weight=1.0, noise=0.0)
    batch = batches(2, 3)(0)
    other = batch._replace(y_l=batch.y_l.flip(1))
    found = []
    for b in (batch, other):
        torch.manual_seed(7)
        (update,) = method.step(b, T)
        found.append(update.logs["fecl"])
    assert torch.equal(*found) == (labels == "pseudo")
    with pytest.raises(UsageError, match="fecl_labels"):
        methods.check_options(DyCON, {"fecl_labels": "oracle"})


@pytest.mark.parametrize("labels", ["pseudo", "labeled"])
def test_fecl_reaches_only_the_scans_that_it_is_applied_to(labels: str) -> None:
    method = make("dycon", 2, 3, fecl_labels=labels)
    batch = batches(2, 3)(0)
    n, x = len(batch.x_l), torch.cat([batch.x_l, batch.x_u["weak"]])
    student, taught = method.net(x), method.answer(method.perturb(x))
    embeddings = student.heads[EMBEDDINGS]
    gradient = torch.autograd.grad(method.contrast(student, taught, batch.y_l, T), embeddings)[0]
    reached = gradient.abs().flatten(1).sum(1) > 0
    assert reached.tolist() == [(i >= n) == (labels == "pseudo") for i in range(len(x))]


def test_unknown_voxels_of_labeled_scans_take_no_part() -> None:
    method = make("dycon", 2, 3, fecl_labels="labeled")
    batch = batches(2, 3)(0)
    nothing = batch._replace(y_l=torch.full_like(batch.y_l, IGNORE))
    (update,) = method.step(nothing, T)
    assert update.logs["fecl"] == 0
    assert update.logs["supervised"] == 0
    loss, gradient = loss_and_gradient(method, nothing)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_patch_labels_are_the_classes_with_the_largest_share() -> None:
    target = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 2], [2, 2, 1, 0], [2, 2, 0, 1]]])
    target[0, 2:, 2:] = IGNORE
    p = shares(target, 3)
    assert p.sum(1).eq(target != IGNORE).all()
    assert patch_labels(p, (2, 2)).tolist() == [[0, 1, 2, IGNORE]]
    assert patch_labels(p, (2, 2), majority=0.8).tolist() == [[IGNORE, IGNORE, 2, IGNORE]]
    assert pooled(p, (2, 2))[0, :, 0].tolist() == [0.75, 0.25, 0.0]
    assert patch_labels(shares(torch.zeros(1, 5, 7, 3, dtype=torch.long), 2), (2, 3, 1)).shape == (1, 6)


def test_the_same_patches_of_everything_are_drawn() -> None:
    index = torch.arange(10).expand(2, 10)
    wide = index[:, None, :].expand(2, 3, 10)
    a, b = draw(4, wide, index)
    assert a.shape == (2, 3, 4)
    assert torch.equal(a[:, 0], b)
    assert torch.equal(a[:, 2], b)
    assert all(len(set(row.tolist())) == 4 for row in b)
    assert draw(10, wide, index)[1] is index


@pytest.mark.parametrize(("dim", "count"), [(2, 264_448), (3, 264_448)])
def test_the_projection_is_the_published_one(dim: int, count: int) -> None:
    head = Projection(dim, 256)
    assert sum(p.numel() for p in head.parameters()) == count
    for size in ((4, 6, 4), (1, 1, 2), (1, 1, 1)):
        x = torch.randn(2, 256, *size[:dim])
        assert head.train()(x).shape == (2, 256, *(2 * s for s in size[:dim]))
    # Corners stay where they are: no position lies outside the map.
    alone = Projection(dim, 4)
    alone.layers = nn.Identity()
    x = torch.arange(3.0).view(1, 1, 3, *[1] * (dim - 1)).expand(1, 4, 3, *[3] * (dim - 1))
    row = alone(x)[0, 0].flatten(1)[:, 0]
    torch.testing.assert_close(row, torch.linspace(0, 2, 6))


@pytest.mark.parametrize("predict_with", ["student", "teacher"])
@pytest.mark.parametrize(("name", "options"), [("unet", {"features": (4, 8, 8)}), ("vnet", {"filters": 2})])
def test_the_exported_network_is_a_plain_one(name: str, options: dict, predict_with: str) -> None:
    def make_net(heads=None):
        return networks.build(name, dim=2, in_channels=1, classes=2, **options)

    method = DyCON(make_net, predict_with=predict_with)
    batch = batches(2, 2, edge=32)(0)
    loop = loop_for(method, batches(2, 2, edge=32), 2)
    loop.run()
    exported = getattr(method, method.predictor)
    fresh = make_net()
    fresh.load_state_dict(exported.state_dict())
    x = batch.x_l
    assert torch.equal(fresh.eval()(x).logits, exported.eval()(x).logits)
    assert loop.network is exported
    assert exported is (method.net.net if predict_with == "student" else method.teacher.net)


def test_the_projection_is_trained_and_averaged() -> None:
    method = make("dycon", 2, 3)
    before = copy.deepcopy(method.net.projection)
    loop_for(method, batches(2, 3), 3).run()
    heads = (before, method.net.projection, method.teacher.projection)
    for was, now, mean in zip(*(head.parameters() for head in heads), strict=True):
        if was.ndim > 1:
            assert not torch.equal(was, now)
            assert not torch.equal(mean, now)
    assert all(not p.requires_grad for p in method.teacher.parameters())


def test_no_gradient_reaches_the_teacher() -> None:
    method = make("dycon", 3, 2)
    loss_and_gradient(method, batches(3, 2)(0))
    assert all(p.grad is None for p in method.teacher.parameters())


def test_the_whole_batch_is_disturbed_for_the_teacher_alone() -> None:
    method = make("dycon", 2, 2, noise=0.3)
    seen: dict[str, Tensor] = {}
    for name in ("net", "teacher"):
        module = getattr(method, name)
        module.register_forward_pre_hook(lambda m, inputs, name=name: seen.update({name: inputs[0]}))
    batch = batches(2, 2)(0)
    list(method.step(batch, T))
    whole = torch.cat([batch.x_l, batch.x_u["weak"]])
    assert torch.equal(seen["net"], whole)
    noise = seen["teacher"] - whole
    assert noise.abs().amax() <= 0.6 + 1e-6
    assert (noise.flatten(1).std(1) > 0.2).all()


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "paper"},
        {"variant": "paper", "entropy_weighted": True},
        {"entropy_weighted": True},
        {"max_patches": 5},
        {"column_max": True, "double_softmax": True},
        {"fecl_labels": "labeled", "majority": 0.7},
        {"gamma": 0.0, "cross_weight": 0.0, "threshold_ramp": 0.0},
        {"teacher_mode": "eval", "student_view": "strong", "predict_with": "teacher"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dim", [2, 3])
def test_every_form_learns(dim: int, options: dict[str, object]) -> None:
    method = make("dycon", dim, 3, **options)
    loss, gradient = loss_and_gradient(method, batches(dim, 3, edge=8)(0))
    _, other = loss_and_gradient(make("dycon", dim, 3), batches(dim, 3, edge=8)(0))
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    assert not torch.equal(gradient, other)


def test_entropy_weights_follow_the_student() -> None:
    """A student that is sure everywhere learns nothing from the weighted form."""
    method = make("dycon", 2, 2, entropy_weighted=True, cross_weight=0.0)
    answer, taught = (net(batches(2, 2)(0).x_u["weak"]) for net in (method.net, method.teacher))
    y_l = torch.zeros(0, 12, 12, dtype=torch.long)
    sure = answer._replace(logits=1000.0 * shares(answer.logits.argmax(1), 2))
    assert method.contrast(answer, taught, y_l, T) > 1e-4
    assert method.contrast(sure, taught, y_l, T).item() == pytest.approx(0.0, abs=1e-5)


class Flat(TinyNet):
    """Says that it has levels, and gives none."""

    def forward(self, x: Tensor) -> SegOutput:
        return super().forward(x)._replace(levels=())


def test_networks_without_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="bottleneck") as caught:
        DyCON(lambda: Pointwise(2, 2))
    assert "levels" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="bottleneck"):
        Projected(networks.build("unet", dim=2, in_channels=1, classes=2, features=(4,)), "dycon")
    method = DyCON(lambda: Flat(2, 2))
    with pytest.raises(UsageError, match="bottleneck"):
        list(method.step(batches(2, 2)(0), T))


@pytest.mark.parametrize(
    "wrong",
    [
        {"beta_min": 0.0},
        {"temperature": 0.0},
        {"majority": 1.5},
        {"variant": "other"},
        {"max_patches": 0},
        {"fecl_weight": -1.0},
        {"threshold_ramp": 2.0},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        methods.check_options(DyCON, wrong)


def test_released_faults_are_told() -> None:
    assert make("dycon", 2, 2).deviations == []
    both = make("dycon", 2, 2, column_max=True, double_softmax=True).deviations
    assert [text.split(":")[0] for text in both] == ["dycon", "dycon"]
