"""Keeping the largest component, with and without the fast package."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semiseg.inference.postprocess import components, largest_components

KINDS = ["faces", "edges", "corners"]
few = settings(max_examples=40, deadline=None)
seeds, dims, counts = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)
kinds = st.sampled_from(KINDS)


@pytest.fixture(params=["fast", "scipy"])
def _package(request, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "scipy":
        monkeypatch.setitem(sys.modules, "cc3d", None)  # importing it fails
    else:
        pytest.importorskip("cc3d")


def blobs(seed: int, dim: int, classes: int, n: int = 2) -> torch.Tensor:
    """Labels (n, *S) in several pieces."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((n, classes, *[4] * dim), generator=generator)
    mode = "bilinear" if dim == 2 else "trilinear"
    fine = torch.nn.functional.interpolate(coarse, [11] * (dim - 1) + [9], mode=mode)
    return (fine + 0.3 * torch.rand(fine.shape, generator=generator)).argmax(1)


def pieces(mask: torch.Tensor, kind: str) -> list[int]:
    """The sizes of the components, ascending, by SciPy."""
    order = min(KINDS.index(kind) + 1, mask.ndim)
    structure = ndimage.generate_binary_structure(mask.ndim, order)
    return sorted(np.bincount(ndimage.label(mask.numpy(), structure)[0].ravel())[1:].tolist())


@few
@given(seeds, dims, counts, kinds)
def test_at_most_one_component_is_left_and_nothing_is_added(seed, dim, classes, kind):
    labels = blobs(seed, dim, classes)
    cleaned = largest_components(labels, classes, kind)
    assert cleaned.dtype == labels.dtype
    assert ((cleaned == labels) | (cleaned == 0)).all()
    assert torch.equal(largest_components(cleaned, classes, kind), cleaned)
    for before, after in zip(labels, cleaned, strict=True):
        for value in range(1, classes):
            assert pieces(after == value, kind) == pieces(before == value, kind)[-1:]


@few
@given(seeds, dims, counts, kinds)
def test_it_commutes_with_flips_and_turns_where_no_sizes_are_equal(seed, dim, classes, kind):
    labels = blobs(seed, dim, classes, n=1)
    for value in range(1, classes):
        sizes = pieces(labels[0] == value, kind)
        assume(len(sizes) < 2 or sizes[-1] > sizes[-2])
    cleaned = largest_components(labels, classes, kind)
    for axis in range(1, dim + 1):
        assert torch.equal(largest_components(labels.flip(axis), classes, kind), cleaned.flip(axis))
    turned = largest_components(labels.rot90(1, (1, 2)), classes, kind)
    assert torch.equal(turned, cleaned.rot90(1, (1, 2)))


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(("dim", "kind", "neighbors"), [
    (2, "faces", 4), (2, "edges", 8), (2, "corners", 8), (3, "faces", 6), (3, "edges", 18), (3, "corners", 26)
])  # fmt: skip
def test_what_connects(dim, kind, neighbors):
    around = 0
    for place in np.ndindex(*[3] * dim):
        mask = np.zeros([3] * dim, bool)
        mask[(1,) * dim] = mask[place] = True
        around += int(place != (1,) * dim and components(mask, kind)[1] == 1)
    assert around == neighbors


@few
@given(st.lists(st.integers(1, 7), min_size=2, max_size=3), st.floats(0, 0.6), seeds, kinds)
def test_both_packages_number_alike(size, density, seed, kind):
    pytest.importorskip("cc3d")
    mask = np.random.default_rng(seed).random(size) < density
    order = min(KINDS.index(kind) + 1, mask.ndim)
    wanted, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, order))
    numbered, found = components(mask, kind)
    assert found == count
    assert np.array_equal(numbered, wanted)


@pytest.mark.usefixtures("_package")
def test_of_equal_components_the_first_in_raster_order_is_kept():
    labels = torch.zeros((2, 7, 9), dtype=torch.int64)
    labels[0, 1:3, 6:8] = labels[0, 2:4, 1:3] = 1  # the first begins in an earlier row, further right
    labels[1, 5, 0:3] = labels[1, 1, 4:7] = labels[1, 3, 1] = 2
    cleaned = largest_components(labels, 3)
    assert cleaned[0, 1:3, 6:8].sum() == cleaned[0].sum() == 4
    assert cleaned[1, 1, 4:7].sum() == cleaned[1].sum() == 6


def test_the_input_is_not_changed_and_nothing_stays_nothing():
    labels = blobs(0, 2, 3).to(torch.uint8)
    before = labels.clone()
    assert not torch.equal(largest_components(labels, 3), before)
    assert torch.equal(labels, before)
    empty = torch.zeros((2, 5, 5, 5), dtype=torch.int64)
    assert torch.equal(largest_components(empty, 4), empty)
