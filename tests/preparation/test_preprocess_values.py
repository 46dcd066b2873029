"""Label values, normalization and resampling: what happens to numbers."""

import numpy as np
import pytest

from semiseg import images
from semiseg.errors import DataError
from semiseg.images.grid import Grid
from semiseg.preparation.back import LabelRestorer, restore_labels
from semiseg.preparation.forward import normalize, preprocess_image, preprocess_label, scheme_for
from semiseg.preparation.geometry import lay_out
from semiseg.preparation.labels import IGNORE, file_values, to_classes
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.preparation.resample import axis_weights, kernels_for, resample, resample_classes

LINEAR, CUBIC = ("linear",) * 3, ("cubic",) * 3


def plan_of(**values) -> Plan:
    channels = (ChannelPlan(name="MRI", scheme="none"),)
    return Plan(dim=3, channels=channels, patch=(8, 8, 8), **({"spacing": (None, None, None)} | values))


def test_label_map_is_applied_first_and_undone_last():
    plan = plan_of(labels={"bg": 0, "a": 1, "b": 2}, label_map={255: 1, 7: 2}, ignore_value=3)
    raw = np.array([[[0, 255, 7, 3]]], np.uint8)
    assert to_classes(raw, plan).tolist() == [[[0, 1, 2, IGNORE]]]
    assert file_values(plan) == (0, 255, 7)
    grid = Grid(raw.shape, np.eye(4))
    _, geometry = preprocess_image(raw[None], grid, plan)
    scores = np.zeros((3, 1, 1, 4), np.float32)
    scores[[0, 1, 2, 1], 0, 0, range(4)] = 1
    assert restore_labels(scores, geometry, plan).tolist() == [[[0, 255, 7, 255]]]


@pytest.mark.parametrize(
    ("label_map", "values"),
    [
        ({4: 3}, (0, 1, 2, 4)),  # BraTS
        ({2: 1, 4: 1}, (0, 1, 2, 3)),  # merged: nothing to undo
        ({2: 1}, (0, 1, 2, 3)),  # would give two classes the value 2
        ({300: 3}, (0, 1, 2, 300)),
        ({255: 0, 4: 3}, (0, 1, 2, 4)),  # what counts as background comes back as 0
        ({-2: 3}, (0, 1, 2, 3)),  # nothing is written below 0
    ],
)
def test_what_a_prediction_writes(label_map, values):
    plan = plan_of(labels={"bg": 0, "a": 1, "b": 2, "c": 3}, label_map=label_map)
    assert file_values(plan) == values


def test_values_above_255_need_a_wider_type():
    plan = plan_of(labels={"bg": 0, "a": 300})
    grid = Grid((1, 1, 2), np.eye(4))
    _, geometry = preprocess_image(np.zeros((1, 1, 1, 2)), grid, plan)
    out = restore_labels(np.array([[[[1, 0]]], [[[0, 1]]]], np.float32), geometry, plan)
    assert out.dtype == np.uint16
    assert out.tolist() == [[[0, 300]]]


def test_undeclared_values_name_case_and_values_and_propose_a_map():
    plan = plan_of(labels={"bg": 0, "a": 1})
    with pytest.raises(DataError, match=r"case_3: the label holds 255, wanted .*\[0, 1\]") as caught:
        to_classes(np.array([0, 255], np.uint8), plan, case="case_3")
    assert caught.value.code == "LABEL_VALUES"
    assert caught.value.details["label_map"] == {255: 1}
    assert "label_map" in caught.value.hint
    assert "--fix" in caught.value.hint


@pytest.mark.parametrize("bad", [np.array([0, 0.5]), np.array([0, np.nan]), np.array([0, -1])])
def test_values_that_are_no_classes(bad):
    with pytest.raises(DataError, match="the label holds"):
        to_classes(bad, plan_of(labels={"bg": 0, "a": 1}))


def test_whole_floats_are_fine():
    plan = plan_of(labels={"bg": 0, "a": 1})
    assert to_classes(np.array([0.0, 1.0], np.float32), plan).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("CT", "ct"),
        ("noNorm", "none"),
        ("MRI", "zscore"),
        ("rescale_to_0_1", "rescale_to_0_1"),
        ("rgb_to_0_1", "rgb_to_0_1"),
    ],
)
def test_channel_names_choose_schemes(name, scheme):
    assert scheme_for(name) == scheme


def test_schemes():
    x = np.array([[[-1000, 0, 100, 3000]]], np.int16)
    ct = ChannelPlan(name="CT", scheme="ct", mean=50, std=25, p005=-100, p995=200)
    assert normalize(x, ct).tolist() == [[[-6, -2, 2, 6]]]
    z = normalize(x, ChannelPlan(name="m", scheme="zscore"))
    assert z.mean() == pytest.approx(0, abs=1e-6)
    assert z.std() == pytest.approx(1, abs=1e-6)
    assert normalize(x, ChannelPlan(name="m", scheme="rescale_to_0_1")).max() == 1
    rgb = normalize(np.full((1, 1, 2), 51, np.uint8), ChannelPlan(name="m", scheme="rgb_to_0_1"))
    assert rgb[0, 0, 0] == np.float32(0.2)
    assert (
        normalize(np.full((2, 2, 2), 7), ChannelPlan(name="m", scheme="zscore")).tolist()
        == [[[0, 0]] * 2] * 2
    )
    assert x[0, 0, 0] == -1000, "the input must stay as it was"


@pytest.mark.parametrize("scheme", ["zscore", "none", "rescale_to_0_1"])
def test_a_window_cuts_before_the_scheme_and_scaling_it_first_changes_no_zscore(scheme):
    x = np.array([[[-1000, -125, 75, 275, 3000]]], np.int16)
    window = ChannelPlan(name="CT", scheme=scheme, clip=(-125, 275))
    plain = ChannelPlan(name="CT", scheme=scheme)
    assert np.array_equal(normalize(x, window), normalize(x.clip(-125, 275), plain))
    scaled = (x.clip(-125, 275) + 125) / 400  # as the published pancreas scripts do
    if scheme == "zscore":
        assert normalize(scaled, plain) == pytest.approx(normalize(x, window), abs=1e-5)


def test_a_window_upside_down_is_refused():
    with pytest.raises(ValueError, match="lower value first"):
        ChannelPlan(name="CT", scheme="zscore", clip=(275, -125))


@pytest.mark.parametrize("kernel", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("before", "after"), [(10, 5), (5, 10), (7, 11), (11, 7), (1, 4), (4, 1)])
def test_weights_keep_constants_and_mirror(kernel, before, after):
    weights = axis_weights(before, after, kernel).toarray()
    assert np.allclose(weights.sum(1), 1, atol=1e-6)
    if kernel != "nearest":
        assert np.allclose(weights, weights[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("kernels", [LINEAR, CUBIC])
@pytest.mark.parametrize("shape", [(10, 12, 14), (40, 48, 56), (33, 20, 50)])
def test_voxel_centers_lie_where_they_should(kernels, shape):
    """A ramp in mm stays that ramp on the new grid (away from the edges, which repeat)."""
    ramp = np.broadcast_to((np.arange(20, dtype=np.float32) + 0.5)[:, None, None], (20, 24, 28))
    out = resample(np.ascontiguousarray(ramp), shape, kernels)
    wanted = (np.arange(shape[0]) + 0.5) * 20 / shape[0]
    inner = slice(shape[0] // 4, -shape[0] // 4)
    assert np.allclose(out[inner, 5, 5], wanted[inner], atol=1e-4)


def test_down_sampling_does_not_alias():
    stripes = np.zeros((64, 4, 4), np.float32)
    stripes[::2] = 1  # the finest pattern there is: gone at a third of the resolution
    assert resample(stripes, (21, 4, 4), CUBIC)[2:-2].std() < 0.05
    assert resample(stripes, (21, 4, 4), LINEAR)[2:-2].std() < 0.05


def test_cubic_is_closer_than_linear_on_a_smooth_image():
    def wave(n):
        t = (np.arange(n) + 0.5) / n * 6 * np.pi
        return np.broadcast_to(np.sin(t)[:, None, None], (n, 3, 3)).astype(np.float32)

    errors = [np.abs(resample(wave(40), (64, 3, 3), k) - wave(64))[4:-4].max() for k in (CUBIC, LINEAR)]
    assert errors[0] < 0.5 * errors[1]


def test_same_shape_is_the_same_array_and_runs_are_repeatable():
    x = np.random.default_rng(0).standard_normal((9, 8, 7)).astype(np.float32)
    assert np.array_equal(resample(x, x.shape, CUBIC), x)
    assert np.array_equal(resample(x, (5, 9, 7), CUBIC), resample(x, (5, 9, 7), CUBIC))


def test_far_apart_slices_are_repeated_not_blended():
    assert kernels_for((5.0, 1.0, 1.0), (10, 50, 50), (50, 50, 50), "cubic") == ("nearest", "cubic", "cubic")
    assert kernels_for((5.0, 1.0, 1.0), (10, 50, 50), (5, 50, 50), "cubic") == CUBIC
    assert kernels_for((1.0, 1.0, 1.0), (10, 50, 50), (20, 50, 50), "linear") == LINEAR


def test_resampled_labels_keep_values_and_volume():
    label = np.zeros((40, 40, 40), np.uint8)
    label[10:30, 10:30, 10:30] = 2
    label[14:20, 14:20, 14:20] = IGNORE
    out = resample_classes(label, (20, 20, 20), LINEAR)
    assert set(np.unique(out)) == {0, 2, IGNORE}
    assert (out != 0).sum() * 8 == pytest.approx((label != 0).sum(), rel=0.05)
    assert (out == IGNORE).sum() * 8 == pytest.approx((label == IGNORE).sum(), rel=0.05)


def test_down_and_up_again_is_nearly_the_same_label():
    index = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1)
    label = (np.linalg.norm(index - 19.5, axis=-1) < 14).astype(np.uint8)
    plan = plan_of(labels={"bg": 0, "a": 1}, spacing=(2.0, 2.0, 2.0))
    _, geometry = preprocess_image(label[None], Grid(label.shape, np.eye(4)), plan)
    half = preprocess_label(label, geometry, plan)
    assert half.shape == (20, 20, 20)
    scores = np.stack([half == 0, half == 1]).astype(np.float32)
    back = restore_labels(scores, geometry, plan)
    assert 2 * int((back & label).sum()) / int(back.sum() + label.sum()) > 0.96
    assert int(back.sum()) == pytest.approx(int(label.sum()), rel=0.03)


CAP = np.arange(24)[None, None, :] < (9 + np.random.default_rng(0).integers(0, 6, (20, 20, 1)))
"""A body whose upper surface lies at any height, odd ones included."""


@pytest.mark.parametrize("values", [(0, 1), (1, 0), (3, 1), (1, 3), (0, IGNORE)])
def test_no_class_wins_more_ties_than_another(values):
    outside, inside = values
    label = np.where(CAP, inside, outside).astype(np.uint8)
    out = resample_classes(label, (20, 20, 12), LINEAR)
    assert np.array_equal(out, resample_classes(label, (20, 20, 12), LINEAR))
    assert set(np.unique(out)) == set(values)
    shares = CAP.reshape(20, 20, 12, 2).mean(-1)
    assert (out[shares == 1] == inside).all()
    assert (out[shares == 0] == outside).all()
    assert (out[shares == 0.5] == inside).mean() == pytest.approx(0.5, abs=0.1)
    assert (out == inside).sum() * 2 == pytest.approx(CAP.sum(), rel=0.01)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_four_equal_shares_win_equally_often(order):
    label = np.tile(np.array(order, np.uint8).reshape(2, 2, 1), (40, 40, 3))
    out = resample_classes(label, (40, 40, 3), LINEAR)
    assert np.bincount(out.ravel()) / out.size == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize("swapped", [False, True])
def test_equal_scores_prefer_no_class_whether_resampled_or_not_and_whatever_the_pieces(swapped):
    plan = plan_of(labels={"bg": 0, "a": 1}, spacing=(2.0, 1.0, 1.0))
    for shape in ((24, 20, 20), (12, 20, 20)):
        mm = 24 // shape[0]
        grid = Grid(shape, np.diag([mm, 1, 1, 1]))
        _, geometry = preprocess_image(np.arange(np.prod(shape)).reshape(1, *shape), grid, plan)
        scores = np.full((2, *geometry.shape), 0.5, np.float32)
        scores[:, 0] = [[[0.25]], [[0.75]]]
        whole = restore_labels(scores[::-1] if swapped else scores, geometry, plan)
        assert (whole[3:] == 1).mean() == pytest.approx(0.5, abs=0.03)
        pieces = LabelRestorer(geometry, plan)
        for start in range(0, len(scores[0]), 5):
            pieces.add((scores[::-1] if swapped else scores)[:, start : start + 5])
        assert np.array_equal(pieces.result(), whole)


@pytest.mark.parametrize("factors", [(1, 1, 2), (2, 2, 2)])
def test_real_labels_keep_their_volume(shared_data, factors):
    """Left atrium: with all ties for the larger value these labels grew to 1.050 and 1.016."""
    ratios = []
    for file in sorted((shared_data / "Dataset101_LeftAtrium" / "labelsTr").glob("*.nii.gz"))[:4]:
        volume = images.read(file)
        spacing = tuple(mm * factor for mm, factor in zip(volume.grid.spacing, factors, strict=True))
        plan = plan_of(labels={"bg": 0, "atrium": 1}, spacing=spacing)
        out = preprocess_label(volume.array, lay_out(volume.grid, plan), plan)
        ratios.append(out.mean() / volume.array.mean())
    assert np.mean(ratios) == pytest.approx(1, abs=0.006)
