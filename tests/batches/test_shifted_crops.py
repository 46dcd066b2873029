"""Two overlapping crops of one scan: where they overlap they show the same, and their place is known."""

from __future__ import annotations

import pytest
import torch
from tests.batches.test_batches import KINDS, case, equal, make

from semiseg.core import SHIFTED
from semiseg.methods.parts.mixing import overlap

ASKED = {"views": ("weak", "strong", SHIFTED), "labeled_views": (SHIFTED,)}


def asked(name, dim, **more):
    return make(name, dim, sizes=(2, 4), shape=(14, 16, 15), **ASKED, **more)


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_the_overlap_shows_the_same_voxels(name, dim):
    moved = 0
    for step in range(12):
        batch = asked(name, dim)(step)
        parts = {
            "labeled": (batch.x_l, batch.views_l[SHIFTED]),
            "unlabeled": (batch.x_u["weak"], batch.x_u[SHIFTED]),
        }
        for part, (first, second) in parts.items():
            assert first.shape == second.shape == (len(first), 1, *(6,) * dim)
            assert len(batch.shifts[part]) == len(first)
            for a, b, shift in zip(first, second, batch.shifts[part], strict=True):
                assert all(abs(s) <= 3 for s in shift)
                moved += any(shift)
                here, there = overlap(shift, a.shape[1:])
                assert torch.equal(a[(slice(None), *here)], b[(slice(None), *there)])
    assert moved > (5 if name == "acdc" else 50)  # a slice of that protocol is moved now and then


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_crops_are_a_function_of_the_iteration_and_of_the_sample(name, dim):
    batches = asked(name, dim, seed=4)
    forth = [batches(k) for k in range(4)]
    ranks = [asked(name, dim, seed=4, rank=r, world=2) for r in range(2)]
    for k in (3, 0, 2):
        again = asked(name, dim, seed=4)(k)
        assert equal(again, forth[k])
        assert again.shifts == forth[k].shifts
        halves = [rank(k) for rank in ranks]
        assert torch.equal(forth[k].x_u[SHIFTED], torch.cat([half.x_u[SHIFTED] for half in halves]))
        assert list(forth[k].shifts["labeled"]) == [s for half in halves for s in half.shifts["labeled"]]


@pytest.mark.parametrize("name", ["crop", "la"])
def test_crops_stay_in_a_scan_that_has_room_for_them(name):
    """Voxels of the scan are above 0, what lies outside is 0."""
    for step in range(20):
        batch = make(name, 3, shape=(8, 8, 7), **ASKED, sizes=(2, 2), cases=(2, 2))(step)
        for images in (batch.x_u["weak"], batch.x_u[SHIFTED]):
            assert (images > 0).all()


def test_labels_are_those_of_the_first_crop():
    batch = make("crop", 3, shape=(14, 16, 15), labeled_views=(SHIFTED,), plan={"foreground": 1.0})(0)
    stored = case(0, (14, 16, 15), labeled=True)
    known = {round(float(v), 5) for v in (stored.image[0] % 1)[stored.label == 1]}
    for image, label in zip(batch.x_l[:, 0], batch.y_l, strict=True):
        marked = torch.tensor([[[round(float(v) % 1, 5) in known for v in r] for r in p] for p in image])
        assert torch.equal(marked, label == 1)


@pytest.mark.parametrize(("name", "dim"), KINDS)
def test_who_does_not_ask_gets_none_and_the_same_images_as_ever(name, dim):
    plain, strong = make(name, dim)(3), make(name, dim, labeled_views=("strong",))(3)
    assert (plain.views_l, plain.shifts) == ({}, {})
    assert equal(plain, strong)
    assert strong.views_l["strong"].shape == plain.x_l.shape
    assert not torch.equal(strong.views_l["strong"], plain.x_l)


def test_crops_without_a_voxel_in_common():
    assert overlap((3, 0), (3, 3)) is None
    assert overlap((-4, 1), (3, 3)) is None
    assert overlap((0, 0), (3, 2)) == ((slice(0, 3), slice(0, 2)),) * 2
    assert overlap((2, -1), (3, 3)) == ((slice(2, 3), slice(0, 2)), (slice(0, 1), slice(1, 3)))
