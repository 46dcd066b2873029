"""What AC-MT must do for every input: its four selections, their masks, loss and gradient."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.core import Batch, Clock, SegOutput
from semiseg.errors import UsageError
from semiseg.losses import entropy_map, masked_mean, softmax_mse
from semiseg.methods import _bases, ac_mt
from semiseg.methods._bases import passes_of
from semiseg.methods.ac_mt import ACMT
from semiseg.methods.parts.prototypes import Spread, nearest_class, scan_prototypes
from semiseg.networks import checkpoint
from semiseg.settings.options import checked
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for
from tests.methods.tiny import make as make_by_name

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
SELECTIONS = ["entropy", "uncertainty", "prototype", "confident_learning"]
KINDS = [(2, 2), (2, 4), (3, 2), (3, 4)]
every_selection = pytest.mark.parametrize("selection", SELECTIONS)


def make(seed: int, k: int, dim: int = 2, **options: object) -> ACMT:
    torch.manual_seed(seed)
    return ACMT(lambda: TinyNet(dim, k), **options)


def random(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(x_u: torch.Tensor) -> Batch:
    """A batch of these unlabeled images only."""
    return Batch(x_u[:0], torch.zeros(0), {"weak": x_u})


class WithLevels(nn.Module):
    """Fixed logits for a batch, and features of half the size that go with them."""

    def __init__(self, logits: torch.Tensor, frozen: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone(), requires_grad=not frozen)

    def forward(self, x: torch.Tensor) -> SegOutput:
        pooled = nn.functional.avg_pool2d(self.logits, 2)
        return SegOutput(self.logits[: len(x)] * 1.0, levels=(pooled[: len(x)], self.logits[: len(x)]))


# Every selection does what the contract asks of every method.


@every_selection
@pytest.mark.parametrize(("dim", "k"), KINDS)
def test_loss_falls(selection, dim, k):
    losses = []
    method = make_by_name("ac_mt", dim, k, selection=selection)
    loop = loop_for(method, batches(dim, k, edge=12 if dim == 2 else 8), 40, log_every=10)
    loop.listeners = [lambda e: losses.append(e.values["loss"]) if hasattr(e, "values") else None]
    loop.run()
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.isfinite(p).all() for p in method.parameters())


@every_selection
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_resumed_run_is_bit_exact(selection, precision, tmp_path):
    def fresh() -> ACMT:
        return make_by_name("ac_mt", 2, 3, selection=selection)

    at, undisturbed = batches(2, 3), fresh()
    loop_for(undisturbed, at, 5, precision=precision).run()
    first = loop_for(fresh(), at, 5, folder=tmp_path, precision=precision)
    while first.step < 3:
        first.iterate_once()
    first.save()
    second = loop_for(fresh(), at, 5, precision=precision)
    second.restore(checkpoint.load(tmp_path / "last.ckpt", checkpoint.STATE))
    torch.manual_seed(99)
    second.run()
    resumed = second.method.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in undisturbed.state_dict().items())


@every_selection
@pytest.mark.parametrize("absent", [0, 1, 3])
def test_one_class_absent(selection, absent):
    method = make_by_name("ac_mt", 2, 4, selection=selection)
    loop = loop_for(method, batches(2, 4, absent=absent), 3)
    loop.run()
    assert loop.skips.total == 0
    assert all(torch.isfinite(p).all() for p in method.parameters())


@every_selection
@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (3, 1)])
def test_uneven_batches(selection, labeled, unlabeled):
    method = make_by_name("ac_mt", 2, 3, selection=selection)
    loop = loop_for(method, batches(2, 3, labeled=labeled, unlabeled=unlabeled), 2)
    loop.run()
    assert loop.skips.total == 0


# 1. Entropy.


@few
@given(seeds, classes, dims)
def test_a_higher_threshold_never_adds_voxels(seed, k, dim):
    p = random(seed, 2, k, *[5] * dim).softmax(1)
    entropy = entropy_map(p)
    assert entropy.min() >= 0
    assert entropy.max() <= 1 + 1e-5
    masks = []
    for theta in (0.1, 0.5, 0.75, 0.9, 1.0):
        method = ACMT(lambda: Pointwise(dim, k), threshold_start=theta, threshold_end=theta)
        assert method.threshold(Clock(seed % 10, 10)) == pytest.approx(theta)
        masks.append(method.select(p, images(p[:, :1]), Clock(3, 10)))
    for before, after in itertools.pairwise(masks):
        assert not (after & ~before).any()


@few
@given(classes, st.floats(0, 0.99))
def test_even_predictions_are_ambiguous_and_sure_ones_are_not(k, theta):
    method = ACMT(lambda: WithLevels(torch.zeros(4, k, 5, 5)), threshold_start=theta, threshold_end=theta)
    batch = batches(2, k, unlabeled=2, edge=5)(0)
    (update,) = method.step(batch, Clock(9, 10))
    assert update.logs["ambiguous"].item() == 1

    sure = torch.zeros(4, k, 5, 5)
    sure[:, 1] = 30
    method = ACMT(lambda: WithLevels(sure), threshold_start=max(theta, 1e-3), threshold_end=0.99)
    method.teacher.logits.data.zero_()
    (update,) = method.step(batch, Clock(9, 10))
    assert update.logs["ambiguous"].item() == 0
    assert update.logs["consistency"].item() == 0


@pytest.mark.parametrize(("selection", "end"), [("entropy", 0.95), ("uncertainty", 0.9)])
def test_thresholds_are_the_published_ones_unless_chosen(selection, end):
    method = make(0, 2, selection=selection)
    assert method.threshold(Clock(0, 100)) == pytest.approx(0.75 + (end - 0.75) * math.exp(-5))
    assert method.threshold(Clock(100, 100)) == pytest.approx(end)
    milder = make(0, 2, selection=selection, threshold_start=0.75, threshold_end=0.6)
    assert milder.threshold(Clock(50, 100)) == pytest.approx(0.75 - 0.15 * math.exp(-5 / 4))


# 2. The loss is that of ambiguous voxels of unlabeled scans, and of the student.


@few
@given(seeds, classes, dims)
def test_only_ambiguous_voxels_count(seed, k, dim):
    shape = (2, k, *[5] * dim)
    z, target = random(seed, *shape).requires_grad_(), random(seed + 1, *shape)
    mask = random(seed + 2, 2, 1, *shape[2:]) > 0
    loss = masked_mean(softmax_mse(z, target, reduction="none"), mask)
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.equal(gradient * ~mask, torch.zeros_like(z))
    other = torch.where(mask, z, random(seed + 3, *shape))
    torch.testing.assert_close(masked_mean(softmax_mse(other, target, reduction="none"), mask), loss)


@every_selection
def test_labeled_scans_and_the_teacher_get_no_gradient_of_the_consistency(selection, monkeypatch):
    def zero(z: torch.Tensor, y: torch.Tensor, **_: object) -> torch.Tensor:
        return z.sum() * 0

    monkeypatch.setattr(_bases, "dice_ce", zero)
    z = random(0, 5, 3, 6, 6, scale=2)
    method = ACMT(lambda: WithLevels(z), selection=selection, passes=2)
    method.teacher = WithLevels(random(1, 3, 3, 6, 6, scale=2), frozen=True)
    batch = batches(2, 3, edge=6)(0)
    method.uncertainty = lambda x: entropy_map(z[2:].softmax(1), normalized=False)
    (update,) = method.step(batch, Clock(9, 10))
    update.loss.backward()
    gradient = method.net.logits.grad
    assert torch.equal(gradient[:2], torch.zeros_like(z[:2]))
    assert gradient[2:].abs().sum() > 0
    assert all(p.grad is None for p in method.teacher.parameters())


@every_selection
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_finite_loss(selection, dtype):
    """An empty mask included: its denominator must not vanish."""

    class Half(WithLevels):
        def forward(self, x: torch.Tensor) -> SegOutput:
            out = super().forward(x)
            return SegOutput(out.logits.to(dtype), levels=tuple(level.to(dtype) for level in out.levels))

    for scale in (1.0, 60.0):
        method = ACMT(lambda s=scale: Half(random(0, 6, 2, 6, 6, scale=s)), selection=selection)
        (update,) = method.step(batches(2, 2, edge=6)(0), Clock(9, 10))
        assert update.loss.dtype == torch.float32
        assert update.loss.isfinite()


# Uncertainty.


@few
@given(seeds, classes, dims, st.integers(1, 5))
def test_uncertainty_is_an_entropy_and_leaves_batch_norm_alone(seed, k, dim, passes):
    method = make(seed, k, dim, selection="uncertainty", passes=passes)
    before = copy.deepcopy(method.state_dict())
    values = method.uncertainty(batches(dim, k, edge=6)(seed).x_u["weak"])
    assert values.shape == (3, 1, *[6] * dim)
    assert values.min() >= -k * 2e-6
    assert values.max() <= math.log(k)
    assert not values.requires_grad
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())


def test_the_student_is_asked_in_the_published_groups():
    x = batches(2, 3)(0).x_u["weak"]
    for update_bn in (False, True):
        method = make(0, 3, selection="uncertainty", update_bn=update_bn)
        seen = []
        method.net.register_forward_hook(lambda _, x, __, seen=seen: seen.append(len(x[0])))
        method.uncertainty(x)
        assert seen == [6] * 4
        assert method.net.body[1].num_batches_tracked == (4 if update_bn else 0)
        assert len(method.deviations) == update_bn


def test_the_loss_may_be_summed_over_classes():
    (mean,), (total,) = (
        make(0, 4, sum_over_classes=summed).eval().step(batches(2, 4)(0), Clock(9, 10))
        for summed in (False, True)
    )
    ratio = total.logs["consistency"] / mean.logs["consistency"]
    assert ratio.item() == pytest.approx(4, rel=0.2)  # the noise of the two differs


def test_passes_in_one_batch_are_the_same_without_batch_norm(monkeypatch):
    torch.manual_seed(0)
    net, inputs = Pointwise(2, 3), [torch.randn(n, 1, 4, 4) for n in (2, 1, 3, 2, 2)]
    monkeypatch.setattr(_bases, "one_pass_pays", lambda network, x: False)
    separate = [out.logits for out in passes_of(net, inputs)]
    asked = []
    net.register_forward_hook(lambda _, x, __: asked.append(len(x[0])))
    monkeypatch.setattr(_bases, "one_pass_pays", lambda network, x: True)
    for one, other in zip(passes_of(net, inputs), separate, strict=True):
        torch.testing.assert_close(one.logits, other)
    assert asked == [8, 2]


# 3. Confident learning (its own properties are in tests/methods/parts).


@few
@given(seeds, classes, dims)
def test_flagged_voxels_are_those_on_which_the_networks_disagree(seed, k, dim):
    torch.manual_seed(seed)
    method = ACMT(lambda: Pointwise(dim, k, width=8), selection="confident_learning")
    x = random(seed, 2, 1, *[6] * dim)
    p = (random(seed + 1, 2, k, *[6] * dim) + 2 * method.clean_probabilities(x)).softmax(1)
    mask = method.select(p, images(x), Clock(0, 10))[:, 0]
    agree = p.argmax(1) == method.clean_probabilities(x).argmax(1)
    if len(p.argmax(1).unique()) > 1:
        assert not (mask & agree).any()


def test_a_student_of_one_class_learns_everywhere():
    method = make(0, 3, selection="confident_learning")
    p = torch.tensor([0.1, 0.8, 0.1]).view(1, 3, 1, 1).expand(2, 3, 6, 6)
    assert method.select(p, images(torch.randn(2, 1, 6, 6)), Clock(0, 10)).all()


def test_a_mistake_is_no_reason_to_fall_back(monkeypatch):
    """The released code takes any error for a missing class."""

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shapes")

    monkeypatch.setattr(ac_mt, "label_issues", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        next(make(0, 3, selection="confident_learning").step(batches(2, 3)(0), Clock(0, 10)))


# 4. Prototypes.


@few
@given(seeds, classes, dims, st.floats(0.1, 50))
def test_scaling_or_moving_all_features_changes_no_nearest_class(seed, k, dim, scale):
    space = [8] * dim
    features, q = random(seed, 2, 5, *space), random(seed + 1, 2, k, *space).softmax(1)
    classes = q.argmax(1)
    found = nearest_class(features, classes, q, absent_at_zero=False)
    for other in (features * scale, features + random(seed + 2, 5).view(5, *[1] * dim)):
        moved = nearest_class(other, classes, q, absent_at_zero=False)
        assert (moved != found).float().mean() <= 0.005  # the 1e-5 of the denominator


def test_where_the_student_agrees_everywhere_only_the_entropy_term_is_left(monkeypatch):
    method = make(0, 3, selection="prototype", passes=2)
    batch = batches(2, 3)(0)
    monkeypatch.setattr(method, "select", lambda p, batch, t: torch.zeros_like(p[:, :1], dtype=torch.bool))
    (update,) = method.step(batch, Clock(9, 10))
    assert update.logs["ambiguous"].item() == 0
    assert 0 < update.logs["consistency"].item() <= 1 + 1e-5
    p = random(0, 2, 3, 5, 5).softmax(1)
    clear = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    torch.testing.assert_close(method.sharpen(p, clear), entropy_map(p).mean())
    half = clear.clone()
    half[1] = False
    torch.testing.assert_close(method.sharpen(p, half), entropy_map(p[:1]).mean() / 2)


def test_an_absent_class_attracts_nothing_unless_it_is_to():
    features = torch.tensor([0.1, 5.0, 0.2, 5.2]).view(1, 1, 4, 1)
    classes = torch.tensor([1, 2, 1, 2]).view(1, 4, 1)
    q = torch.full((1, 3, 4, 1), 1 / 3)
    prototypes, present = scan_prototypes(features - 5, classes, q)
    assert present.tolist() == [[False, True, True]]
    assert prototypes[0, 0].item() == 0
    excluded = nearest_class(features - 5, classes, q, absent_at_zero=False)
    assert excluded.flatten().tolist() == [1, 2, 1, 2]
    zero = nearest_class(features - 5, classes, q, absent_at_zero=True)
    assert zero.flatten().tolist() == [1, 0, 1, 2]
    none = nearest_class(features, torch.full_like(classes, 255), q, absent_at_zero=False)
    assert none.flatten().tolist() == [-1] * 4


@pytest.mark.parametrize("drop", [False, True])
def test_a_voxel_without_a_candidate_is_background_or_dropped(drop, monkeypatch):
    seen = {}

    def note(features: torch.Tensor, classes: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen["classes"] = classes
        return classes

    monkeypatch.setattr(ac_mt, "nearest_class", note)
    method = make(0, 3, selection="prototype", drop_uncertain=drop, certain_below=0.0, passes=3)
    x = torch.randn(2, 1, 6, 6)
    method.nearest(x, random(0, 2, 3, 6, 6).softmax(1))
    assert (seen["classes"] == (255 if drop else 0)).all()
    if drop:  # no prototype at all: nothing is sure
        monkeypatch.undo()
        assert method.select(random(0, 2, 3, 6, 6).softmax(1), images(x), Clock(0, 10)).all()


@few
@given(seeds, st.integers(2, 12))
def test_the_spread_is_the_standard_deviation(seed, n):
    values = random(seed, n, 3, 4) + 10
    spread = Spread()
    for value in values:
        spread.add(value)
    torch.testing.assert_close(spread.std(), values.std(0), rtol=1e-4, atol=1e-5)


# 5. The teacher.


@few
@given(seeds, classes)
def test_after_the_first_step_the_teacher_is_the_student(seed, k):
    method = make(seed, k)
    for p in method.net.parameters():
        p.data += 0.1
    buffers = copy.deepcopy(dict(method.teacher.named_buffers()))
    method.after_step(Clock(0, 10))
    for mine, theirs in zip(method.teacher.parameters(), method.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(torch.equal(buffers[key], value) for key, value in method.teacher.named_buffers())


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 0),
        ({"selection": "prototype"}, 0),
        ({"selection": "prototype", "absent_class": "zero", "entropy_term": "released"}, 2),
        ({"selection": "uncertainty", "sum_over_classes": True, "update_bn": True}, 2),
        ({"selection": "confident_learning", "filter_by": "prune_by_class"}, 0),
    ],
)
def test_released_forms_say_so(options, said):
    assert len(make(0, 2, **options).deviations) == said


@pytest.mark.parametrize(
    "options",
    [
        {"selection": "random"},
        {"threshold_start": 1.5},
        {"filter_by": "confident_learning"},
        {"entropy_term": "wrong"},
        {"passes": 0},
        {"temperature": 0},
    ],
)
def test_wrong_options(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        checked("ac_mt", methods.find("ac_mt"), options)


def test_one_pass_has_no_spread():
    with pytest.raises(UsageError, match="spread"):
        make(0, 2, selection="prototype", passes=1)


def test_a_single_level_is_used_and_none_is_refused():
    level = torch.zeros(1)
    assert ac_mt.feature_map(SegOutput(level, levels=(level,))) is level
    with pytest.raises(UsageError, match="levels") as caught:
        ac_mt.feature_map(SegOutput(level))
    assert caught.value.hint
