"""Further decoders on one encoder: what they share, what they see, and what is left of them."""

from __future__ import annotations

import functools

import pytest
import torch
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet

from semiseg import networks
from semiseg.errors import UsageError
from semiseg.methods.parts.branches import Branches, all_logits, different_decoders
from semiseg.methods.urpc import Pyramid

SPLIT = ["denseunet", "unet", "unet2d", "unet3d", "vnet", "vnet2016"]


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("dim", [2, 3])
def test_every_network_of_ours_can_lose_its_encoder(name, dim):
    with torch.device("meta"):
        plain = networks.build(name, dim=dim, in_channels=1, classes=3)
        branches = Branches(plain, [networks.build(name, dim=dim, in_channels=1, classes=3)], "test")
        main, other = all_logits(branches(torch.empty(2, 1, *[64] * dim)))
    assert main.shape == other.shape == (2, 3, *[64] * dim)
    encoder = {k for k in plain.state_dict() if k.split(".")[0] in plain.encoder_parts}
    left = set(branches.decoders[0].state_dict())
    assert encoder
    assert left
    assert left.isdisjoint(encoder)
    assert left | encoder == set(plain.state_dict())


@pytest.mark.parametrize("dim", [2, 3])
def test_without_disturbance_equal_weights_give_equal_logits(dim):
    torch.manual_seed(0)
    make_net = functools.partial(
        networks.build, "unet", dim=dim, in_channels=1, classes=3, features=(4, 8, 8)
    )
    main, other = make_net(), make_net()
    other.load_state_dict(main.state_dict())
    x = torch.randn(2, 1, *[8] * dim)
    expected = main(x)
    branches = Branches(main, [other], "test")
    answer = branches(x)
    torch.testing.assert_close(all_logits(answer), [expected.logits] * 2)
    torch.testing.assert_close(answer.levels, expected.levels)


def test_every_map_is_disturbed_for_the_branches_only():
    torch.manual_seed(0)
    main, seen = TinyNet(2, 3).eval(), []
    x = torch.randn(2, 1, 8, 8)

    def zero(m):
        seen.append(m.shape[1])
        return 0 * m

    answer = Branches(main, [TinyNet(2, 3).eval()], "test", [zero])(x)
    assert seen == [8, 6]
    torch.testing.assert_close(answer.logits, main(x).logits)
    (other,) = answer.heads.values()
    assert (other.flatten(2).std(2) < 1e-6).all()


@pytest.mark.parametrize(
    ("name", "dim", "kinds"),
    [
        ("unet", 3, ["transposed", "linear", "nearest"]),
        ("unet2d", 2, ["linear", "transposed", "nearest", "cubic"]),
        ("unet2d", 3, ["linear", "transposed", "nearest"]),
        ("unet3d", 3, ["linear", "nearest"]),
        ("vnet", 3, ["transposed", "linear", "nearest"]),
        ("vnet2016", 3, []),
    ],
)
def test_decoders_differ_as_far_as_the_network_knows_ways(name, dim, kinds):
    with torch.device("meta"):
        make_net = functools.partial(networks.build, name, dim=dim, in_channels=1, classes=2)
        assert list(make_net().upsamplings) == kinds
        for first in kinds:
            net = make_net(up=first)
            others = different_decoders(functools.partial(make_net, up=first), net, 4)
            found = [other.upsamplings[0] for other in others]
            assert found[: len(kinds) - 1] == [kind for kind in kinds if kind != first]
            assert set(found[len(kinds) - 1 :]) == {first}
            assert all(net(torch.empty(2, 1, *[32] * dim)).logits.shape[2:] == (32,) * dim for net in others)
        assert len(different_decoders(make_net, make_net(), 2)) == 2


@pytest.mark.parametrize("name", ["unet", "unet2d", "unet3d", "vnet"])
def test_no_other_up_sampling(name):
    with pytest.raises(UsageError, match="up"):
        networks.build(name, dim=3, in_channels=1, classes=2, up="cubic")


def test_a_network_in_one_piece_is_refused():
    with pytest.raises(UsageError, match="not split") as caught:
        Branches(Pointwise(2, 3), [], "test")
    assert "semiseg networks" in caught.value.hint


@pytest.mark.parametrize(("dim", "scales"), [(2, 4), (3, 4), (2, 2)])
def test_a_pyramid_predicts_from_the_finest_levels(dim, scales):
    torch.manual_seed(0)
    net = networks.build("unet", dim=dim, in_channels=1, classes=3, features=(2, 3, 4, 5, 6))
    seen = []

    def look(level):
        seen.append(tuple(level.shape[1:3]))
        return level

    pyramid = Pyramid(net, scales, [look], "test")
    answer = pyramid(torch.randn(2, 1, *[32] * dim))
    assert seen == [(5, 4), (4, 8), (3, 16)][4 - scales :]
    assert {z.shape for z in all_logits(answer)} == {(2, 3, *[32] * dim)}
    pyramid.eval()(torch.randn(2, 1, *[32] * dim))
    assert len(seen) == scales - 1  # nothing is disturbed in eval mode


def test_a_pyramid_of_a_network_with_two_levels_has_two_scales():
    pyramid = Pyramid(TinyNet(2, 3), 4, [torch.relu], "test")
    assert len(all_logits(pyramid(torch.randn(2, 1, 8, 8)))) == 2


def test_a_network_without_levels_is_refused():
    with pytest.raises(UsageError, match="levels") as caught:
        Pyramid(Pointwise(2, 3), 4, [torch.relu], "test")
    assert "semiseg networks" in caught.value.hint
