"""What ABD must do for every input, in both forms; the numbers are those of its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.abd import ABD, crossed
from semiseg.methods.abd_bcp import ABDBCP
from semiseg.methods.parts.displacement import displaced, grid_of, replace_sure, replace_unsure
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for

few = settings(max_examples=12, deadline=None)
seeds, dims, classes, tops = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4), st.integers(1, 5)
SIDE = 4


def drawn(seed: int, channels: int, dim: int, n: int = 3) -> Tensor:
    return 3 * torch.randn((n, channels, *[SIDE] * dim), generator=torch.Generator().manual_seed(seed))


def patches(x: Tensor) -> set[tuple[float, ...]]:
    """Of one image (C, *S), each as its values."""
    dim = x.ndim - 1
    for axis in range(1, dim + 1):
        x = x.unfold(axis, 2, 2)
    return {tuple(patch.flatten().tolist()) for patch in x.movedim(0, dim).flatten(0, dim - 1)}


@few
@given(seeds, dims, classes, tops)
def test_1_patches_come_from_one_of_the_views_and_one_of_each_is_replaced(seed, dim, k, top):
    first, second = drawn(seed, 2, dim), drawn(seed + 1, 2, dim)
    logits, grid = (drawn(seed + 2, k, dim), drawn(seed + 3, k, dim)), grid_of(first.shape[2:], 2)
    for moves in (
        replace_unsure(*logits, grid, top=top),
        replace_sure(*logits, grid, torch.ones(3, dtype=torch.bool)),
    ):
        for a, b, new_a, new_b in zip(first, second, *displaced(first, second, moves, grid), strict=True):
            known = patches(a) | patches(b)
            for old, new in ((a, new_a), (b, new_b)):
                assert patches(new) <= known
                assert len(patches(new) - patches(old)) <= 1
            assert len(patches(new_a) - patches(a)) == 1  # in the other view a patch may come back


@few
@given(seeds, dims, classes)
def test_2_without_a_coin_a_labeled_image_stays(seed, dim, k):
    x, grid = drawn(seed, 1, dim), grid_of([SIDE] * dim, 2)
    z = drawn(seed + 1, k, dim)
    moves = replace_sure(z, z, grid, torch.zeros(3, dtype=torch.bool))
    assert all(torch.equal(new, x) for new in displaced(x, x, moves, grid))
    moves = replace_unsure(z, z, grid, top=2)
    for old, new in zip(x, displaced(x, x, moves, grid)[0], strict=True):
        assert patches(new) <= patches(old)  # of the same image


@few
@given(seeds, dims, classes)
def test_3_labels_move_with_their_images(seed, dim, k):
    first, second = drawn(seed, 1, dim), drawn(seed + 1, 1, dim)
    logits, grid = (drawn(seed + 2, k, dim), drawn(seed + 3, k, dim)), grid_of(first.shape[2:], 2)
    moves = replace_sure(*logits, grid, torch.tensor([True, False, True]))
    images = displaced(first, second, moves, grid)
    labels = displaced((10 * first).long(), (10 * second).long(), moves, grid)
    for x, y in zip(images, labels, strict=True):
        assert torch.equal((10 * x).long(), y)


@few
@given(seeds, dims, classes)
def test_4_a_constant_of_all_logits_of_a_patch_changes_no_choice(seed, dim, k):
    one, two = drawn(seed, k, dim), drawn(seed + 1, k, dim)
    grid = grid_of(one.shape[2:], 2)
    shift = drawn(seed + 2, 1, dim)
    for x in (one, two):
        assert x.dtype == torch.float32
    plain, moved = (
        replace_unsure(a.double(), b.double(), grid, top=3)
        for a, b in ((one, two), (one + shift, two - shift))
    )
    assert all(torch.equal(p, m) for p, m in zip(plain, moved, strict=True))


@few
@given(seeds, dims, classes, st.sampled_from([ABD, ABDBCP]))
def test_5_each_loss_reaches_its_own_network_alone(seed, dim, k, kind):
    torch.manual_seed(seed)
    method = kind(lambda **choice: Pointwise(dim, k))
    batch = batches(dim, k, labeled=2, unlabeled=2, edge=4)(seed)
    first, second = method.step(batch, Clock(5, 10, "selftrain"))
    first.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net.parameters())
    assert all(p.grad is None for p in method.net2.parameters())
    second.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net2.parameters())


@few
@given(seeds, dims, classes)
def test_6_of_one_candidate_likeness_has_no_say(seed, dim, k):
    one, two = drawn(seed, k, dim), drawn(seed + 1, k, dim)
    grid = grid_of(one.shape[2:], 2)
    alone = replace_unsure(one, two, grid, top=1)
    never = replace_unsure(one, two, grid, top=4, near=torch.zeros(3, dtype=torch.bool))
    assert all(torch.equal(a, b) for a, b in zip(alone, never, strict=True))


# --- beyond the paper -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cells", "grid"), [((256, 256), 4, (4, 4)), ((112, 112, 81), 4, (4, 4, 3)), ((7, 8), 4, (1, 4))]
)
def test_the_grid_divides_the_image(size, cells, grid):
    assert grid_of(size, cells) == grid


def test_networks_that_agree_and_are_sure_have_nothing_to_learn():
    z = 40 * torch.nn.functional.one_hot(torch.randint(3, (2, 4, 4)), 3).movedim(-1, 1).float()
    assert all(loss < 1e-4 for loss in crossed([z, z.clone()]))


def test_displaced_labeled_images_are_left_out_after_two_thirds_of_a_run():
    method = ABD(lambda **choice: Pointwise(2, 3))
    asked: list[int] = []
    method.net.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    batch = batches(2, 3, labeled=2, unlabeled=3, edge=4)(0)
    for step, passes in ((20, [5, 4, 6]), (21, [5, 6])):
        asked.clear()
        list(method.step(batch, Clock(step, 30)))
        assert asked == passes


def test_both_networks_start_from_the_first_stage():
    torch.manual_seed(0)
    method = ABDBCP(lambda: TinyNet(2, 3), pretrain_share=0.5)
    loop = loop_for(method, batches(2, 3), 4)
    for _ in range(2):
        loop.iterate_once()
    pairs = list(zip(method.net.parameters(), method.net2.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)
    method.on_stage_start("selftrain")
    assert all(torch.equal(a, b) for a, b in pairs)
    alone = ABDBCP(lambda: TinyNet(2, 3), pretrain_share=0.0)
    alone.on_stage_start("selftrain")
    pairs = list(zip(alone.net.parameters(), alone.net2.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("options", [{"grid": 0}, {"top": 0}, {"displaced_weight": -1.0}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(ABD, options)
