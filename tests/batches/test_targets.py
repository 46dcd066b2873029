"""Signed distance targets: what must hold for every label, and how they come into the batch."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure
from tests.batches.test_batches import equal, make

from semiseg.batches.targets import TARGETS, make_targets, signed_distance
from semiseg.core import IGNORE
from semiseg.errors import UsageError

few = settings(max_examples=25, deadline=None)


@st.composite
def labels(draw, classes: int = 3, fewest: int = 0) -> torch.Tensor:
    """(1, *S) of random boxes of classes, with at least one voxel of class 1 and of background if asked."""
    dim = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(2, 9)] * dim))
    label = np.zeros(shape, np.int64)
    for _ in range(draw(st.integers(fewest, 3))):
        box = tuple(slice(*sorted(draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape)
        label[box] = draw(st.integers(0, classes - 1))
    if fewest:
        label.flat[draw(st.integers(1, label.size - 1))] = 1
        label.flat[0] = 0
    return torch.from_numpy(label)[None]


def slow(mask: np.ndarray) -> np.ndarray:
    """The definition, voxel by voxel over the whole crop, boundary search included."""
    outside, inside = distance_transform_edt(~mask), distance_transform_edt(mask)
    sdf = outside / outside.max() - inside / inside.max()
    cross = generate_binary_structure(mask.ndim, 1)
    sdf[mask & ~binary_erosion(mask, cross, border_value=1)] = 0
    return sdf


@few
@given(labels(fewest=1))
def test_equals_the_definition_with_and_without_edt(label):
    pytest.importorskip("edt")
    mask = label[0].numpy() == 1
    with pytest.MonkeyPatch.context() as patch:
        fast = signed_distance(label, 2)
        patch.setitem(sys.modules, "edt", None)
        plain = signed_distance(label, 2)
    np.testing.assert_allclose(fast[0, 0], slow(mask), atol=1e-6)
    assert torch.equal(fast, plain)


@few
@given(labels(fewest=1))
def test_property_1_range_sign_and_boundary(label):
    mask = label == 1
    sdf = signed_distance(label, 2)[:, 0]
    depth = torch.from_numpy(distance_transform_edt(mask[0].numpy()))[None]
    assert sdf.abs().max() <= 1
    assert (sdf[mask] <= 0).all()
    assert (sdf[~mask] > 0).all()
    assert sdf.max() == 1
    assert torch.equal(sdf == 0, depth == 1)
    assert (sdf.min() == -1) == bool(depth.max() > 1)


@few
@given(labels(fewest=1))
def test_property_2_the_steep_sigmoid_gives_the_mask_back(label):
    sdf = signed_distance(label, 2)[:, 0]
    assert torch.equal(torch.sigmoid(-1500 * sdf) >= 0.5, label == 1)


@few
@given(labels(), st.integers(0, 3), st.integers(0, 1), st.sampled_from(sorted(TARGETS)))
def test_property_3_turning_mirroring_and_other_samples(label, turns, axis, name):
    (sdf,) = make_targets([name], label, 3).values()
    turned = torch.rot90(label, turns, (1, 2)).flip(axis + 1)
    (of_turned,) = make_targets([name], turned, 3).values()
    torch.testing.assert_close(of_turned, torch.rot90(sdf, turns, (2, 3)).flip(axis + 2))
    (together,) = make_targets([name], torch.cat([label, torch.zeros_like(label)]), 3).values()
    assert torch.equal(together[:1], sdf)


@few
@given(labels(classes=4))
def test_each_class_by_itself(label):
    every = signed_distance(label, 4)
    assert every.shape == (1, 3, *label.shape[1:])
    for c in range(3):
        assert torch.equal(every[:, c : c + 1], signed_distance((label == c + 1).long(), 2))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
@pytest.mark.parametrize(("name", "absent"), [("sdf", 1), ("sdf_published", 0)])
def test_absent_and_full_classes(shape, name, absent):
    full = make_targets([name], torch.full((2, *shape), 2), 3)[name]
    assert (full[:, 0] == absent).all()
    assert (full[:, 1] == -1).all()


@few
@given(labels(fewest=1), st.integers(0, 10**6))
def test_voxels_without_a_label_are_of_no_class(label, seed):
    unknown = torch.rand(label.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    expected = signed_distance(label.masked_fill(unknown, 0), 2)
    assert torch.equal(signed_distance(label.masked_fill(unknown, IGNORE), 2), expected)
    assert torch.equal(signed_distance(label.masked_fill(unknown, IGNORE).to(torch.uint8), 2), expected)


@pytest.mark.parametrize(("name", "dim"), [("crop", 2), ("crop", 3), ("default", 3), ("la", 3), ("acdc", 2)])
def test_batches_compute_them_from_their_own_labels(name, dim):
    batches, without = make(name, dim, targets=("sdf", "sdf_published")), make(name, dim)
    for k in range(3):
        batch = batches(k)
        assert equal(batch, without(k))
        assert batch.targets.keys() == {"sdf", "sdf_published"}
        for key, target in batch.targets.items():
            assert target.dtype == torch.float32
            assert torch.equal(target, make_targets([key], batch.y_l, 2)[key])
    assert without(0).targets == {}


def test_unlabeled_samples_have_none():
    batch = make(sizes=(2, 3), targets=("sdf",))(0)
    assert batch.targets["sdf"].shape == (2, 1, 6, 6, 6)


def test_an_unknown_target_is_refused_before_the_first_batch():
    with pytest.raises(UsageError, match=r"unknown target 'sdff'\. Did you mean 'sdf'\?"):
        make(targets=("sdff",))
