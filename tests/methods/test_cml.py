"""What CML must do for every input; the numbers are those of its checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from semiseg import methods, networks
from semiseg.core import Batch, Clock, SegOutput
from semiseg.errors import UsageError
from semiseg.methods.cml import CML, exchange, feature_discrepancy, other_upsampling
from semiseg.methods.parts.mixing import draw_mask, groups, half
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for, make

few = settings(max_examples=10, deadline=None)
seeds, dims, counts, sizes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4), st.integers(1, 5)
SELF, PRE = Clock(3, 10, "selftrain"), Clock(3, 10, "pretrain")


class Seeing(nn.Module):
    """Each voxel by itself, with its features as the deepest level; keeps what it was asked."""

    widths = (4,)

    def __init__(self, dim: int = 2, k: int = 3) -> None:
        super().__init__()
        self.network, self.asked = Pointwise(dim, k), []

    def forward(self, x: Tensor) -> SegOutput:
        self.asked.append(x.detach().clone())
        answer = self.network(x)
        return answer._replace(levels=(answer.features,))


def built(seed: int = 0, dim: int = 2, k: int = 3, **options) -> CML:
    torch.manual_seed(seed)
    return CML(lambda **choice: Seeing(dim, k), **options)


def run(method: CML, batch: Batch, seed: int, t: Clock = SELF):
    torch.manual_seed(seed)
    return list(method.step(batch, t))


def a_batch(seed: int, dim: int, k: int, labeled: int, unlabeled: int) -> Batch:
    return batches(dim, k, labeled=labeled, unlabeled=unlabeled, edge=6)(seed)


# --- 1: the discrepancy ---------------------------------------------------------------------------


@few
@given(seeds, dims, st.floats(0.01, 100.0))
def test_1_discrepancy_is_an_angle(seed, dim, scale):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn((2, 5, *[3] * dim), generator=generator) for _ in range(2))
    factor = scale * (0.1 + torch.rand((2, 1, *[3] * dim), generator=generator))
    assert feature_discrepancy(a, a).item() == pytest.approx(2.0, abs=1e-5)
    assert feature_discrepancy(a, -a).item() == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(feature_discrepancy(factor * a, b), feature_discrepancy(a, b))
    torch.testing.assert_close(feature_discrepancy(a, factor * b), feature_discrepancy(a, b))
    a.requires_grad_()
    b.requires_grad_()
    feature_discrepancy(a, b).backward()
    assert b.grad is None
    assert (a.grad * a).sum(1).abs().max() < 1e-6


def test_1_a_position_without_length_is_a_right_angle_and_its_gradient_stays_small():
    a = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = feature_discrepancy(a, torch.randn(1, 3, 4, 4))
    loss.backward()
    assert loss.item() == 1.0
    assert a.grad.abs().max() < 1.0


# --- 2 and 4: the targets -------------------------------------------------------------------------


@few
@given(seeds, dims, counts, sizes)
def test_2_where_the_networks_agree_the_targets_are_their_labels_pasted(seed, dim, k, n):
    generator = torch.Generator().manual_seed(seed)
    p = torch.randint(k, (n, *[6] * dim), generator=generator)
    mask = draw_mask(p.shape[1:], 0.5)
    first, second = exchange(p, p, mask)
    assert torch.equal(first, second)
    assert torch.equal(first, torch.where(mask, *groups(p, half(n))))


@few
@given(seeds, dims, sizes)
def test_4_outside_of_the_box_each_learns_from_the_other_and_inside_from_itself(seed, dim, n):
    p, q = torch.zeros((n, *[6] * dim)).long(), torch.ones((n, *[6] * dim)).long()
    torch.manual_seed(seed)
    mask = draw_mask(p.shape[1:], 0.5)
    first, second = exchange(p, q, mask)
    assert (first[:, mask] == 1).all()
    assert (first[:, ~mask] == 0).all()
    assert torch.equal(second, 1 - first)


# --- 3: the order of the networks -----------------------------------------------------------------


@few
@given(seeds, dims, counts, sizes, sizes)
def test_3_swapping_the_networks_swaps_the_losses(seed, dim, k, bl, bu):
    method, batch = built(seed, dim, k), a_batch(seed, dim, k, bl, bu)
    there = run(method, batch, seed)
    method.net, method.net2 = method.net2, method.net
    back = run(method, batch, seed)
    torch.testing.assert_close([u.loss for u in there], [u.loss for u in reversed(back)])
    torch.testing.assert_close(sum(u.loss for u in there), sum(u.loss for u in back))


# --- 5: independence ------------------------------------------------------------------------------


@few
@given(seeds, dims, counts, st.sampled_from([SELF, PRE]))
def test_5_without_discrepancy_and_unlabeled_term_neither_network_matters_to_the_other(seed, dim, k, t):
    method = built(seed, dim, k, discrepancy_weight=0.0, unlabeled_weight=0.0)
    batch, losses = a_batch(seed, dim, k, 4, 4), []
    for shift in (0.0, 5.0):
        with torch.no_grad():
            method.net2.network.head.bias[1] += shift
        method.net.zero_grad()
        first, _ = run(method, batch, seed, t)
        first.loss.backward()
        losses.append([p.grad.clone() for p in method.net.parameters()])
    torch.testing.assert_close(*losses)


@few
@given(seeds, dims, counts)
def test_no_loss_of_one_network_reaches_the_other(seed, dim, k):
    method = built(seed, dim, k)
    first, second = run(method, a_batch(seed, dim, k, 2, 2), seed)
    first.loss.backward()
    assert all(p.grad is None for p in method.net2.parameters())
    method.net.zero_grad()
    second.loss.backward()
    assert all(p.grad is None for p in method.net.parameters())


# --- the step -------------------------------------------------------------------------------------


@few
@given(seeds, dims, sizes, sizes)
def test_images_are_pasted_in_halves_and_every_one_takes_part(seed, dim, bl, bu):
    method, batch = built(seed, dim), a_batch(seed, dim, 3, bl, bu)
    run(method, batch, seed)
    torch.manual_seed(seed)
    masks = [draw_mask(batch.x_l.shape[2:], 2 / 3) for _ in range(2)]
    for network in (method.net, method.net2):
        labeled, plain, unlabeled = network.asked
        assert torch.equal(plain, batch.x_u["weak"])
        for x, mask, seen in ((batch.x_l, masks[0], labeled), (plain, masks[1], unlabeled)):
            assert torch.equal(seen, torch.where(mask, *groups(x, half(len(x)))))


def test_the_first_stage_has_labeled_images_alone():
    method = built()
    (first, second) = run(method, a_batch(0, 2, 3, 4, 4), 0, PRE)
    assert len(method.net.asked) == len(method.net2.asked) == 1
    assert set(first.logs) == {"labeled", "discrepancy"}
    assert set(second.logs) == {"labeled2", "discrepancy2"}


def test_pseudo_labels_are_cleaned_if_wanted():
    x = torch.zeros(1, 1, 6, 6)
    x[..., 0, 0] = x[..., 3:, 3:] = 9.0  # two parts
    counts = []
    for wanted in (False, True):
        method = built(k=2, largest_component=wanted)
        for network in (method.net, method.net2):
            with torch.no_grad():
                network.network.body.weight.fill_(1.0)
                network.network.body.bias.fill_(-4.0)
                network.network.head.weight[0], network.network.head.weight[1] = -1.0, 1.0
                network.network.head.bias.zero_()
        counts.append([int(labels.sum()) for labels in method.pseudo_labels(x)])
    assert counts == [[10, 10], [9, 9]]


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dim", "options", "up"),
    [
        ("vnet", 3, {}, "linear"),
        ("vnet", 3, {"up": "linear"}, "transposed"),
        ("unet2d", 2, {}, "transposed"),
        ("unet", 2, {}, "linear"),
        ("unet3d", 3, {}, "nearest"),
        ("denseunet", 2, {}, None),
    ],
)
def test_the_second_network_has_other_up_sampling(name, dim, options, up):
    with torch.device("meta"):
        make_net = networks.Factory(name, dim=dim, in_channels=1, classes=2, options=options)
        assert other_upsampling(make_net()) == up
        method = CML(make_net)
    assert method.net2.described["options"] == ({"up": up} if up else options)
    assert bool(method.deviations) == (up is None)


def test_a_network_without_levels_is_refused():
    with pytest.raises(UsageError, match="deepest features") as caught:
        CML(lambda **choice: Pointwise(2, 3))
    assert "levels" in (caught.value.hint or "")


def test_one_network_in_both_roles_is_an_option_that_says_so():
    method = make("cml", 2, 3, shared=True)
    assert method.net is method.net2
    assert (method.trainable, method.predictor) == (("net",), "net")
    assert len(method.deviations) == 1
    torch.manual_seed(0)
    (update,) = method.step(batches(2, 3)(0), SELF)
    assert update.logs["unlabeled"] != update.logs["unlabeled2"]  # dropout differs
    loop_for(method, batches(2, 3), 3).run()


def test_published_values_are_the_defaults():
    method = built()
    assert (method.labeled_weight, method.unlabeled_weight, method.discrepancy_weight) == (1.0, 1.0, 0.2)
    assert (method.ratio, method.connectivity) == (2 / 3, "corners")
    pretrain, selftrain = method.stages
    assert round(17000 * pretrain.share) == 2000
    assert (pretrain.constant_lr, selftrain.constant_lr) == (True, False)
    assert (pretrain.start_from, selftrain.start_from) == ("last", "best")


def test_the_average_of_both_is_exported():
    method = CML(lambda **choice: TinyNet(2, 3)).eval()
    x = torch.randn(1, 1, 6, 6)
    mean = (method.net(x).logits.softmax(1) + method.net2(x).logits.softmax(1)) / 2
    torch.testing.assert_close(getattr(method, method.predictor)(x).logits.softmax(1), mean)


@pytest.mark.parametrize(
    "options", [{"ratio": 1.5}, {"pretrain_share": -0.1}, {"connectivity": "6"}, {"up": "linear"}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(CML, options)
