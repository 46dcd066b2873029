"""Components of a label map, with and without the fast package."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from semiseg.errors import UsageError
from semiseg.inference.postprocess import components, postprocess

VALUES = {"liver": 10, "tumor": 20}


@pytest.fixture(params=["fast", "scipy"])
def _package(request, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "scipy":
        monkeypatch.setitem(sys.modules, "cc3d", None)  # importing it fails
    else:
        pytest.importorskip("cc3d")


def scene() -> np.ndarray:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:6, 1:6, 1:6] = 10  # 125 voxels, minus the tumor in it
    labels[2, 2, 2] = 20
    labels[8:11, 8:11, 8:11] = 10  # 27 voxels
    labels[8:10, 0:2, 0:2] = 20  # 8 voxels
    return labels


@pytest.mark.usefixtures("_package")
class TestCleaning:
    def test_the_largest_component_of_each_class_is_kept(self) -> None:
        found = postprocess(scene(), VALUES, largest_component=True)
        assert (found == 10).sum() == 124
        assert (found == 20).sum() == 8
        assert found[2, 2, 2] == 0
        assert found.dtype == np.uint8

    def test_named_classes_only(self) -> None:
        found = postprocess(scene(), VALUES, largest_component=("liver",))
        assert (found == 10).sum() == 124
        assert (found == 20).sum() == 9

    def test_small_components_are_dropped_by_their_volume(self) -> None:
        found = postprocess(scene(), VALUES, minimum_mm3=8 * 3.0, spacing=(1.0, 1.0, 3.0))
        assert (found == 20).sum() == 8
        found = postprocess(scene(), VALUES, minimum_mm3=8 * 3.0 + 1, spacing=(1.0, 1.0, 3.0))
        assert (found == 20).sum() == 0
        assert (found == 10).sum() == 124 + 27

    def test_corners_connect(self) -> None:
        mask = np.zeros((4, 4, 4), bool)
        mask[1, 1, 1] = mask[2, 2, 2] = True
        assert components(mask)[1] == 1
        assert components(mask[1:3, 1:3, 1])[1] == 1
        mask[2, 2, 2], mask[3, 3, 3] = False, True
        assert components(mask)[1] == 2

    def test_2d_and_absent_classes(self) -> None:
        labels = np.zeros((6, 6), np.uint16)
        labels[0, 0] = labels[3:5, 3:5] = 300
        found = postprocess(labels, {"a": 300, "b": 7}, largest_component=True)
        assert (found == 300).sum() == 4
        assert found.dtype == np.uint16


def test_nothing_to_do_returns_the_same_array() -> None:
    labels = scene()
    assert postprocess(labels, VALUES) is labels


def test_the_input_is_not_changed() -> None:
    labels = scene()
    postprocess(labels, VALUES, largest_component=True)
    assert np.array_equal(labels, scene())


def test_removed_voxels_take_the_declared_background() -> None:
    labels = np.full((5, 5), 4, np.uint8)
    labels[0, 0] = 10
    labels[3:5, 3:5] = 10
    found = postprocess(labels, {"liver": 10}, largest_component=True, background=4)
    assert found[0, 0] == 4


def test_an_unknown_class_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'liver'"):
        postprocess(scene(), VALUES, largest_component=("livre",))
