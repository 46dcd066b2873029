import itertools

import numpy as np
import pytest

from semiseg import core
from semiseg.errors import DataError
from semiseg.images.grid import Grid
from semiseg.preparation import labels
from semiseg.preparation.back import restore_labels, restore_map, restore_probabilities
from semiseg.preparation.forward import preprocess_image, preprocess_label, stored_shape
from semiseg.preparation.geometry import Geometry
from semiseg.preparation.plan import ChannelPlan, Plan

CUBE = np.diag([1.0, 1.0, 1.0, 1.0])


def plan_of(schemes=("none",), dim=3, **values) -> Plan:
    values = {"spacing": (None, None, None), "labels": {"background": 0, "a": 1, "b": 2}} | values
    channels = tuple(ChannelPlan(name=f"c{i}", scheme=s) for i, s in enumerate(schemes))
    return Plan(dim=dim, channels=channels, patch=(8,) * dim, **values)


def affines():
    rng = np.random.default_rng(0)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            turn = np.zeros((3, 3))
            for axis, to in enumerate(order):
                turn[to, axis] = signs[axis] * (1 + 0.4 * axis)
            affine = np.eye(4)
            affine[:3, :3] = turn + 0.1 * rng.standard_normal((3, 3))  # oblique and sheared
            affine[:3, 3] = rng.standard_normal(3)
            yield affine


def one_hot(classes, count):
    return np.ascontiguousarray(np.moveaxis(np.eye(count, dtype=np.float32)[classes], -1, 0))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_labels_come_back_bit_for_bit_from_every_orientation(axes):
    label = np.random.default_rng(1).integers(0, 3, (5, 6, 7)).astype(np.int16)
    plan = plan_of(axes=axes)
    for affine in affines():
        _, geometry = preprocess_image(label[None], Grid(label.shape, affine), plan)
        geometry = Geometry.from_dict(geometry.as_dict())
        stored = preprocess_label(label, geometry, plan)
        probabilities = one_hot(stored, 3)
        back = restore_labels(probabilities, geometry, plan)
        assert np.array_equal(back, label)
        assert back.dtype == np.uint8
        assert np.array_equal(restore_probabilities(probabilities, geometry, plan), one_hot(label, 3))


def test_stored_axes_run_right_anterior_superior():
    """Voxel values are their own world coordinates, so the stored array must increase along its axes."""
    for affine in affines():
        grid = Grid((4, 5, 6), affine)
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), 0).reshape(3, -1)
        world = (affine[:3, :3] @ index).reshape(3, 4, 5, 6)
        stored, _ = preprocess_image(world, grid, plan_of(("none",) * 3))
        for axis in range(3):
            assert (np.diff(stored[axis], axis=axis) > 0).all()


def test_native_orientation_leaves_axes_alone():
    image = np.arange(24.0).reshape(1, 2, 3, 4)
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    stored, geometry = preprocess_image(image, Grid((2, 3, 4), affine), plan_of(orientation="native"))
    assert np.array_equal(stored, image)
    assert geometry.spacing == (1, 2, 3)


def test_2d_images_become_one_slice_and_come_back():
    label = np.random.default_rng(2).integers(0, 3, (6, 9)).astype(np.uint8)
    plan = plan_of(dim=2, axes=(2, 0, 1))
    stored, geometry = preprocess_image(label[None], Grid((6, 9), CUBE), plan)
    assert stored.shape == (1, 1, 6, 9)
    classes = preprocess_label(label, geometry, plan)
    assert np.array_equal(restore_labels(one_hot(classes, 3), geometry, plan), label)
    assert restore_probabilities(one_hot(classes, 3), geometry, plan).shape == (3, 6, 9)


def test_2d_image_under_a_3d_plan_is_refused():
    with pytest.raises(DataError, match="dim 3"):
        preprocess_image(np.zeros((1, 6, 9)), Grid((6, 9), CUBE), plan_of())


def test_a_spacing_that_would_fill_the_memory_is_told_before_anything_is_resampled(monkeypatch):
    monkeypatch.setattr("semiseg.preparation.forward.free_memory_gb", lambda: 2.0)
    image, grid = np.zeros((1, 9, 9, 9), np.float32), Grid((9, 9, 9), np.diag([100, 100, 100, 1.0]))
    with pytest.raises(DataError, match="100 x 100 x 100 mm become 900 x 900 x 900 of 1 x 1 x 1 mm") as found:
        preprocess_image(image, grid, plan_of(spacing=(1.0, 1.0, 1.0)))
    assert found.value.code == "TOO_LARGE"
    assert "spacing in its header" in found.value.hint


def test_stored_shape_follows_from_grid_and_plan():
    plan = plan_of(spacing=(1.25, 1.25, None), axes=(2, 0, 1))
    grid = Grid((20, 31, 12), np.diag([0.625, 1.0, 2.0, 1]))
    stored, geometry = preprocess_image(np.ones((1, *grid.shape)), grid, plan)
    assert stored.shape[1:] == stored_shape(grid, plan) == geometry.shape == (19, 10, 31)
    assert geometry.spacing == pytest.approx((12 * 2.0 / 19, 20 * 0.625 / 10, 1.0))


def test_crop_to_nonzero_and_background_outside():
    rng = np.random.default_rng(3)
    image = np.zeros((2, 10, 12, 14), np.float32)
    image[0, 2:7, 3:9, 4:6] = rng.random((5, 6, 2)) + 1
    image[1, 2:7, 3:9, 4:8] = rng.random((5, 6, 4)) + 1
    label = np.zeros((10, 12, 14), np.uint8)
    label[3, 4, 5] = 2
    plan = plan_of(("zscore", "none"), crop="nonzero")
    stored, geometry = preprocess_image(image, Grid((10, 12, 14), np.diag([-1.0, 1, 1, 1])), plan)
    assert stored.shape == (2, 5, 6, 4)
    inside = stored[1] != 0
    assert stored[0][inside].mean() == pytest.approx(0, abs=1e-5)
    assert stored[0][inside].std() == pytest.approx(1, abs=1e-5)
    classes = preprocess_label(label, geometry, plan)
    full = restore_probabilities(one_hot(classes, 3), geometry, plan)
    assert np.array_equal(full.argmax(0), label)
    assert full[0, 0, 0, 0] == 1
    assert np.allclose(full.sum(0), 1)
    assert restore_map(np.ones(geometry.shape, np.float32), geometry, fill=-1).min() == -1


def test_an_empty_image_is_not_cropped_away():
    stored, _ = preprocess_image(np.zeros((1, 4, 5, 6)), Grid((4, 5, 6), CUBE), plan_of(crop="nonzero"))
    assert stored.shape == (1, 4, 5, 6)


def test_probabilities_still_sum_to_one_after_resampling():
    plan = plan_of(spacing=(2.0, 0.7, 1.3))
    grid = Grid((11, 12, 13), CUBE)
    _, geometry = preprocess_image(np.ones((1, *grid.shape)), grid, plan)
    p = np.random.default_rng(4).random((3, *geometry.shape)).astype(np.float32)
    p /= p.sum(0)
    full = restore_probabilities(p, geometry, plan)
    assert full.shape == (3, 11, 12, 13)
    assert np.allclose(full.sum(0), 1, atol=1e-5)
    assert np.array_equal(restore_labels(p, geometry, plan), full.argmax(0))


def test_errors_say_what_was_wrong():
    grid = Grid((4, 4, 4), CUBE)
    image = np.zeros((1, 4, 4, 4), np.float32)
    with pytest.raises(DataError, match="got 1 channel, wanted 2"):
        preprocess_image(image, grid, plan_of(("none", "none")))
    image[0, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match="1 NaN of"):
        preprocess_image(image, grid, plan_of())
    _, geometry = preprocess_image(np.zeros((1, 4, 4, 4)), grid, plan_of())
    with pytest.raises(DataError, match=r"\(3, 4, 4\)"):
        preprocess_label(np.zeros((3, 4, 4), np.uint8), geometry, plan_of(), case="x")
    with pytest.raises(DataError, match=r"wanted \(3, 4, 4, 4\)"):
        restore_labels(np.zeros((2, 4, 4, 4), np.float32), geometry, plan_of())


def test_broken_affine_is_refused():
    with pytest.raises(DataError, match="orientation"):
        preprocess_image(np.zeros((1, 4, 4, 4)), Grid((4, 4, 4), np.diag([1.0, 0, 1, 1])), plan_of())


def test_ignore_is_the_contract_s():
    assert labels.IGNORE == core.IGNORE
