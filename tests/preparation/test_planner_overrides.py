"""What a user asks for is taken, checked, and the rest follows."""

import pytest
from tests.factories import make_dataset

from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.preparation.plan import ChannelPlan, NetworkPlan, explain
from semiseg.preparation.planner import make_plan


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = make_dataset(tmp_path_factory.mktemp("data"), labeled=1, unlabeled=1, test=0, shape=(48, 40, 32))
    return Dataset.open(folder)


@pytest.fixture
def plan(dataset):
    return lambda **asked: make_plan(dataset, dataset.split(), **asked)


def test_spacing_changes_the_patch(plan):
    fine, coarse = plan(), plan(spacing=2)
    assert fine.patch == (48, 40, 32)
    assert coarse.spacing == (2, 2, 2)
    assert coarse.patch == (24, 20, 16)
    assert coarse.reasons["spacing"] == "as asked"
    assert plan(spacing=(1, None, 2.0)).spacing == (1, None, 2)


def test_patch_changes_the_strides(plan):
    assert plan(patch=(16, 16, 8)).network.divisor == (4, 4, 2)
    assert plan(patch=32).network.divisor == (8, 8, 8)
    assert plan(patch=36).network.divisor == (4, 4, 4)  # 36 / 8 is no whole number, a quarter will do


@pytest.mark.parametrize(("patch", "nearest"), [((50, 48, 32), "48,48,32"), ((31, 32, 32), "32,32,32")])
def test_indivisible_patch_names_the_nearest(plan, patch, nearest):
    with pytest.raises(UsageError) as caught:
        plan(patch=patch)
    assert "multiples of" in caught.value.message
    assert nearest in caught.value.hint
    assert plan(patch=tuple(map(int, nearest.split(",")))).patch  # and what it names works


def test_features_set_the_depth(plan):
    assert plan(features=(8, 16)).network.divisor == (2, 2, 2)
    deep = plan(features=[8, 16, 24, 32], patch=(32, 32, 32))
    assert deep.network.features == (8, 16, 24, 32)
    assert deep.network.divisor == (8, 8, 8)
    with pytest.raises(UsageError, match=r"5 stages, but a patch of 32x32x32 allows 4") as caught:
        plan(features=(8, 8, 8, 8, 8), patch=32)
    assert "at most 4" in caught.value.hint
    with pytest.raises(UsageError, match="allows"):
        plan(features=(8,) * 9)


def test_features_fix_the_divisor(plan):
    with pytest.raises(UsageError, match="multiples of 8x8x8"):
        plan(features=(8, 16, 24, 32), patch=36)


def test_dim_2_of_a_volume(plan):
    flat = plan(dim=2)
    assert (flat.dim, flat.axes, flat.spacing[0], len(flat.patch)) == (2, (2, 0, 1), None, 2)
    assert flat.reasons["dim"].startswith("as asked")
    assert plan(dim=2, spacing=0.5).spacing == (None, 0.5, 0.5)
    assert plan(dim=2, axes=(0, 1, 2), patch=(32, 16)).patch == (32, 16)


def test_network_can_be_named_or_given_whole(plan):
    assert plan(network="vnet").network.name == "vnet"
    given = NetworkPlan(features=(4, 8), strides=((1, 1, 1), (2, 2, 1)), kernels=((3, 3, 3), (3, 3, 1)))
    made = plan(network=given)
    assert made.network == given
    assert made.patch == (48, 40, 32)
    assert plan(network={"features": [4, 8]}).network.features == (4, 8)
    with pytest.raises(UsageError, match="multiples of 2x2x1"):
        plan(network=given, patch=(33, 32, 31))


def test_other_fields(plan):
    made = plan(
        batch=6, foreground=0.5, crop="nonzero", orientation="native", label_map={9: 1}, channels=["none"]
    )
    assert (made.batch, made.foreground, made.crop, made.orientation) == (6, 0.5, "nonzero", "native")
    assert made.label_map == {9: 1}
    assert made.channels == (ChannelPlan(name="MRI", scheme="none"),)
    assert plan(channels=[{"scheme": "ct", "p995": 4}]).channels[0].p995 == 4
    window = plan(channels=[{"scheme": "zscore", "clip": [-125, 275]}])
    assert window.channels[0].clip == (-125, 275)
    assert any("MRI: zscore within -125 to 275" in line for line in explain(window))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"pach": (8, 8, 8)}, "Did you mean 'patch'"),
        ({"dim": 4}, "wanted 2 or 3"),
        ({"spacing": (1, 1)}, "three numbers"),
        ({"spacing": (1, -1, 1)}, "above 0"),
        ({"spacing": float("nan")}, "above 0"),
        ({"spacing": 1e-9}, "would have"),
        ({"spacing": 1e9}, "would have"),
        ({"dim": 2, "spacing": (3, 1, 1)}, "two numbers"),
        ({"patch": (32, 32)}, "wanted 3 whole numbers"),
        ({"patch": (0, 32, 32)}, "wanted 3 whole numbers"),
        ({"batch": 0}, "whole number"),
        ({"features": (8, 0)}, "above 0"),
        ({"features": "many"}, "whole numbers"),
        ({"axes": (0, 1, 1)}, "an order of 0, 1, 2"),
        ({"orientation": "LPS"}, "orientation"),
        ({"crop": "tight"}, "crop"),
        ({"foreground": 2}, "foreground"),
        ({"channels": ["ct", "ct"]}, "wanted 1 schemes"),
        ({"channels": ["z"]}, "scheme"),
        ({"channels": [{"scheme": "zscore", "clip": [2, 1]}]}, "lower value first"),
        ({"network": {"depth": 4}}, "network setting 'depth'"),
        ({"strides": ((1, 1, 1), (2, 2))}, "stages of 3 axes"),
        ({"memory_gb": 0.5}, "smallest patch needs"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_so(plan, asked, says):
    with pytest.raises(UsageError) as caught:
        plan(**asked)
    assert says in f"{caught.value.message} {caught.value.hint}"
