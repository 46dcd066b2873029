"""What the feedback, the student and the teacher must do for every input."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric

from semiseg import methods
from semiseg.core import Batch, Clock, Method
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy, dice_loss
from semiseg.methods.reciprocal import Reciprocal
from semiseg.training.update import Precision, iterate
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
measures = st.sampled_from(["gradient_product", "loss_difference"])
FABRIC = Fabric(accelerator="cpu", devices=1)


def make(seed: int, k: int, dim: int, **options: object) -> Reciprocal:
    torch.manual_seed(seed)
    return Reciprocal(lambda: Pointwise(dim, k), **options)


def once(method: Method, batch: Batch, lr: float, stage: str = "train") -> dict[str, float]:
    """One iteration of plain gradient descent; what it logs."""
    optimizers = {n: torch.optim.SGD(getattr(method, n).parameters(), lr) for n in method.trainable}
    precision = Precision("32", FABRIC.device)
    logs, finite = iterate(FABRIC, method, batch, optimizers, Clock(0, 10, stage), precision)
    assert finite
    return {name: value.item() for name, value in logs.items()}


def vector(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def labeled_loss(method: Reciprocal, batch: Batch) -> float:
    return cross_entropy(method.student(batch.x_l).logits, batch.y_l).item()


@few
@given(seeds, classes, dims)
def test_feedback_is_what_the_step_gains_on_labels(seed, k, dim):
    """Property 1: up to the square of the rate, for the gradient product; exactly, for the difference."""
    batch, errors = batches(dim, k, edge=6)(seed), []
    for lr in (0.2, 0.02):
        method = make(seed, k, dim)
        before = labeled_loss(method, batch)
        h = once(method, batch, lr)["feedback"]
        errors.append(abs(h - (before - labeled_loss(method, batch))))
        assert errors[-1] < lr**2 * 2 + 1e-6
        other = make(seed, k, dim, feedback="loss_difference")
        assert once(other, batch, lr)["feedback"] == pytest.approx(
            before - labeled_loss(other, batch), abs=1e-6
        )
    assert errors[1] < errors[0] / 10 + 1e-6


@few
@given(seeds, classes, dims)
def test_labels_that_are_the_pseudo_labels_give_praise(seed, k, dim):
    """Property 2."""
    method, batch = make(seed, k, dim), batches(dim, k, edge=6)(seed)
    x = batch.x_u["weak"]
    batch = Batch(x, method.teacher(x).logits.argmax(1), {"weak": x})
    cross_entropy(method.student(x).logits, batch.y_l).backward()
    norm = torch.cat([p.grad.flatten() for p in method.student.parameters()]).square().sum().item()
    assert once(method, batch, 1e-3)["feedback"] == pytest.approx(1e-3 * norm, rel=0.02, abs=1e-8)


@few
@given(seeds, classes, dims, measures)
def test_without_feedback_the_teacher_is_supervised(seed, k, dim, feedback):
    """Property 3, first half: a student that does not move has no feedback to give."""
    method, batch = make(seed, k, dim, feedback=feedback), batches(dim, k, edge=6)(seed)
    alone = make(seed, k, dim).teacher
    method.student.requires_grad_(False)
    method.student.head.bias.requires_grad_(True)
    optimizers = {
        "student": torch.optim.SGD([method.student.head.bias], 0.0),
        "teacher": torch.optim.SGD(method.teacher.parameters(), 0.1),
    }
    logs, _ = iterate(FABRIC, method, batch, optimizers, Clock(0, 10), Precision("32", FABRIC.device))
    assert logs["feedback"].item() == 0
    cross_entropy(alone(batch.x_l).logits, batch.y_l).backward()
    with torch.no_grad():
        for p in alone.parameters():
            p -= 0.1 * p.grad
    torch.testing.assert_close(vector(method.teacher), vector(alone))


@few
@given(seeds, classes, dims, measures)
def test_the_student_never_sees_a_label(seed, k, dim, feedback):
    """Property 3, second half, over several steps with the same teacher."""
    batch = batches(dim, k, edge=6)(seed)
    other = batch._replace(y_l=(batch.y_l + 1) % k)
    one, two = (make(seed, k, dim, feedback=feedback) for _ in range(2))
    for method, data in ((one, batch), (two, other)):
        once(method, data, 0.1)
    assert torch.equal(vector(one.student), vector(two.student))
    assert not torch.equal(vector(one.teacher), vector(two.teacher))


@few
@given(seeds, classes, dims, measures, st.floats(0.5, 4))
def test_scaling_the_loss_on_labels_scales_the_feedback(seed, k, dim, feedback, factor):
    """Property 4."""
    batch = batches(dim, k, edge=6)(seed)
    plain, scaled = (make(seed, k, dim, feedback=feedback) for _ in range(2))
    original = scaled.labeled
    scaled.labeled = lambda net, data: original(net, data) * (factor if net is scaled.student else 1.0)
    h, more = (once(method, batch, 0.1)["feedback"] for method in (plain, scaled))
    assert more == pytest.approx(factor * h, rel=1e-3, abs=2e-6)
    assert torch.equal(vector(plain.student), vector(scaled.student))


@few
@given(seeds, classes, dims, measures)
def test_each_network_moves_in_its_own_update_only(seed, k, dim, feedback):
    """Property 5."""
    method, batch = make(seed, k, dim, feedback=feedback), batches(dim, k, edge=6)(seed)
    seen = [(vector(method.student), vector(method.teacher))]
    stepped = []
    for update in method.step(batch, Clock(0, 10)):
        network = getattr(method, update.on)
        network.zero_grad()
        update.loss.backward()
        if update.step:
            stepped.append(update.on)
            with torch.no_grad():
                for p in network.parameters():
                    p -= 0.1 * p.grad
        seen.append((vector(method.student), vector(method.teacher)))
    assert stepped == ["student", "teacher"]
    students = [torch.equal(a[0], b[0]) for a, b in itertools.pairwise(seen)]
    teachers = [torch.equal(a[1], b[1]) for a, b in itertools.pairwise(seen)]
    assert students == [False] + [True] * (len(seen) - 2)
    assert teachers == [True] * (len(seen) - 2) + [False]


def test_the_teacher_is_trained_first_and_the_student_after_it():
    torch.manual_seed(0)
    method = Reciprocal(lambda: TinyNet(2, 3), pretrain_share=0.5)
    loop = loop_for(method, batches(2, 3), 8)
    student, moved = vector(method.student), []
    for _ in range(8):
        before = vector(method.student), vector(method.teacher)
        loop.iterate_once()
        moved.append(
            (
                not torch.equal(before[0], vector(method.student)),
                not torch.equal(before[1], vector(method.teacher)),
            )
        )
        if loop.step == 4:
            assert torch.equal(student, vector(method.student))
    assert moved == [(False, True)] * 4 + [(True, True)] * 4
    assert [s.name for s in Reciprocal(lambda: TinyNet(2, 3), pretrain_share=0.0).stages] == ["train"]
    assert [s.unlabeled for s in Reciprocal(lambda: TinyNet(2, 3)).stages] == [
        False,
        True,
    ]  # all of it labeled


def test_the_loss_is_compared_under_the_same_dropout():
    torch.manual_seed(0)
    method = Reciprocal(lambda: TinyNet(2, 3), feedback="loss_difference")
    batch = batches(2, 3)(0)
    state = torch.get_rng_state()
    one, two, three = method.measured(batch, 7), method.measured(batch, 7), method.measured(batch, 8)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(state, torch.get_rng_state())


def test_ranks_share_one_difference(monkeypatch):
    monkeypatch.setattr("semiseg.methods._bases.sum_over_ranks", lambda x: x + torch.tensor([5.0, 1.0]))
    method, batch = make(0, 3, 2, feedback="loss_difference"), batches(2, 3)(0)
    alone = labeled_loss(method, batch)
    h = once(method, batch, 0.1)["feedback"]
    gained = alone - labeled_loss(method, batch)
    assert h == pytest.approx((gained + 5) / 2, abs=1e-5)


def test_the_sum_of_both_losses_on_labels():
    method, batch = make(0, 3, 2, labeled_loss="ce_dice"), batches(2, 3)(0)
    logits = method.student(batch.x_l).logits
    expected = cross_entropy(logits, batch.y_l) + dice_loss(logits.softmax(1), batch.y_l)
    torch.testing.assert_close(method.labeled(method.student, batch), expected)


@pytest.mark.parametrize("options", [{"pretrain_share": 1.5}, {"feedback": "none"}, {"weight": 1.0}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("reciprocal"), options)


def test_a_student_without_iterations_is_refused():
    with pytest.raises(UsageError, match="pretrain"):
        make(0, 2, 2, pretrain_share=1.0)
