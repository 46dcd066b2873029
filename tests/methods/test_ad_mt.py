"""What AD-MT must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.ad_mt import agree, overruled
from semiseg.methods.parts.cutmix import Taught
from tests.methods.tiny import TinyNet, batches, loop_for, make

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def draw(seed: int, k: int, dim: int) -> torch.Tensor:
    return 2 * torch.randn((2, k, *[5] * dim), generator=torch.Generator().manual_seed(seed))


@few
@given(seeds, classes, dims)
def test_equal_teachers_agree_and_the_student_has_no_say(seed, k, dim):
    z, student = draw(seed, k, dim), Taught.of(3 * draw(seed + 1, k, dim))
    vote, conflict = agree(z, z)
    assert not conflict.any()
    torch.testing.assert_close(vote, Taught.of(z))
    assert torch.equal(overruled(vote, conflict, student).classes, vote.classes)


@few
@given(seeds, classes, dims)
def test_the_vote_does_not_depend_on_the_order_of_the_teachers(seed, k, dim):
    first, second = draw(seed, k, dim), draw(seed + 1, k, dim)
    (one, k1), (two, k2) = agree(first, second), agree(second, first)
    torch.testing.assert_close(one.confidence, two.confidence)
    assert torch.equal(one.classes, two.classes)
    assert torch.equal(k1, k2)


@few
@given(seeds, classes, dims)
def test_the_student_only_raises_confidence_and_only_where_teachers_disagree(seed, k, dim):
    vote, conflict = agree(draw(seed, k, dim), draw(seed + 1, k, dim))
    fought = overruled(vote, conflict, Taught.of(draw(seed + 2, k, dim)))
    assert (fought.confidence >= vote.confidence).all()
    changed = fought.classes != vote.classes
    assert not changed[~conflict].any()


@pytest.mark.parametrize("dim", [2, 3])
def test_exactly_one_teacher_changes_in_a_step(dim):
    method = make("ad_mt", dim, 3)
    loop = loop_for(method, batches(dim, 3, edge=8), 12)
    for step in range(12):
        before = [{key: v.clone() for key, v in t.state_dict().items()} for t in method.teachers]
        loop.iterate_once()
        same = [
            all(torch.equal(v, old[key]) for key, v in t.state_dict().items())
            for t, old in zip(method.teachers, before, strict=True)
        ]
        assert same == [method.turns.at(step) == 1, method.turns.at(step) == 0]


def test_a_copy_at_first_and_then_an_average():
    method = make("ad_mt", 2, 3, ema_warmup=3, longest_turn=100)
    loop = loop_for(method, batches(2, 3), 6)
    equal = []
    for _ in range(6):
        loop.iterate_once()
        pairs = zip(method.teacher.parameters(), method.net.parameters(), strict=True)
        equal.append(all(torch.equal(a, b) for a, b in pairs))
    assert equal == [True, True, True, True, True, False]  # (k - 3) // 2 = 1 at k = 5


def test_the_students_own_answer_has_no_gradient_with_and_without_batch_norm():
    class NoNorm(TinyNet):
        def __init__(self, *args):
            super().__init__(*args)
            self.body[1] = self.deep[1] = torch.nn.Identity()

    for net, sizes in ((TinyNet, [3 + 2 + 3]), (NoNorm, [3, 3 + 2])):
        method = methods.find("ad_mt")(lambda net=net: net(2, 3), tau=0.4)
        seen, logits = [], []

        def note(_, x, y, seen=seen, logits=logits):
            seen.append(len(x[0]))
            if y.logits.requires_grad:
                y.logits.retain_grad()
                logits.append(y.logits)

        method.net.register_forward_hook(note)
        (update,) = method.step(batches(2, 3)(0), Clock(5, 10))
        update.loss.backward()
        assert seen == sizes
        if net is TinyNet:
            assert not logits[0].grad[2:5].any()
            assert logits[0].grad[5:].any()


def test_nothing_sure_costs_nothing():
    for loss in ("ce", "dice"):
        method = make("ad_mt", 2, 3, tau=1.0, unlabeled_loss=loss)
        (update,) = method.step(batches(2, 3)(0), Clock(9, 10))
        assert update.logs["consistency"].item() == pytest.approx(0, abs=1e-6)


def test_teachers_begin_as_asked():
    at_random, copies = make("ad_mt", 2, 3), make("ad_mt", 2, 3, teachers="student")
    assert not torch.equal(at_random.teacher.head.weight, at_random.net.head.weight)
    assert torch.equal(copies.teacher2.head.weight, copies.net.head.weight)


@pytest.mark.parametrize("options", [{"longest_turn": 0}, {"tau": 2.0}, {"student_vote": "mixed"}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("ad_mt"), options)
