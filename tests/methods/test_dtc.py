"""What DTC must do for every input; the numbers are those of the method's list of checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.batches.targets import make_targets
from semiseg.core import IGNORE, Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import distance_loss, mask_from_distance, task_consistency
from semiseg.methods.dtc import DTC
from tests.methods.answers import TwoTasks
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
END = Clock(99, 100)


def outputs(
    seed: int, k: int, dim: int, edge: int = 5, scale: float = 0.01
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (4, K, *S), and distances (4, K-1, *S) near 0, where the steep sigmoid is alive."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((4, k, *[5] * dim), generator=generator)
    return logits, scale * (2 * torch.rand((4, k - 1, *[5] * dim), generator=generator) - 1)


def batch_of(labels: torch.Tensor, k: int, n: int = 2) -> Batch:
    images = torch.zeros((len(labels), 1, *labels.shape[1:]))
    targets = make_targets(["sdf", "sdf_published"], labels[:n], k)
    return Batch(images[:n], labels[:n], {"weak": images[n:]}, targets)


def random_labels(seed: int, k: int, dim: int) -> torch.Tensor:
    return torch.randint(k, (4, *[5] * dim), generator=torch.Generator().manual_seed(seed))


def make(logits: torch.Tensor, distances: torch.Tensor, **options: object) -> DTC:
    return DTC(lambda heads=None: TwoTasks(logits, distances), **options)


@few
@given(seeds, st.floats(0, 2000))
def test_property_2_the_mask_never_grows_with_the_distance(seed, steepness):
    z = torch.randn(200, generator=torch.Generator().manual_seed(seed)).sort().values
    masks = mask_from_distance(z, steepness=steepness)
    assert (masks[1:] <= masks[:-1]).all()
    assert masks.min() >= 0
    assert masks.max() <= 1


@few
@given(seeds, seeds, classes, dims)
def test_property_4_labels_of_unlabeled_samples_do_not_matter(seed, other, k, dim):
    found = []
    for replaced in (seed, other):
        labels = random_labels(seed, k, dim)
        labels[2:] = random_labels(replaced, k, dim)[2:]
        method = make(*outputs(seed, k, dim))
        (update,) = method.step(batch_of(labels, k), END)
        update.loss.backward()
        found.append((update.loss.detach(), method.net.logits.grad, method.net.distances.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@few
@given(seeds, dims, st.floats(0.1, 5))
def test_property_5_tasks_that_agree_cost_nothing_more(seed, dim, weight):
    _, distances = outputs(seed, 2, dim, scale=0.005)
    logits = torch.cat([torch.zeros_like(distances), -1500 * distances], 1)
    (update,) = make(logits, distances, weight=weight).step(batch_of(random_labels(seed, 2, dim), 2), END)
    assert update.logs["consistency"].item() == pytest.approx(0, abs=1e-9)
    supervised = update.logs["dice"] + 0.3 * update.logs["distance"]
    assert update.loss.item() == pytest.approx(supervised.item(), rel=1e-6)


@few
@given(seeds, classes, dims, st.lists(st.floats(0, 10), min_size=2, max_size=4).map(sorted))
def test_property_5_the_total_does_not_fall_with_the_weight(seed, k, dim, weights):
    batch = batch_of(random_labels(seed, k, dim), k)
    losses = [next(make(*outputs(seed, k, dim), weight=w).step(batch, END)).loss.item() for w in weights]
    assert losses == sorted(losses)


@few
@given(seeds, classes, dims)
def test_consistency_is_the_mean_over_foreground_classes(seed, k, dim):
    logits, distances = outputs(seed, k, dim)
    p = logits.softmax(1)
    parts = [
        (torch.sigmoid(-1500 * distances[:, c]) - p[:, c + 1]).square().mean().item() for c in range(k - 1)
    ]
    assert task_consistency(distances, p).item() == pytest.approx(sum(parts) / len(parts), rel=1e-5)
    low = task_consistency(distances.bfloat16(), p.bfloat16())
    assert low.dtype == torch.float32


@few
@given(seeds, classes)
def test_both_heads_learn_from_unlabeled_samples(seed, k):
    method = make(*outputs(seed, k, 2))
    (update,) = method.step(batch_of(random_labels(seed, k, 2), k), END)
    update.loss.backward()
    assert method.net.logits.grad[2:].abs().sum() > 0
    assert method.net.distances.grad[2:].abs().sum() > 0


def test_the_sigmoid_is_dead_far_from_the_boundary():
    z = torch.tensor([-0.5, -0.012, 0.0, 0.5], requires_grad=True)
    mask_from_distance(z).sum().backward()
    assert z.grad.tolist() == [0, 0, -375, 0]


@few
@given(seeds, classes, dims)
def test_voxels_without_a_label_have_no_supervised_gradient(seed, k, dim):
    labels = random_labels(seed, k, dim)
    generator = torch.Generator().manual_seed(seed)
    unknown = torch.rand(labels[:2].shape, generator=generator) < 0.3
    labels[:2][unknown] = IGNORE
    method = make(*outputs(seed, k, dim), weight=0.0)
    (update,) = method.step(batch_of(labels, k), END)
    update.loss.backward()
    for gradient in (method.net.logits.grad, method.net.distances.grad):
        assert torch.isfinite(gradient).all()
        assert (gradient[:2].movedim(1, -1)[unknown] == 0).all()
        assert (gradient[2:] == 0).all()


def test_without_any_label_the_distance_loss_is_zero():
    z = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = distance_loss(z, torch.ones(1, 2, 4, 4), torch.full((1, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert (z.grad == 0).all()


@few
@given(seeds, classes, dims)
def test_weights_in_common_are_those_without_the_second_head(seed, k, dim):
    torch.manual_seed(seed)
    plain = TinyNet(dim, k).state_dict()
    torch.manual_seed(seed)
    method = DTC(lambda heads=None: TinyNet(dim, k, heads))
    assert all(torch.equal(value, method.net.state_dict()[key]) for key, value in plain.items())
    assert method.net.heads["sdf"].out_channels == k - 1


def test_the_target_asked_for():
    def target(**options: object) -> tuple[str, ...]:
        return DTC(lambda heads=None: TinyNet(2, 3, heads), **options).targets

    assert target() == ("sdf",)
    assert target(absent="zeros") == ("sdf_published",)
    batch = batches(2, 3, absent=2)(0)
    losses = []
    for absent in ("ones", "zeros"):
        torch.manual_seed(0)
        method = DTC(lambda heads=None: TinyNet(2, 3, heads), absent=absent)
        losses.append(next(method.step(batch, END)).loss.item())
        assert bool(method.deviations) == (absent == "zeros")
    assert losses[0] != losses[1]


def test_a_network_that_does_not_tell_its_classes():
    with pytest.raises(UsageError, match="dtc needs a network that says its classes"):
        DTC(lambda heads=None: nn.Identity())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steepness": 0.0}, "steepness"),
        ({"absent": "zero"}, "absent"),
        ({"distance_weight": -1.0}, "distance_weight"),
        ({"ramp": 0}, "ramp"),
        ({"betas": 1}, "betas"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        methods.check_options(DTC, options)
