"""What BCP must do for every input; the numbers are those of its checks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock, SegOutput
from semiseg.errors import UsageError
from semiseg.methods.bcp import BCP, mixed_dice_ce, region_cross_entropy, region_dice
from semiseg.methods.parts.mixing import draw_mask, groups, scaled
from semiseg.networks import checkpoint
from semiseg.runs.events import Stepped
from semiseg.settings.resolve import resolve
from semiseg.training.stages import clock_at
from tests.methods.answers import Pointwise
from tests.methods.tiny import batches, loop_for, make

few = settings(max_examples=10, deadline=None)
seeds, dims, counts = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)
sizes, forms = st.integers(1, 5), st.sampled_from(["la", "acdc"])
SELF = Clock(3, 10, "selftrain")
PRE = Clock(3, 10, "pretrain")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_and_labels(seed: int, dim: int, k: int, n: int = 2):
    g = generator(seed)
    size = [6, 5, 4][:dim]
    z = torch.randn((n, k, *size), generator=g)
    host, patch = (torch.randint(k, (n, *size), generator=g) for _ in range(2))
    torch.manual_seed(seed)
    return z, host, patch, draw_mask(size, 2 / 3)


def a_batch(seed: int, dim: int, k: int, labeled: int, unlabeled: int) -> Batch:
    return batches(dim, k, labeled=labeled, unlabeled=unlabeled, edge=6)(seed)


class Spy(nn.Module):
    """Keeps what a network was asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.network(x)


def spied(dim: int = 2, k: int = 3, **options) -> BCP:
    method = BCP(lambda: Spy(Pointwise(dim, k)), **options)
    return method


# --- 1: mixing is a partition ---------------------------------------------------------------------


@few
@given(seeds, dims, st.floats(0.05, 1.0), sizes, sizes)
def test_1_each_pasted_image_is_the_one_inside_the_box_and_the_other_outside(seed, dim, beta, bl, bu):
    method, batch = spied(dim, beta=beta), a_batch(seed, dim, 3, bl, bu)
    size = batch.x_l.shape[2:]
    torch.manual_seed(seed)
    mask = draw_mask(size, beta)
    torch.manual_seed(seed)
    list(method.step(batch, SELF))
    x_in, x_out = method.net.asked
    u_a, u_b = method.teacher.asked
    n = max(math.ceil(bl / 2), math.ceil(bu / 2))
    x_a, x_b = groups(batch.x_l, n)
    assert int((~mask).sum()) == math.prod(scaled(size, beta))
    assert torch.equal(x_in[..., mask], x_a[..., mask])
    assert torch.equal(x_in[..., ~mask], u_a[..., ~mask])
    assert torch.equal(x_out[..., mask], u_b[..., mask])
    assert torch.equal(x_out[..., ~mask], x_b[..., ~mask])


@few
@given(seeds, dims, sizes)
def test_1_the_first_stage_pastes_labeled_images_into_labeled_ones(seed, dim, bl):
    method, batch = spied(dim), a_batch(seed, dim, 3, bl, 2)
    torch.manual_seed(seed)
    mask = draw_mask(batch.x_l.shape[2:], 2 / 3)
    torch.manual_seed(seed)
    list(method.step(batch, PRE))
    (x,) = method.net.asked
    x_a, x_b = groups(batch.x_l, math.ceil(bl / 2))
    assert torch.equal(x, torch.where(mask, x_a, x_b))
    assert not method.teacher.asked
    if bl == 1:
        assert torch.equal(x, batch.x_l)


@few
@given(sizes, st.integers(1, 5))
def test_groups_go_round_and_use_every_image(length, n):
    x = torch.arange(length)
    first, second = groups(x, n)
    assert len(first) == len(second) == n
    assert torch.cat([first, second]).tolist() == [i % length for i in range(2 * n)]
    if 2 * n >= length:
        assert set(torch.cat([first, second]).tolist()) == set(range(length))


@few
@given(seeds, sizes, sizes)
def test_every_image_of_the_batch_takes_part(seed, bl, bu):
    method, batch = spied(), a_batch(seed, 2, 3, bl, bu)
    list(method.step(batch, SELF))
    taught = torch.cat(method.teacher.asked)
    for x in batch.x_u["weak"]:
        assert any(torch.equal(x, seen) for seen in taught)
    n = len(taught) // 2
    used = torch.cat(groups(batch.x_l, n))
    assert all(any(torch.equal(x, seen) for seen in used) for x in batch.x_l)


# --- 2: the losses --------------------------------------------------------------------------------


@few
@given(seeds, dims, counts, forms)
def test_2_cross_entropy_is_the_sum_of_both_regions(seed, dim, k, form):
    z, host, patch, mask = logits_and_labels(seed, dim, k)
    p = z.softmax(1)
    dice = region_dice(p, host, mask, form=form) + region_dice(p, patch, ~mask, form=form)
    ce = 2 * mixed_dice_ce(z, host, patch, mask, dice=form) - dice
    nll = nn.functional.cross_entropy(z, torch.where(mask, host, patch), reduction="none")
    assert ce.item() == pytest.approx((nll[:, mask].mean() + nll[:, ~mask].mean()).item(), rel=1e-4)


@few
@given(seeds, dims, counts, forms)
def test_2_without_weight_the_patch_has_exactly_no_gradient(seed, dim, k, form):
    z, host, patch, mask = logits_and_labels(seed, dim, k)
    z.requires_grad_()
    mixed_dice_ce(z, host, patch, mask, patch_weight=0.0, dice=form).backward()
    assert (z.grad[..., ~mask] == 0).all()
    assert (z.grad[..., mask] != 0).any()


@few
@given(seeds, dims, st.booleans())
def test_2_alpha_0_trains_on_ground_truth_alone(seed, dim, clean):
    method, batch = spied(dim, alpha=0.0, largest_component=clean), a_batch(seed, dim, 3, 2, 2)
    losses = []
    for shift in (0.0, 5.0):  # another teacher, other pseudo-labels
        method.teacher.network.head.bias.data[1] += shift
        torch.manual_seed(seed)
        (update,) = method.step(batch, SELF)
        losses.append(update.loss.item())
    assert losses[0] == losses[1]


@few
@given(seeds, dims, counts, forms)
def test_2_unknown_voxels_count_nowhere(seed, dim, k, form):
    z, host, _, mask = logits_and_labels(seed, dim, k)
    host[:, 0] = IGNORE
    known = mask.clone()
    known[0] = False
    region = known.expand_as(host)
    whole, left = (region_dice(z.softmax(1), host, r, form=form) for r in (mask, region))
    assert torch.equal(whole, left)
    assert torch.equal(region_cross_entropy(z, host, mask), region_cross_entropy(z, host, region))
    z.requires_grad_()
    everywhere = torch.full_like(host, IGNORE)
    loss = mixed_dice_ce(z, everywhere, everywhere, mask, dice=form)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(z.grad).all()


# --- 3: cleaning ----------------------------------------------------------------------------------


@few
@given(seeds, dims, counts)
def test_3_pseudo_labels_are_the_cleaned_classes_of_the_teacher(seed, dim, k):
    batch = a_batch(seed, dim, k, 2, 3)
    x = batch.x_u["weak"]
    method, plain = (BCP(lambda: Pointwise(dim, k), largest_component=clean) for clean in (True, False))
    plain.teacher.load_state_dict(method.teacher.state_dict())
    with torch.no_grad():
        wanted = method.teacher(x).logits.argmax(1)
    (raw,) = plain.pseudo_labels(x)
    (cleaned,) = method.pseudo_labels(x)
    assert torch.equal(raw, wanted)
    assert ((cleaned == raw) | (cleaned == 0)).all()


def test_3_connectivity_reaches_the_cleaning():
    diagonal = torch.full((1, 1, 4, 4), -1.0)
    diagonal[0, 0, 0, 0] = diagonal[0, 0, 1, 1] = 1.0
    for connectivity, left in (("faces", 1), ("corners", 2)):
        method = BCP(lambda: nn.Conv2d(1, 2, 1), connectivity=connectivity)
        method.teacher = Sign()
        (labels,) = method.pseudo_labels(diagonal)
        assert int(labels.sum()) == left


class Sign(nn.Module):
    """Class 1 where the image is positive."""

    def forward(self, x):
        return SegOutput(torch.cat([-x, x], 1))


# --- 4: the teacher -------------------------------------------------------------------------------


@few
@example(seed=0, decay=0.0, steps=1, average="parameters")
@given(seeds, st.floats(0.0, 1.0), st.integers(1, 6), st.sampled_from(["all", "parameters"]))
def test_4_the_distance_to_a_constant_student_shrinks_by_the_decay(seed, decay, steps, average):
    torch.manual_seed(seed)
    method = BCP(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), decay=decay, average=average)
    for value in method.net.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.randn(value.shape))
    before = {key: value.clone() for key, value in method.teacher.state_dict().items()}
    for step in range(steps):
        method.after_step(Clock(step, 10, "selftrain"))
    for key, teacher in method.teacher.state_dict().items():
        student, shrunk = method.net.state_dict()[key], decay**steps
        if average == "parameters" and "running" in key:
            assert torch.equal(teacher, before[key])
        elif teacher.is_floating_point():
            torch.testing.assert_close(
                teacher - student, shrunk * (before[key] - student), rtol=1e-3, atol=1e-5
            )


def test_4_in_the_first_stage_the_teacher_is_the_student():
    method = make("bcp", 2, 3, pretrain_share=1.0, average="parameters")
    loop_for(method, batches(2, 3), 3).run()
    teacher = method.teacher.state_dict()
    assert all(
        torch.equal(value, teacher[key]) for key, value in method.net.state_dict().items() if "num" not in key
    )


# --- 5: order -------------------------------------------------------------------------------------


@few
@given(seeds, dims, counts, forms, st.sampled_from(["pretrain", "selftrain"]))
def test_5_the_order_of_the_pairs_does_not_matter(seed, dim, k, form, stage):
    torch.manual_seed(seed)
    method = BCP(lambda: Pointwise(dim, k), dice=form)
    batch, order = a_batch(seed, dim, k, 4, 4), torch.tensor([1, 0, 3, 2])
    swapped = Batch(batch.x_l[order], batch.y_l[order], {"weak": batch.x_u["weak"][order]})
    losses = []
    for b in (batch, swapped):
        torch.manual_seed(seed)
        (update,) = method.step(b, Clock(0, 10, stage))
        losses.append(update.loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# --- the run --------------------------------------------------------------------------------------


def test_published_values_are_the_defaults():
    method = BCP(lambda: nn.Conv2d(1, 2, 1))
    assert (method.alpha, method.beta, method.decay, method.dice) == (0.5, 2 / 3, 0.99, "la")
    pretrain, selftrain = method.stages
    assert round(17000 * pretrain.share) == 2000
    assert pretrain.constant_lr
    assert not selftrain.constant_lr
    assert (pretrain.start_from, selftrain.start_from) == ("last", "best")
    assert method.teacher_mode == "train"
    assert not method.deviations


def test_the_share_of_the_first_stage_is_an_option():
    for share, wanted in ((0.0, []), (0.25, ["pretrain"] * 2), (1.0, ["pretrain"] * 8)):
        loop = loop_for(make("bcp", 2, 3, pretrain_share=share), batches(2, 3), 8)
        stages = [loop.clock(step)[1].stage for step in range(8)]
        assert stages == wanted + ["selftrain"] * (8 - len(wanted))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


SCORES = {2: 0.9, 4: 0.1, 6: 0.2, 8: 0.3, 10: 0.1}
"""Iterations done -> Dice: the best weights of the first stage are those after 2."""


def validated_loop(folder, **options):
    loop = loop_for(make("bcp", 2, 3, pretrain_share=0.4, **options), batches(2, 3), 10, folder=folder)
    loop.validate, loop.validate_every = lambda network: {"dice": SCORES[loop.step]}, 2
    return loop


@pytest.mark.parametrize("predict_with", ["student", "teacher"])
def test_both_networks_go_on_from_the_best_student_of_the_first_stage(predict_with, tmp_path):
    loop = validated_loop(tmp_path, predict_with=predict_with)
    method, kept, began = loop.method, {}, {}
    start = method.on_stage_start

    def spy(name):
        start(name)
        began[name] = [
            {k: v.clone() for k, v in net.state_dict().items()} for net in (method.net, method.teacher)
        ]

    method.on_stage_start = spy
    validate = loop.validate

    def keep(network):
        kept[loop.step] = {k: v.clone() for k, v in network.state_dict().items()}
        return validate(network)

    loop.validate = keep
    loop.run()
    for state in began["selftrain"]:
        assert all(torch.equal(value, kept[2][key]) for key, value in state.items() if "num" not in key)
        assert not torch.equal(state["head.weight"], kept[4]["head.weight"])


@pytest.mark.parametrize("stop", [3, 4, 5, 7])
def test_a_run_resumed_in_either_stage_is_bit_equal(stop, tmp_path):
    whole = validated_loop(tmp_path / "whole")
    whole.run()
    first = validated_loop(tmp_path / "broken")
    while first.step < stop:
        first.iterate_once()
        if first.step % 2 == 0:
            first._validate()
    first.save()
    second = validated_loop(tmp_path / "broken")
    second.restore(checkpoint.load(tmp_path / "broken" / "last.ckpt", checkpoint.STATE))
    torch.manual_seed(99)
    second.run()
    assert equal(whole.method.state_dict(), second.method.state_dict())


def test_the_logs_tell_of_each_stage():
    events = []
    loop = loop_for(make("bcp", 2, 3, pretrain_share=0.5), batches(2, 3), 6, log_every=4)
    loop.listeners = [lambda e: events.append(e) if isinstance(e, Stepped) else None]
    loop.run()
    assert [(e.step, e.stage) for e in events] == [(3, "pretrain"), (4, "selftrain"), (6, "selftrain")]
    assert set(events[0].values) == {"loss", "supervised"}
    assert set(events[-1].values) == {"loss", "inward", "outward", "pseudo_foreground"}
    assert 0 <= events[-1].values["pseudo_foreground"] <= 1


def test_pseudo_labels_get_no_gradient():
    method = BCP(lambda: Pointwise(2, 3))
    (update,) = method.step(a_batch(0, 2, 3, 2, 2), SELF)
    update.loss.backward()
    assert all(p.grad is None for p in method.teacher.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": -1}, {"beta": 1.5}, {"region": "circle"}, {"dice": "soft"}, {"connectivity": 26},
        {"pretrain_share": 2}, {"average": "none"}, {"largest_component": "liver"}, {"decay": 1.1},
    ],
)  # fmt: skip
def test_wrong_options_are_told(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        methods.check_options(BCP, options)


@pytest.mark.parametrize(
    ("recipe", "first", "second"), [("la", 2000, 15000), ("acdc", 10000, 30000), ("pancreas", 1800, 5000)]
)
def test_recipes_have_the_published_lengths_of_the_stages(recipe, first, second):
    config = resolve(recipe=recipe, environment={}, flags={"method.name": "bcp"})
    method = BCP(lambda: nn.Conv2d(1, 2, 1), **config.method.options)
    assert config.train.iterations == first + second
    lengths = [clock_at(method.stages, first + second, step)[1].total for step in (0, first + second - 1)]
    assert lengths == [first, second]
    assert not method.deviations
