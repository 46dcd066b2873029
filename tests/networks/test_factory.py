"""Fresh networks of the run's kind, changed, or of another kind, each of which can be built again."""

from __future__ import annotations

import copy

import pytest

from semiseg import networks
from semiseg.errors import UsageError

MAKE = networks.Factory("vnet", dim=2, in_channels=2, classes=3, options={"filters": 2})


def test_the_run_s_network() -> None:
    first, second = MAKE(), MAKE(heads={"sdf": 2})
    assert type(first).__name__ == "VNet"
    assert first.widths == (32, 16, 8, 4, 2)
    assert (first.dim, first.in_channels, first.classes) == (2, 2, 3)
    assert list(second.heads) == ["sdf"]
    assert first.described == second.described == {"name": "vnet", "options": {"filters": 2}}
    assert "described" not in first.state_dict()


def test_a_changed_option_leaves_the_others() -> None:
    net = MAKE(has_dropout=False)
    assert net.described == {"name": "vnet", "options": {"filters": 2, "has_dropout": False}}
    assert MAKE.options == {"filters": 2}


def test_another_network_for_the_same_images_has_only_the_options_given() -> None:
    net = MAKE(network="resvnet", filters=3)
    assert type(net).__name__ == "ResVNet"
    assert (net.dim, net.in_channels, net.classes) == (2, 2, 3)
    assert net.described == {"name": "resvnet", "options": {"filters": 3}}
    assert MAKE(network="unet2d").described == {"name": "unet2d", "options": {}}
    assert copy.deepcopy(net).described == net.described


@pytest.mark.parametrize(
    ("choice", "word"), [({"network": "resnet"}, "resvnet"), ({"network": "resvnet", "filter": 2}, "filters")]
)
def test_what_does_not_exist_is_refused_with_the_nearest(choice: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        MAKE(**choice)
    assert word in f"{caught.value} {caught.value.hint}"
