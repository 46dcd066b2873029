"""Cropping, sharing and the choice of algorithm change no distance."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from masks import pairs, plain_border, plain_distances

from semiseg.metrics import surface
from semiseg.metrics.surface import border, joint_box, surface_distances

PAIRS = pairs()


@pytest.fixture(params=["chosen by size", "tree", "edt", "scipy"])
def algorithm(request, monkeypatch):
    if request.param == "edt":
        pytest.importorskip("edt")
    if request.param == "tree":
        monkeypatch.setattr(surface, "BOX_VOXELS_PER_POINT", 0)
    elif request.param in ("edt", "scipy"):
        monkeypatch.setattr(surface, "BOX_VOXELS_PER_POINT", 10**9)
    if request.param == "scipy":
        monkeypatch.setitem(sys.modules, "edt", None)
    return request.param


@pytest.mark.parametrize("name", PAIRS)
def test_distances_equal_the_full_volume_transform(name, algorithm):
    prediction, reference, spacing = PAIRS[name]
    found = surface_distances(prediction, reference, spacing)
    wanted = plain_distances(prediction, reference, spacing)
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(np.sort(got), np.sort(want), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("algorithm_voxels", [0, 10**9])
def test_distances_in_voxels_are_exact(algorithm_voxels, monkeypatch):
    monkeypatch.setattr(surface, "BOX_VOXELS_PER_POINT", algorithm_voxels)
    prediction, reference, _ = PAIRS["far blob"]
    found = surface_distances(prediction, reference, (1, 1, 1))
    wanted = plain_distances(prediction, reference, (1, 1, 1))
    for got, want in zip(found, wanted, strict=True):
        assert np.array_equal(np.sort(got), np.sort(want))


def test_small_masks_use_the_tree_and_crowded_boxes_the_transform(monkeypatch):
    used = []
    for name in ("_by_tree", "_by_transform"):
        real = getattr(surface, name)
        monkeypatch.setattr(surface, name, lambda *a, n=name, f=real: used.append(n) or f(*a))
    sparse, _, spacing = PAIRS["single voxels"]
    surface_distances(sparse, PAIRS["single voxels"][1], spacing)
    surface_distances(*PAIRS["speckle"])
    assert used == ["_by_tree"] * 2 + ["_by_transform"] * 2


@pytest.mark.parametrize("name", PAIRS)
def test_border_is_what_an_erosion_removes(name):
    for mask in PAIRS[name][:2]:
        assert np.array_equal(border(mask), plain_border(mask))


def test_border_leaves_its_argument_alone():
    mask = PAIRS["shifted"][1].copy()
    border(mask)
    assert np.array_equal(mask, PAIRS["shifted"][1])


def test_memory_order_does_not_matter():
    prediction, reference, spacing = PAIRS["anisotropic"]
    straight = surface_distances(prediction, reference, spacing)
    mixed = surface_distances(np.asfortranarray(prediction), reference, spacing)
    assert [d.sum() for d in straight] == pytest.approx([d.sum() for d in mixed])


def test_joint_box():
    first, second = np.zeros((2, 9, 8, 7), bool)
    assert joint_box(first, second) is None
    first[2, 3, 0] = second[8, 3, 4] = True
    assert joint_box(first, second) == (slice(2, 9), slice(3, 4), slice(0, 5))
