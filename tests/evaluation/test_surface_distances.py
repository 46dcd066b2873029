"""Cropping, sharing and the choice of algorithm change no distance."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.evaluation.masks import pairs, plain_border, plain_distances

from semiseg.evaluation import surface
from semiseg.evaluation.surface import border, joint_box, surface_distances

PAIRS = pairs()


PACKAGES = {"tree": "pykdtree", "transform": "edt"}


@pytest.fixture(params=["chosen", "tree pykdtree", "tree scipy", "transform edt", "transform scipy"])
def algorithm(request, monkeypatch):
    which, _, package = request.param.partition(" ")
    if package == "scipy":
        monkeypatch.setitem(sys.modules, PACKAGES[which], None)
        monkeypatch.setitem(sys.modules, "pykdtree.kdtree", None)
    elif package:
        pytest.importorskip(package)
    if package:
        monkeypatch.setattr(surface, "tree_is_cheaper", lambda *_: which == "tree")
    return request.param


@pytest.mark.parametrize("name", PAIRS)
def test_distances_equal_the_full_volume_transform(name, algorithm):
    prediction, reference, spacing = PAIRS[name]
    found = surface_distances(prediction, reference, spacing)
    wanted = plain_distances(prediction, reference, spacing)
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(np.sort(got), np.sort(want), rtol=1e-6, atol=1e-9)


def test_distances_in_voxels_are_exact(algorithm):
    prediction, reference, _ = PAIRS["far blob"]
    found = surface_distances(prediction, reference, (1, 1, 1))
    wanted = plain_distances(prediction, reference, (1, 1, 1))
    for got, want in zip(found, wanted, strict=True):
        assert np.array_equal(np.sort(got), np.sort(want))


@pytest.mark.parametrize("missing", [(), ("pykdtree",), ("edt",), ("pykdtree", "edt")])
def test_few_or_near_points_are_looked_up_and_many_far_ones_swept(missing, monkeypatch):
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    assert surface.tree_is_cheaper(1000, 2.0, 100_000)
    assert not surface.tree_is_cheaper(20_000, 2.0, 100_000)
    assert not surface.tree_is_cheaper(1000, 200.0, 100_000)
    assert surface.tree_is_cheaper(1000, 200.0, 10_000_000)


def test_the_rule_is_asked_with_what_was_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(surface, "tree_is_cheaper", lambda *given: asked.append(given) or True)
    first, second = np.zeros((2, 30, 30, 30), bool)
    first[3:7, 3:7, 3:7] = True
    second[3:7, 3:7, 23:27] = True
    surface_distances(first, second, (2.0, 2.0, 2.0))
    (points, away, voxels), _ = asked
    assert points == 4**3 - 2**3
    assert 17 <= away <= 20  # voxels, not millimeters
    assert voxels == 4 * 4 * 24


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
