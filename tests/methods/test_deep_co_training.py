"""What consistency under rotation must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.losses import softmax_mse
from semiseg.methods.deep_co_training import DeepCoTraining, draw_turn
from semiseg.methods.parts.transforms import turns
from tests.methods.answers import Pointwise
from tests.methods.tiny import batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def draw(seed: int, k: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn((2, k, *shape), generator=torch.Generator().manual_seed(seed))


@few
@given(seeds, classes, dims)
def test_a_network_that_turns_along_costs_nothing(seed, k, dim):
    torch.manual_seed(seed)
    method = DeepCoTraining(lambda: Pointwise(dim, k), weight=1.0)
    (update,) = method.step(batches(dim, k, edge=4)(seed), Clock(10, 10))
    assert update.logs["consistency"].item() < 1e-10


@few
@given(seeds, classes, dims, st.integers(0, 3))
def test_turning_both_predictions_changes_nothing(seed, k, dim, times):
    method = DeepCoTraining(lambda: Pointwise(dim, k))
    z, turned = draw(seed, k, (4,) * dim), draw(seed + 1, k, (4,) * dim)
    turn = turns(dim, times)
    torch.testing.assert_close(
        method.consistency(turn.apply(z), turn.apply(turned)), method.consistency(z, turned)
    )


@few
@given(seeds, classes, dims)
def test_it_is_the_squared_error_with_half_its_gradient(seed, k, dim):
    method = DeepCoTraining(lambda: Pointwise(dim, k))
    ours = [draw(seed + i, k, (4,) * dim).requires_grad_() for i in range(2)]
    whole = [z.detach().clone().requires_grad_() for z in ours]
    loss, plain = method.consistency(*ours), softmax_mse(*whole)
    torch.testing.assert_close(loss, plain)
    loss.backward()
    plain.backward()
    for mine, theirs in zip(ours, whole, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad / 2)


@pytest.mark.parametrize(
    ("shape", "plane"), [((4, 4), (2, 3)), ((4, 6), (2, 3)), ((4, 4, 6), (2, 3)), ((4, 6, 6), (2, 3))]
)
def test_turns_keep_the_shape_and_all_of_them_come(shape, plane):
    x = draw(0, 1, shape)
    torch.manual_seed(0)
    drawn = {draw_turn(x).apply(x) for _ in range(60)}
    assert all(y.shape == x.shape for y in drawn)
    wanted = [y for times in range(4) if (y := torch.rot90(x, times, plane)).shape == x.shape]
    found = [any(torch.equal(y, z) for z in drawn) for y in wanted]
    assert all(found)
    assert len(wanted) == (4 if shape[0] == shape[1] else 2)


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"ramp": 0}, {"turn": 1}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("deep_co_training"), options)
