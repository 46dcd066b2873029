"""BCP against the original scripts: masks, mixed losses, cleaned pseudo-labels, moving averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.parts.boxes import draw_starts, mask_of, scaled
from semiseg.parts.components import largest_components


def corner(mask):
    """Where the zeros begin, per axis."""
    return tuple(int(places.min()) for places in np.nonzero(mask == 0))


def places(size, sides, cells=1, draws=400):
    """All starts that we draw for the first cell, per axis."""
    torch.manual_seed(0)
    return [
        set(axis) for axis in zip(*(draw_starts(size, sides, cells)[0] for _ in range(draws)), strict=True)
    ]


@pytest.mark.parametrize("name", ["bcp__context_mask_la", "bcp__mask_pancreas", "bcp__mask_acdc2d"])
def test_box(golden, name):
    v = golden(name)
    size, sides, start = v["mask"].shape, tuple(v["box_size"].tolist()), tuple(v["box_start"].tolist())
    ratio = 2 / 3
    if "patch_size" in v:
        ratio = int(v["patch_size"]) / size[0]
    if "mask_ratio" in v:
        ratio = float(v["mask_ratio"])
    assert scaled(size, ratio) == sides
    np.testing.assert_array_equal(mask_of(size, [start], sides), v["mask"])
    assert all(a in drawn for a, drawn in zip(start, places(size, sides, draws=2000), strict=True))


def test_starts_are_drawn_from_the_same_range(golden):
    v = golden("bcp__context_mask_la")
    size, sides = v["mask"].shape, tuple(v["box_size"].tolist())
    for ours, theirs in zip(places(size, sides, draws=3000), v["starts"].T, strict=True):
        assert set(theirs.tolist()) <= ours
        assert (min(ours), max(ours)) == (theirs.min(), theirs.max())


def test_small_boxes(golden):
    v = golden("bcp__mask_acdc2d")
    size, cells = v["random_mask"].shape, 3
    sides = scaled(size, 2 / 3 / cells)
    starts = []
    for i, j in np.ndindex(cells, cells):
        first = (i * (size[0] // cells), j * (size[1] // cells))
        part = v["random_mask"][tuple(slice(a, a + n // cells) for a, n in zip(first, size, strict=True))]
        starts.append(tuple(a + b for a, b in zip(first, corner(part), strict=True)))
    np.testing.assert_array_equal(mask_of(size, starts, sides), v["random_mask"])
    drawn = places(size, sides, cells, draws=1000)
    assert all(a in axis for a, axis in zip(starts[0], drawn, strict=True))


def test_strip(golden):
    v = golden("bcp__mask_acdc2d")
    size = v["contact_mask"].shape
    rows = int((v["contact_mask"] == 0).all(1).sum())
    assert scaled(size[1:], (2 / 3) ** 2) == (rows,)  # the original takes the length of the other axis
    start = (corner(v["contact_mask"])[0], 0)
    np.testing.assert_array_equal(mask_of(size, [start], (rows, size[1])), v["contact_mask"])
    drawn = places(size, (rows, size[1]), draws=1000)
    assert start[0] in drawn[0]
    assert drawn[1] == {0}


def test_largest_component_of_a_binary_map(golden):
    v = golden("bcp__lcc_binary3d")
    labels = torch.from_numpy(v["logits"]).argmax(1)
    np.testing.assert_array_equal(labels, v["raw"])
    for key, kind in (("la", "corners"), ("conn1", "faces"), ("conn2", "edges"), ("conn3", "corners")):
        np.testing.assert_array_equal(largest_components(labels, 2, kind), v[f"out_{key}"], err_msg=key)


def test_largest_component_of_each_class(golden):
    v = golden("bcp__lcc_multiclass2d")
    labels = torch.from_numpy(v["logits"]).argmax(1)
    classes = v["logits"].shape[1]
    np.testing.assert_array_equal(labels, v["raw"])
    np.testing.assert_array_equal(largest_components(labels, classes), v["out"])
    tied = torch.from_numpy(v["tie_in"]).long()
    np.testing.assert_array_equal(largest_components(tied, classes), v["tie_out"])
