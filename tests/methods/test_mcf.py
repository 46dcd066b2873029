"""What MCF must do for every input; the numbers are those of its checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock
from semiseg.errors import UsageError
from semiseg.methods.mcf import MCF, rectify
from tests.methods.answers import Fixed, Pointwise
from tests.methods.tiny import TinyNet

few = settings(max_examples=10, deadline=None)
seeds, dims, counts, sizes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4), st.integers(1, 3)
END = Clock(10, 10)


def logits(seed: int, k: int, dim: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((n, k, *[4] * dim), generator=generator)


def a_batch(seed: int, k: int, dim: int, bl: int, bu: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(k, (bl, *[4] * dim), generator=generator)
    x = torch.randn((bl + bu, 1, *[4] * dim), generator=generator)
    return Batch(x[:bl], y, {"weak": x[bl:]})


def with_answers(*z: torch.Tensor, **options) -> MCF:
    left = iter(z)
    return MCF(lambda **choice: Fixed(next(left)), **{"weight": 1.0, **options})


def run(method: MCF, batch: Batch):
    return list(method.step(batch, END))


# --- 1: agreement ---------------------------------------------------------------------------------


@few
@given(seeds, dims, counts, sizes, sizes)
def test_1_where_both_say_the_same_nothing_is_corrected_and_the_second_wins(seed, dim, k, bl, bu):
    z, batch = logits(seed, k, dim, bl + bu), a_batch(seed, k, dim, bl, bu)
    method = with_answers(z, z)
    first, second = run(method, batch)
    assert not method.differ(z[:bl], z[:bl], batch.y_l).any()
    assert first.logs["rectification"] == second.logs["rectification2"] == 0
    assert (first.logs["won"], second.logs["won2"]) == (0, 1)


# --- 2: the winner learns from labels alone -------------------------------------------------------


@few
@given(seeds, dims, counts, sizes, sizes, st.sampled_from(["batch", "image"]))
def test_2_only_the_loser_learns_from_unlabeled_scans(seed, dim, k, bl, bu, competition):
    one, two = (logits(seed + i, k, dim, bl + bu) for i in range(2))
    method = with_answers(one, two, competition=competition)
    updates = run(method, a_batch(seed, k, dim, bl, bu))
    assert updates[0].logs["won"] + updates[1].logs["won2"] == 1
    for update, number in zip(updates, ["", "2"], strict=True):
        update.loss.backward()
        gradient = getattr(method, update.on).logits.grad[bl:]
        assert (gradient == 0).all() == bool(update.logs[f"won{number}"])


def test_2_a_loser_that_already_says_what_is_taught_stays():
    z = torch.zeros(2, 2, 4, 4)
    z[:, 1, :2] = 60.0  # so sure that sharpening changes nothing
    z[:, 0, 2:] = 60.0
    batch = Batch(torch.zeros(1, 1, 4, 4), z[:1].argmax(1), {"weak": torch.zeros(1, 1, 4, 4)})
    method = with_answers(z, z)
    first, _ = run(method, batch)
    first.loss.backward()
    assert method.net.logits.grad[1:].abs().max() < 1e-12


# --- 3: the order of the networks -----------------------------------------------------------------


@few
@given(seeds, dims, counts, sizes, sizes)
def test_3_swapping_the_networks_swaps_the_losses(seed, dim, k, bl, bu):
    one, two = (logits(seed + i, k, dim, bl + bu) for i in range(2))
    batch = a_batch(seed, k, dim, bl, bu)
    there, back = run(with_answers(one, two), batch), run(with_answers(two, one), batch)
    torch.testing.assert_close([u.loss for u in there], [u.loss for u in reversed(back)])


# --- 4: what is taught ----------------------------------------------------------------------------


@few
@given(seeds, dims, counts, st.floats(0.05, 1.0))
def test_4_sharpened_probabilities_keep_their_order_and_grow_surer(seed, dim, k, temperature):
    z = logits(seed, k, dim, 2)
    p, q = z.softmax(1), with_answers(z, z, temperature=temperature).sharpened(z)
    torch.testing.assert_close(q.sum(1), torch.ones_like(q[:, 0]))
    assert (q.gather(1, p.argmax(1, keepdim=True)) == q.amax(1, keepdim=True)).all()
    assert (q.amax(1) >= p.amax(1) - 1e-6).all()


# --- 5: classes are only names --------------------------------------------------------------------


@few
@given(seeds, dims, sizes)
def test_5_renaming_the_classes_changes_neither_mask_nor_correction(seed, dim, n):
    one, two = (logits(seed + i, 2, dim, n) for i in range(2))
    y = a_batch(seed, 2, dim, n, 1).y_l
    method = with_answers(one, two)
    mask = method.differ(one, two, y)
    assert torch.equal(mask, method.differ(one.flip(1), two.flip(1), 1 - y))
    torch.testing.assert_close(rectify(one, y, mask), rectify(one.flip(1), 1 - y, mask))


# --- beyond the paper -----------------------------------------------------------------------------


@few
@given(seeds, dims)
def test_for_two_classes_the_correction_is_that_of_the_foreground(seed, dim):
    z, y = logits(seed, 2, dim, 2), a_batch(seed, 2, dim, 2, 1).y_l
    mask = torch.rand(y.shape) < 0.5
    wanted = (z.softmax(1)[:, 1] - y)[mask].square().mean() if mask.any() else torch.tensor(0.0)
    torch.testing.assert_close(rectify(z, y, mask), wanted)


@few
@given(seeds, dims)
def test_unknown_voxels_are_neither_compared_nor_corrected(seed, dim):
    z, y = logits(seed, 3, dim, 2), a_batch(seed, 3, dim, 2, 1).y_l
    y[:, 0] = IGNORE
    method = with_answers(z, z)
    mask = method.differ(z, z.flip(1), y)
    assert not mask[:, 0].any()
    changed = z.clone()
    changed[:, :, 0] = 0.0
    torch.testing.assert_close(rectify(z, y, mask), rectify(changed, y, mask))


def test_an_absent_class_has_no_say_in_the_competition():
    y = torch.zeros(1, 4, 4, dtype=torch.long)
    y[:, :2] = 1
    good = torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    bad = good.roll(2, dims=2)
    with_third = good.clone()
    with_third[:, 2, 3] = 0.9  # it alone speaks of class 2, which is nowhere
    method = with_answers(good, good)
    assert method.first_wins(6 * with_third, 6 * bad, y)
    assert not method.first_wins(6 * bad, 6 * with_third, y)
    empty = torch.zeros_like(y)  # no foreground at all: who sees less of it wins
    quiet, loud = torch.zeros(2, 1, 3, 4, 4)
    quiet[:, 0] = 6.0
    assert method.first_wins(quiet, loud, empty)


def test_the_competition_by_images_can_end_otherwise_than_by_batch():
    """A large structure outweighs a small one in the batch, not among images."""
    y = torch.zeros(2, 8, 8, dtype=torch.long)
    y[0] = 1
    y[1, 0, :2] = 1
    right = 20.0 * torch.stack([1 - y, y], 1).float()
    one, two = right.clone(), right.clone()
    one[1, :, 0] = right[1, :, 7]  # the small one is missed
    two[0, :, :2] = right[0, :, :2].flip(0)  # a quarter of the large one is missed
    batch, image = (with_answers(one, two, competition=c) for c in ("batch", "image"))
    assert batch.first_wins(one, two, y)
    assert not image.first_wins(one, two, y)


def test_without_weights_they_are_two_supervised_trainings():
    torch.manual_seed(0)
    method = MCF(lambda **choice: Pointwise(2, 3), weight=0.0, beta=0.0)
    batch = a_batch(0, 3, 2, 2, 2)
    for update in run(method, batch):
        network = getattr(method, update.on)
        alone = method.supervised(network(batch.x_l).logits, batch.y_l)
        assert update.loss.item() == pytest.approx(alone.item(), rel=1e-5)


def test_the_partner_is_another_network_with_its_own_options():
    asked = []

    def make_net(**choice):
        asked.append(choice)
        return TinyNet(2, 3)

    MCF(make_net)
    MCF(make_net, partner="unet", partner_options={"residual": True})
    assert asked == [{}, {"network": "resvnet"}, {}, {"network": "unet", "residual": True}]


def test_both_predict_together():
    method = MCF(lambda **choice: Pointwise(2, 3)).eval()
    x = torch.randn(1, 1, 4, 4)
    mean = (method.net(x).logits.softmax(1) + method.net2(x).logits.softmax(1)) / 2
    torch.testing.assert_close(getattr(method, method.predictor)(x).logits.softmax(1), mean)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"beta": -1.0},
        {"competition": "voxel"},
        {"partner": 3},
        {"predict_with": "both"},
    ],
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(MCF, options)
