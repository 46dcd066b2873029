"""Parts of large scans: what is drawn on a box lands on the voxels of the scan, and nothing else changes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.studio.conftest import client_of

from semiseg import images
from semiseg.images.grid import Grid
from semiseg.studio import part, scans
from semiseg.studio.desk import Desk

OBLIQUE = np.array([[0, -0.5, 0.1, 7], [0.7, 0, 0, -3], [0, 0.1, 2, 5], [0, 0, 0, 1]])


def box_of(desk: Desk, web: TestClient, monkeypatch: pytest.MonkeyPatch) -> tuple[str, tuple[int, ...]]:
    monkeypatch.setattr(part, "BOX_VOXELS", 400)
    at = ",".join(map(str, nib.load(desk.labels.case("un_00").images[0]).affine @ [2, 11, 7, 1]))
    box = web.get("/api/cases/un_00/part", params={"at": at.rpartition(",")[0]}).json()["box"]
    ends = part.parsed(box, Grid((12, 13, 14), np.eye(4)))
    return box, tuple(high - low for low, high in ends)


def test_a_large_scan_is_read_once_for_its_picture_and_its_page(
    desk: Desk, web: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in {"BIG_VOXELS": 2000, "PREVIEW_VOXELS": 400}.items():
        monkeypatch.setattr(part, name, limit)
    read: list[Path] = []
    real = images.read
    monkeypatch.setattr(scans.images, "read", lambda path: (read.append(path), real(path))[1])
    assert web.get("/api/cases/case_00/thumbnail.png").status_code == 200
    large = [path for path in read if path.parent != desk.places.cache]
    assert large == [desk.labels.case("case_00").images[0]]
    read.clear()
    again = client_of(Desk(folder))  # a server that was started anew
    image = again.get("/api/cases/case_00").json()["images"][0]
    preview = nib.Nifti1Image.from_bytes(again.get(image["preview_url"]).content)
    assert read == []
    assert np.prod(preview.shape) <= 400
    window = preview.header["cal_min"], preview.header["cal_max"]
    assert window == pytest.approx((image["window"]["low"], image["window"]["high"]), rel=1e-6)


def test_a_drawn_box_is_put_into_the_label_of_the_version_it_began_from(
    desk: Desk, web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, shape = box_of(desk, web, monkeypatch)
    assert np.prod(shape) <= 400
    whole = np.random.default_rng(0).integers(0, 2, (12, 13, 14)).astype(np.uint8)
    affine = nib.load(desk.labels.case("un_00").images[0]).affine
    saved = web.put("/api/cases/un_00/label?version=0", content=nib.Nifti1Image(whole, affine).to_bytes())
    assert saved.json()["version"] == 1
    served = nib.Nifti1Image.from_bytes(web.get(f"/api/cases/un_00/label.nii?box={box}").content)
    ends = part.parsed(box, Grid(whole.shape, affine))
    np.testing.assert_array_equal(served.dataobj, whole[part.slices(ends)])
    np.testing.assert_allclose(
        served.affine @ [0, 0, 0, 1], affine @ [*(low for low, _ in ends), 1], atol=1e-4
    )
    drawn = 1 - np.asarray(served.dataobj)
    body = nib.Nifti1Image(drawn, served.affine).to_bytes()
    draft = web.put(f"/api/cases/un_00/draft?version=1&box={box}", content=body)
    assert draft.status_code == 200
    assert web.get("/api/cases/un_00").json()["draft_box"] == box
    answer = web.put(f"/api/cases/un_00/label?version=1&box={box}", content=gzip.compress(body))
    assert answer.json()["version"] == 2, answer.text
    expected = whole.copy()
    expected[part.slices(ends)] = drawn
    case = desk.labels.case("un_00")
    np.testing.assert_array_equal(nib.load(case.label).dataobj, expected)  # type: ignore[attr-defined]
    assert web.get("/api/cases/un_00").json()["draft_box"] is None


@pytest.mark.parametrize("box", ["", "1,2,3", "0,99,0,3,0,3", "3,3,0,3,0,3", "a,b,c,d,e,f", "-1,3,0,3,0,3"])
def test_what_is_no_box_of_the_scan_is_refused(web: TestClient, box: str) -> None:
    answer = web.get(f"/api/cases/un_00/image/0.nii?box={box}")
    assert answer.status_code == (400 if box else 200)
    assert box == "" or answer.json()["code"] == "BAD_BOX"


def test_a_box_of_another_size_than_it_says_is_refused(web: TestClient) -> None:
    body = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes()
    answer = web.put("/api/cases/un_00/label?version=0&box=0,3,0,3,0,3", content=body)
    assert answer.json()["code"] == "BAD_LABEL"


@pytest.mark.parametrize("place", [(0, 0, 0), (60, 40, 20), (119, 79, 39), (500, -500, 20)])
def test_a_box_is_about_as_long_as_wide_and_lies_within_the_scan(
    place: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "BOX_VOXELS", 20_000)
    grid = Grid((120, 80, 40), OBLIQUE)
    box = part.around(grid, (OBLIQUE @ [*place, 1])[:3])
    sizes = [high - low for low, high in box]
    assert 15_000 < np.prod(sizes) <= 20_000
    assert all(0 <= low < high <= n for (low, high), n in zip(box, grid.shape, strict=True))
    edges = np.multiply(sizes, grid.spacing)
    assert edges.max() / edges.min() < 1.2
    if all(0 <= at < n for at, n in zip(place, grid.shape, strict=True)):
        assert all(low <= at < high for at, (low, high) in zip(place, box, strict=True))


@pytest.mark.parametrize("spelled", ["", "preview", "2,9,0,4,1,3"])
def test_a_part_keeps_the_places_of_voxels(spelled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "PREVIEW_VOXELS", 60)
    grid = Grid((10, 8, 6), OBLIQUE)
    numbers = np.arange(480).reshape(grid.shape)
    found, where = part.cut(numbers, grid, spelled)
    index = np.argwhere(found >= 0)
    places = np.c_[index, np.ones(len(index))] @ where.affine.T
    original = np.argwhere(np.isin(numbers, found))
    np.testing.assert_allclose(places, np.c_[original, np.ones(len(original))] @ OBLIQUE.T, atol=1e-9)


def test_single_slices_are_saved_with_ignore_elsewhere(folder: Path) -> None:
    file = folder / "dataset.json"
    content = json.loads(file.read_text())
    value = len(content["labels"])
    content["labels"]["ignore"] = value
    file.write_text(json.dumps(content))
    desk = Desk(folder)
    web = client_of(desk)
    slices = [{"axis": 0, "index": 3, "name": "sagittal", "score": 0.5, "at": [0, 0, 0]}]
    ranked = [{"id": "un_00", "rank": 1, "score": 1.0, "reason": "test", "slices": slices}]
    desk.places.ranking.write_text(json.dumps({"strategy": "random", "cases": ranked}))
    assert web.get("/api/cases/un_00").json()["slices"] == slices
    affine = nib.load(desk.labels.case("un_00").images[0]).affine
    body = nib.Nifti1Image(np.ones((12, 13, 14), np.uint8), affine).to_bytes()
    address = "/api/cases/un_00/label?version=0&planes="
    assert web.put(address + "0:99", content=body).json()["code"] == "BAD_PLANE"
    assert web.put(address + "x", content=body).json()["code"] == "BAD_PLANE"
    saved = web.put(address + "0:3,2:0", content=body)
    assert saved.json()["version"] == 1, saved.text
    label = np.asarray(nib.load(folder / "labelsTr" / "un_00.nii.gz").dataobj)
    assert np.all(label[3] == 1)
    assert np.all(label[:, :, 0] == 1)
    assert (label == value).sum() == 11 * 13 * 13
    desk.close()
