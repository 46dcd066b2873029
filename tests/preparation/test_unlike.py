"""Scans unlike the training scans: told of with the numbers, and no scan like them is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.factories import make_dataset

from semiseg.dataset.case import load_case
from semiseg.dataset.dataset import Dataset
from semiseg.images.grid import Grid
from semiseg.preparation.fingerprint import Fingerprint, fingerprint
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.preparation.planner import make_plan
from semiseg.preparation.seen import Band, Seen
from semiseg.preparation.unlike import turned, unlike

SPACING = (1.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("unlike")
    return Dataset.open(make_dataset(root, labeled=6, unlabeled=10, test=6, spacing=SPACING))


@pytest.fixture(scope="module")
def plan(dataset):
    return make_plan(dataset, dataset.split())


@pytest.fixture(scope="module")
def scan(dataset):
    image, grid, _ = load_case(dataset.split().test[0], 1)
    return image, grid


def of(plan, image, grid):
    return {one.kind: one for one in unlike(plan, image, grid)}


def test_test_scans_of_the_same_dataset_are_not_told_of(dataset, plan):
    for case in dataset.split().test:
        image, grid, _ = load_case(case, 1)
        assert unlike(plan, image, grid) == []


def double(grid):
    return Grid(grid.shape, grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))


def noise(image):
    return np.random.default_rng(0).normal(size=image.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "words", "change"),
    [
        (
            "slices",
            "2 slices, training scans 18 to 18",
            lambda i, g: (i[..., 8:10], Grid((20, 22, 2), g.affine)),
        ),
        (
            "size",
            "6 voxels along R, training scans 20 to 20",
            lambda i, g: (i[:, :6], Grid((6, 22, 18), g.affine)),
        ),
        ("spacing", "2 mm along R, training scans 1 to 1", lambda i, g: (i, double(g))),
        ("appearance", "correlate -0.", lambda i, g: (i.max() + i.min() - i, g)),
        ("appearance", "of MRI", lambda i, g: (noise(i), g)),
    ],
)
def test_what_is_unlike_is_told_with_numbers(plan, scan, kind, words, change):
    found = of(plan, *change(*scan))
    assert words in found[kind].text
    if kind == "spacing":
        assert list(found) == ["spacing"]
        assert (found[kind].value, found[kind].seen) == (2.0, (1.0, 1.0))


def test_the_order_of_axes_in_the_file_does_not_matter(plan, scan):
    image, grid = scan
    affine = grid.affine[:, [2, 0, 1, 3]]
    turned_grid = Grid((18, 20, 22), affine)
    assert turned(turned_grid.shape, turned_grid) == (20, 22, 18)
    assert unlike(plan, image.transpose(0, 3, 1, 2), turned_grid) == []
    flipped = affine.copy()
    flipped[:3, 0] *= -1
    assert unlike(plan, image.transpose(0, 3, 1, 2)[:, ::-1], Grid((18, 20, 22), flipped)) == []


@pytest.mark.parametrize(("scheme", "told"), [("none", True), ("ct", True), ("zscore", False)])
def test_how_large_gray_values_are_matters_where_they_are_kept(plan, scan, scheme, told):
    kept = plan.model_copy(update={"channels": (ChannelPlan(name="MRI", scheme=scheme),)})
    found = of(kept, 50 * scan[0], scan[1])
    assert ("gray values" in found) is told
    assert "appearance" not in found


def test_fewer_scans_leave_more_room():
    band = Band.of([90, 100, 110])
    rooms = [band.limits(count, 1.0)[1] - band.limits(count, 1.0)[0] for count in (1, 4, 100)]
    assert rooms == sorted(rooms, reverse=True)
    assert band.holds(140, 1)
    assert not band.holds(140, 100)
    assert band.holds(60, 100, ratio=True, least=np.log(1.6))
    assert not band.holds(50, 100, ratio=True)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_scans_know_their_spacing(count):
    seen = Seen.of([((20, 22, 18), SPACING)] * count, [])
    same, twice = (seen.unlike((20, 22, 18), [f * mm for mm in SPACING], [], []) for f in (1.2, 2.0))
    assert same == []
    assert {one.kind for one in twice} == {"spacing"}


def test_the_plan_file_keeps_what_was_seen_and_older_ones_have_none(plan, scan, tmp_path):
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan
    inverted = (scan[0].max() - scan[0], scan[1])
    assert of(again, *inverted) == of(plan, *inverted)
    assert len((tmp_path / "plan.json").read_bytes()) < 8000
    older = json.loads((tmp_path / "plan.json").read_text())
    del older["seen"]
    (tmp_path / "plan.json").write_text(json.dumps(older))
    assert unlike(Plan.load(tmp_path / "plan.json"), *inverted) == []


def test_the_fingerprint_comes_back_from_json(dataset):
    found = fingerprint(dataset.split().unlabeled, ["MRI"])
    again = Fingerprint.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.seen() == found.seen()
    assert again.seen().scans == 10


def test_test_scans_are_not_looked_at(dataset, plan):
    seen = fingerprint([*dataset.split().labeled, *dataset.split().unlabeled], ["MRI"]).seen()
    assert plan.seen == seen
    assert seen.scans == seen.channels[0].images == 16


def test_too_few_images_for_gray_values_and_odd_scans_end_nothing(dataset, scan):
    two = fingerprint(dataset.split().unlabeled[:2], ["MRI"]).seen()
    assert two.channels == ()
    split = dataset.split()
    plan = make_plan(dataset, split).model_copy(update={"seen": two})
    assert set(of(plan, scan[0], double(scan[1]))) == {"spacing"}
    for odd in (np.full_like(scan[0], np.nan), np.zeros_like(scan[0])):
        assert of(make_plan(dataset, split), odd, scan[1])["appearance"]
    assert unlike(plan, scan[0][:, :, :, 0], Grid((20, 22), np.eye(4))) == []


def test_pictures_have_rows_and_columns(tmp_path):
    dataset = Dataset.open(make_dataset(tmp_path, labeled=4, unlabeled=4, shape=(40, 30)))
    plan = make_plan(dataset, dataset.split(), patch=16)
    image, grid, _ = load_case(dataset.split().test[0], 1)
    assert unlike(plan, image, grid) == []
    found = of(plan, image[:, :8], Grid((8, 30), grid.affine))
    assert found["size"].text == "8 voxels along rows, training scans 40 to 40"
    assert found.keys() <= {"size", "appearance"}


def test_a_scan_without_orientation_is_compared_as_it_lies(plan, scan):
    broken = Grid(scan[1].shape, np.diag([0.0, 0.0, 0.0, 1.0]))
    assert "spacing" in of(plan, scan[0], broken)
