"""The worked example of low-confidence consistency, and what must hold for every input."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.core import Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import entropy_map, softmax_mse
from semiseg.methods.low_confidence import LowConfidence, Prototypes
from tests.methods.answers import Fixed, Pointwise

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)

STUDENT = torch.tensor([[2, 0, 0], [0.5, 0.2, 0.1], [0, 1, 0.9], [3, 0, -1]]).T.view(1, 3, 2, 2)
TEACHER = torch.tensor([[2, 0.1, 0], [0.1, 0.6, 0.1], [0, 0.7, 1.1], [2.5, 0, -1]]).T.view(1, 3, 2, 2)
FEATURES = torch.tensor([[1, 0], [0.6, 0.8], [0, 1], [-0.8, 0.6]]).T.reshape(1, 2, 2, 2)
NOTHING = torch.full((1, 2, 2), 255)


def example(student: torch.Tensor = STUDENT, **options: object) -> LowConfidence:
    """One labeled scan without a known voxel, and the example as the unlabeled one; prototypes are given."""
    both = torch.cat([torch.zeros_like(student), student]), torch.cat([FEATURES, FEATURES])
    method = LowConfidence(lambda: Fixed(*both), weight=1.0, noise=0.0, **options)
    teacher = Fixed(torch.cat([torch.zeros_like(TEACHER), TEACHER]), both[1])
    method.teacher = teacher.requires_grad_(False)
    method.prototypes.mean = F.normalize(torch.tensor([[1.0, 0], [1, 1], [0, 1]]))
    method.prototypes.seen = torch.ones(3, dtype=torch.bool)
    return method


def run(method: LowConfidence):
    (update,) = method.step(Batch(torch.zeros(1, 1, 2, 2), NOTHING, {"weak": torch.zeros(1, 1, 2, 2)}), END)
    return update


END = Clock(10, 10)


@pytest.mark.parametrize(("form", "separation"), [("contrastive", 0.0870500), ("pull", 0.00335016)])
def test_worked_example(form, separation):
    update = run(example(separation=form, separation_weight=0.5))
    assert update.logs["unsure"].item() == 0.75
    assert update.logs["separation"].item() == pytest.approx(separation, rel=1e-4)
    consistency = update.logs["consistency"] - 0.5 * update.logs["separation"]
    assert consistency.item() == pytest.approx(0.00691462, rel=1e-4)


@pytest.mark.parametrize(
    ("source", "tau", "share"),
    [
        ("student", 0.43, 0.25),
        ("teacher", 0.43, 0.0),
        ("either", 0.43, 0.25),
        ("student", 0.78, 0.5),
        ("teacher", 0.78, 0.75),
        ("either", 0.78, 0.75),
        ("student", 1 / 3, 0.0),
    ],
)
def test_whose_confidence(source, tau, share):
    assert run(example(confidence_from=source, tau=tau)).logs["unsure"].item() == pytest.approx(share)


def test_gradient_is_zero_where_the_student_is_sure_and_on_labeled_scans_teacher_and_prototypes():
    method = example()
    run(method).loss.backward()
    logits, features = method.net.logits.grad, method.net.features.grad
    assert torch.equal(logits[1, :, 1, 1], torch.zeros(3))
    assert torch.equal(features[1, :, 1, 1], torch.zeros(2))
    assert torch.equal(features[0], torch.zeros(2, 2, 2))
    assert logits[1].abs().sum() > 0
    assert features[1].abs().sum() > 0
    assert all(p.grad is None for p in method.teacher.parameters())
    assert not method.prototypes.mean.requires_grad


def test_no_unsure_voxel_leaves_the_supervised_loss_and_all_of_them_the_mean_teacher():
    nothing = run(example(tau=1 / 3))
    assert nothing.loss.item() == nothing.logs["supervised"].item()
    everything = run(example(tau=1.1, separation_weight=0))
    assert everything.logs["consistency"].item() == pytest.approx(
        softmax_mse(STUDENT, TEACHER).item(), rel=1e-5
    )


@few
@given(seeds, classes, dims, st.floats(0, 1.1), st.floats(0, 1.1))
def test_a_higher_tau_never_removes_a_voxel(seed, k, dim, a, b):
    z = torch.randn((2, k, *[5] * dim), generator=torch.Generator().manual_seed(seed))
    low, high = (LowConfidence(lambda: Pointwise(dim, k), tau=tau) for tau in sorted((a, b)))
    assert not (low.unsure(z, z) & ~high.unsure(z, z)).any()
    assert not LowConfidence(lambda: Pointwise(dim, k), tau=0.99 / k).unsure(z, z).any()


@few
@given(seeds, st.sampled_from([(0.7, 0.881291), (0.8, 0.721928), (0.9, 0.468996), (0.95, 0.286397)]))
def test_with_two_classes_low_confidence_is_high_entropy(seed, pair):
    tau, bound = pair
    z = 2 * torch.randn((2, 2, 9, 9), generator=torch.Generator().manual_seed(seed))
    h = entropy_map(z.softmax(1), eps=0.0)
    clear = (h - bound).abs() > 1e-4
    unsure = LowConfidence(lambda: Pointwise(2, 2), tau=tau).unsure(z, z)
    assert torch.equal(unsure[clear], (h > bound)[clear])


@few
@given(seeds, st.floats(0.1, 10))
def test_separation_is_blind_to_the_length_of_features_and_counts_seen_classes_only(seed, scale):
    method = example()
    features = torch.randn((1, 2, 2, 2), generator=torch.Generator().manual_seed(seed))
    guess, everywhere = torch.tensor([[[0, 1], [1, 2]]]), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    loss = method.separate(features, guess, everywhere)
    torch.testing.assert_close(method.separate(scale * features, guess, everywhere), loss)
    method.prototypes.seen = torch.tensor([True, True, False])
    method.prototypes.mean[2] = 1e3
    fewer = method.separate(features, guess, everywhere)
    method.prototypes.mean[2] = 0
    torch.testing.assert_close(method.separate(features, guess, everywhere), fewer)
    method.prototypes.seen[:] = False
    assert method.separate(features, guess, everywhere).item() == 0


def test_separation_of_undecided_features_is_the_log_of_the_number_of_classes():
    method = example()
    method.prototypes.mean = torch.tensor([[1.0, 0], [1, 0], [1, 0]])
    loss = method.separate(
        torch.ones(1, 2, 2, 2), torch.zeros((1, 2, 2), dtype=torch.long), torch.ones(1, 1, 2, 2) > 0
    )
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)


@pytest.mark.parametrize("limit", [1, 3, 4, 0])
def test_only_unsure_voxels_are_drawn(limit):
    method = example(max_voxels=limit, separation="pull")
    unsure = torch.tensor([[[[True, False], [False, True]]]])
    features = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])[None]  # (1, 0) at the unsure ones
    loss = method.separate(features, torch.zeros((1, 2, 2), dtype=torch.long), unsure)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@few
@given(seeds, classes, dims)
def test_prototypes_have_length_1_and_follow_their_class(seed, k, dim):
    generator = torch.Generator().manual_seed(seed)
    prototypes, order = Prototypes(0.5), torch.randperm(k, generator=generator)
    permuted = Prototypes(0.5)
    for _ in range(3):
        features = torch.randn((2, 3, *[4] * dim), generator=generator)
        target, guess = (torch.randint(0, k, (2, *[4] * dim), generator=generator) for _ in range(2))
        prototypes.update(features, target, guess, k)
        permuted.update(features, order[target], order[guess], k)
    torch.testing.assert_close(prototypes.mean.norm(dim=1), torch.ones(k))
    assert prototypes.seen.all()
    torch.testing.assert_close(permuted.mean[order], prototypes.mean)


def test_prototypes_learn_from_correct_voxels_else_from_all_and_keep_what_is_absent():
    features = torch.tensor([[1.0, 0], [0, 1], [0, 3], [-1, 0]]).T.reshape(1, 2, 2, 2)
    target, guess = torch.tensor([[[0, 0], [1, 255]]]), torch.tensor([[[0, 1], [0, 1]]])
    prototypes = Prototypes(0.5)
    prototypes.update(features, target, guess, 3)
    assert torch.equal(prototypes.mean, torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    assert prototypes.seen.tolist() == [True, True, False]
    prototypes.update(features, torch.full_like(target, 2), torch.full_like(target, 0), 3)
    assert torch.equal(prototypes.mean[:2], torch.tensor([[1.0, 0], [0, 1]]))
    prototypes.update(torch.full_like(features, torch.nan), target, guess, 3)
    assert prototypes.mean.isfinite().all()


def test_prototypes_are_saved_with_the_method_whatever_the_size():
    trained = example()
    fresh = LowConfidence(lambda: Fixed(torch.zeros(2, 3, 2, 2), torch.zeros(2, 2, 2, 2)))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.prototypes.mean, trained.prototypes.mean)
    assert fresh.prototypes.seen.all()


def test_a_network_without_features_is_refused():
    method = LowConfidence(lambda: Fixed(torch.zeros(2, 3, 2, 2)))
    with pytest.raises(UsageError, match="feature map"):
        run(method)
