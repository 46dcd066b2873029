"""The list, one case, its files; saving, conflicts, accepting, rejecting, drafts and marks."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from pathlib import Path
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.factories import make_dataset
from tests.studio.conftest import client_of

from semiseg import images
from semiseg.dataset.ledger import read_entries
from semiseg.images.grid import Grid
from semiseg.studio.desk import Desk
from semiseg.studio.index import selected


def volume(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    loaded = nib.Nifti1Image.from_bytes(content)
    return np.asanyarray(loaded.dataobj), loaded.affine


def drawing(web: TestClient, name: str, value: int = 1) -> tuple[np.ndarray, bytes]:
    """What a page would send back: some voxels on the grid that it was given."""
    scan, affine = volume(web.get(f"/api/cases/{name}/image/0.nii").content)
    label = np.zeros(scan.shape[:3], np.uint8)
    label[2:6, 3:7, : max(1, scan.shape[2] // 2)] = value
    return label, nib.Nifti1Image(label, affine).to_bytes()


def test_the_list_is_paged_filtered_sorted_and_searched(web: TestClient) -> None:
    found = web.get("/api/cases?size=2&page=2&sort=id&order=desc").json()
    assert (found["total"], [row["id"] for row in found["cases"]]) == (6, ["un_00", "ts_00"])
    assert found["counts"] == {
        "labeled": 2, "accepted": 0, "predicted": 0, "unlabeled": 3, "test": 1, "bad": 0,
    }  # fmt: skip
    assert web.get("/api/cases?state=labeled,test").json()["total"] == 3
    assert [r["id"] for r in web.get("/api/cases?search=N_01").json()["cases"]] == ["un_01"]
    for wrong in ("sort=color", "state=lost", "page=0", "size=9999", "page=x"):
        assert web.get(f"/api/cases?{wrong}").status_code == 400


def test_a_saved_drawing_is_the_label(web: TestClient, folder: Path) -> None:
    label, content = drawing(web, "un_00")
    web.put("/api/cases/un_00/draft?version=0", content=content)
    assert web.get("/api/cases/un_00").json()["draft_url"]
    answer = web.put(
        "/api/cases/un_00/label?version=0&source=drawn",
        content=content,
        headers={"X-Semiseg-User": "J%C3%B6rg"},
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["version"], answer.json()["state"]) == (1, "labeled")
    written = images.read_label(folder / "labelsTr" / "un_00.nii.gz").array
    assert np.array_equal(written, label)
    served, _ = volume(web.get("/api/cases/un_00/label.nii").content)
    assert np.array_equal(served, label)
    (entry,) = read_entries(folder / "labels.jsonl")
    assert (entry.by, entry.source) == ("Jörg", "drawn")
    assert web.get("/api/cases/un_00").json()["versions"][0]["by"] == "Jörg"


def test_an_outdated_save_keeps_both(web: TestClient) -> None:
    first, content = drawing(web, "case_00")
    assert web.put("/api/cases/case_00/label?version=1", content=content).json()["version"] == 2
    other, theirs = drawing(web, "case_00", value=0)
    answer = web.put("/api/cases/case_00/label?version=1", content=theirs)
    assert answer.status_code == 409
    told = answer.json()
    assert (told["code"], told["details"]["current"]) == ("OUTDATED_VERSION", 2)
    kept, _ = volume(web.get(f"/api/cases/case_00/label.nii?version={told['details']['kept']}").content)
    now, _ = volume(web.get("/api/cases/case_00/label.nii").content)
    before = web.get("/api/cases/case_00/label.nii?version=1")
    assert np.array_equal(kept, other)
    assert np.array_equal(now, first)
    assert before.status_code == 200
    conflicts = [v for v in web.get("/api/cases/case_00").json()["versions"] if v["kept_as"] == "conflict"]
    assert len(conflicts) == 1


def test_a_label_that_check_refuses_is_not_written(web: TestClient, folder: Path) -> None:
    _, content = drawing(web, "un_00", value=9)
    answer = web.put("/api/cases/un_00/label?version=0", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_LABEL")
    assert answer.json()["details"]["problems"][0]["code"] == "LABEL_VALUES"
    for junk in (b"", b"not an image", b"\0" * 400, content[:200]):
        assert web.put("/api/cases/un_00/label?version=0", content=junk).json()["code"] == "BAD_LABEL"
    assert not (folder / "labelsTr" / "un_00.nii.gz").exists()
    assert not list((folder / "studio" / "incoming").iterdir())


def test_a_label_of_another_tool_is_taken_in(web: TestClient, folder: Path, tmp_path: Path) -> None:
    label, _ = drawing(web, "un_01")
    path = tmp_path / "label.nrrd"
    images.write(path, label, images.read_header(folder / "imagesUn" / "un_01_0000.nii.gz").grid)
    with path.open("rb") as stream:
        answer = web.post("/api/cases/un_01/import?version=0", files={"file": ("my label.nrrd", stream)})
    assert answer.json()["version"] == 1, answer.text
    assert answer.json()["case"]["source"] == "imported"
    wrong = web.post("/api/cases/un_01/import?version=1", files={"file": ("x.exe", io.BytesIO(b"MZ"))})
    assert wrong.json()["code"] == "BAD_LABEL"


def test_predictions_are_shown_accepted_and_corrected(web: TestClient, folder: Path, predicted: str) -> None:
    row = web.get("/api/cases/un_00").json()
    assert (row["state"], row["run"]) == ("predicted", predicted)
    assert row["uncertainty"] > 0
    assert row["volumes_of"] == "prediction"
    assert row["expected_dice"] is None
    assert "not calibrated" in row["expected_dice_reason"]
    map_, _ = volume(web.get(row["uncertainty_url"]).content)
    assert map_.dtype == np.float32
    assert 0 <= map_.min() < map_.max() <= 1
    answer = web.post("/api/cases/un_00/accept", json={"run": predicted, "version": 0})
    assert (answer.json()["state"], answer.json()["version"]) == ("accepted", 1)
    _, content = drawing(web, "un_01")
    web.put(f"/api/cases/un_01/label?version=0&source=corrected&run={predicted}", content=content)
    shown = web.get("/api/cases/un_01").json()
    assert shown["versions"][0]["agreement"] == pytest.approx(shown["dice"]["mean"])
    difference, _ = volume(web.get("/api/cases/un_01/difference.nii").content)
    assert set(np.unique(difference)) <= {0, 1, 2, 3}
    sources = {entry.case: (entry.source, entry.run) for entry in read_entries(folder / "labels.jsonl")}
    assert sources == {"un_00": ("accepted", predicted), "un_01": ("corrected", predicted)}
    results = web.post("/api/accept", json={"cases": ["un_02", "un_00"]}).json()
    assert results["accepted"] == ["un_02"]
    assert results["refused"][0]["code"] == "LABELED"


def test_a_rejected_scan_is_bad_until_it_is_restored(web: TestClient) -> None:
    row = web.post("/api/cases/un_00/reject", json={"reason": "motion"}).json()["case"]
    assert (row["state"], row["note"]) == ("bad", "motion")
    assert web.post("/api/cases/un_00/restore").json()["case"]["state"] == "unlabeled"


def test_drafts_belong_to_an_annotator_and_survive_the_server(folder: Path, web: TestClient) -> None:
    _, content = drawing(web, "un_00")
    anna = {"X-Semiseg-User": "anna"}
    assert web.put("/api/cases/un_00/draft?version=3", content=content, headers=anna).json()["saved"]
    again = client_of(Desk(folder))
    found = again.get("/api/cases/un_00/draft.nii", headers=anna)
    assert (found.content, found.headers["x-semiseg-version"]) == (content, "3")
    assert again.get("/api/cases/un_00/draft.nii").status_code == 404
    assert again.get("/api/cases?search=un_00", headers=anna).json()["cases"][0]["draft"]
    again.delete("/api/cases/un_00/draft", headers=anna)
    assert again.get("/api/cases/un_00/draft.nii", headers=anna).status_code == 404


@pytest.mark.parametrize("two", [("Dr. A", "Dr A"), ("anna", "Anna"), ("a/b", "a_b"), ("x" * 70, "x" * 71)])
def test_names_that_look_alike_have_drafts_of_their_own(web: TestClient, two: tuple[str, str]) -> None:
    _, content = drawing(web, "un_00")
    here, there = ({"X-Semiseg-User": quote(name)} for name in two)
    web.put("/api/cases/un_00/draft?version=0", content=content, headers=here)
    assert web.get("/api/cases/un_00/draft.nii", headers=there).status_code == 404
    web.delete("/api/cases/un_00/draft", headers=there)
    assert web.get("/api/cases/un_00/draft.nii", headers=here).content == content


def test_a_prediction_that_vanishes_is_no_longer_listed(
    folder: Path, web: TestClient, predicted: str
) -> None:
    found = web.get("/api/cases?state=predicted").json()["cases"]
    first = found[0]["id"]
    for path in (folder / "studio" / "predictions").rglob(f"{first}*"):
        path.unlink()
    assert first not in [row["id"] for row in web.get("/api/cases?state=predicted").json()["cases"]]


def test_a_save_leaves_the_draft_of_another_tab(web: TestClient) -> None:
    _, content = drawing(web, "un_00")
    web.put("/api/cases/un_00/draft?version=0&client=two", content=content)
    assert web.put("/api/cases/un_00/label?version=0&client=one", content=content).json()["version"] == 1
    left = web.get("/api/cases/un_00").json()
    assert (left["draft"], left["draft_version"]) == (True, 0)
    web.put("/api/cases/un_00/label?version=1&client=two", content=content)
    assert not web.get("/api/cases/un_00").json()["draft"]


def test_a_test_case_says_that_it_has_a_label_which_is_not_told(folder: Path, web: TestClient) -> None:
    row = web.get("/api/cases?search=ts_00").json()["cases"][0]
    assert (row["labeled"], row["volumes"], row["version"]) == (True, None, 0)
    blind = client_of(Desk(folder, blind=True)).get("/api/cases/ts_00").json()
    assert (blind["labeled"], blind["label_url"]) == (True, None)


def test_two_who_draw_on_one_case_are_told(web: TestClient) -> None:
    def say(user: str, client: str, on: bool = True) -> object:
        body = {"client": client, "on": on}
        return web.post("/api/cases/un_00/drawing", json=body, headers={"X-Semiseg-User": user}).json()[
            "drawing"
        ]

    assert say("anna", "tab1") is None
    assert say("bob", "tab2")["user"] == "anna"  # type: ignore[index]
    assert web.get("/api/cases/un_00", headers={"X-Semiseg-User": "bob"}).json()["drawing"]["user"] == "anna"
    say("anna", "tab1", on=False)
    assert say("bob", "tab2") is None


def test_files_are_kept_by_the_browser_until_they_change(web: TestClient) -> None:
    first = web.get("/api/cases/case_00/label.nii")
    again = web.get("/api/cases/case_00/label.nii", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = web.get("/api/cases/case_00/label.nii", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, first.content[:4])
    _, content = drawing(web, "case_00")
    web.put("/api/cases/case_00/label?version=1", content=content)
    changed = web.get("/api/cases/case_00/label.nii", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


def test_the_address_of_a_thumbnail_holds_any_name(folder: Path) -> None:
    desk = Desk(folder)
    row = {**desk.row("case_00", "me"), "id": "50% #1?"}
    assert desk.complete(row, "me")["thumbnail"].startswith("/api/cases/50%25%20%231%3F/thumbnail.png?v=")


def test_a_thumbnail_shows_the_scan_and_the_outline(web: TestClient) -> None:
    with_label = Image.open(io.BytesIO(web.get("/api/cases/case_00/thumbnail.png").content))
    without = Image.open(io.BytesIO(web.get("/api/cases/un_00/thumbnail.png").content))
    colored = [np.ptp(np.array(p).astype(int), axis=-1).max() for p in (with_label, without)]
    assert colored[0] > 50
    assert colored[1] == 0
    assert max(with_label.size) == 160


def test_color_pictures_are_upright_and_drawn_on(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset002_Photos"
    grid = Grid((6, 9), np.eye(4), "px")
    picture = np.zeros((6, 9, 3), np.uint8)
    picture[0, :, 0], picture[:, 8, 1] = 255, 200  # the first row is red, the last column green
    for name in ("a", "b"):
        images.write(folder / "imagesTr" / f"{name}_0000.png", picture, grid)
    images.write(folder / "labelsTr" / "a.png", (picture[..., 0] > 0).astype(np.uint8), grid)
    names = {str(c): name for c, name in enumerate(("R", "G", "B"))}
    content = {"channel_names": names, "labels": {"background": 0, "cell": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(content))
    web = client_of(Desk(folder))
    assert web.get("/api/session").json()["dataset"]["dimension"] == 2
    assert web.get("/api/cases/b").json()["images"][0]["picture"]
    served, affine = volume(web.get("/api/cases/b/image/0.nii").content)
    assert served.shape == (9, 6, 1)
    assert served["R"][3, 0, 0] == 255
    assert (affine[0, 0], affine[1, 1]) == (1, -1)  # columns to the right, rows downward
    label = np.zeros((9, 6, 1), np.uint8)
    label[7, 1, 0] = 1
    answer = web.put("/api/cases/b/label?version=0", content=nib.Nifti1Image(label, affine).to_bytes())
    assert answer.status_code == 200, answer.text
    assert np.argwhere(images.read_label(folder / "labelsTr" / "b.png").array).tolist() == [[1, 7]]
    assert web.get("/api/cases/b/thumbnail.png").status_code == 200


def test_five_thousand_cases_are_listed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(4, 4, 4))
    source = folder / "imagesTr" / "case_00_0000.nii.gz"
    (folder / "imagesUn").mkdir(exist_ok=True)
    for i in range(4999):
        (folder / "imagesUn" / f"un_{i:04d}_0000.nii.gz").hardlink_to(source)
    web = client_of(Desk(folder))
    web.get("/api/cases?size=60")
    readers, read = set(), images.read_header

    def note(path: Path) -> images.Header:
        readers.add(threading.current_thread().name)
        return read(path)

    monkeypatch.setattr(images, "read_header", note)
    found = web.get("/api/cases?size=60&page=40&sort=size&search=un").json()
    assert (found["total"], len(found["cases"])) == (4999, 60)
    assert readers <= {"headers"}  # the answer waits for no scan


def test_a_review_does_not_say_which_run_is_which(web: TestClient, folder: Path, predicted: str) -> None:
    other = folder / "studio" / "predictions" / "round-002"
    shutil.copytree(folder / "studio" / "predictions" / predicted, other)
    asked = web.get(f"/api/review?a={predicted}&b=round-002").json()
    assert (asked["done"], asked["total"]) == (0, 3)
    assert "round" not in json.dumps(asked)
    assert web.get(asked["left_url"]).status_code == 200
    for score in (1, 3, 5):
        assert web.post("/api/review", json={"pair": asked["pair"], "score": 9}).status_code == 400
        asked = web.post("/api/review", json={"pair": asked["pair"], "score": score}).json()
    assert (asked["pair"], asked["done"]) == (None, 3)
    rows = list(csv.DictReader(io.StringIO(web.get("/api/review.csv").text)))
    assert len({row["case"] for row in rows}) == 3
    assert [row["preferred"] for row in rows] == [rows[0]["left"], "", rows[2]["right"]]


def test_names_are_sorted_as_people_count_and_found_without_accents() -> None:
    names = ["scan 10", "scan 2", "Zorn", "Özil", "Müller", "nachher"]
    rows = [{"id": name, "group": "", "state": "unlabeled"} for name in names]
    ordered = ["Müller", "nachher", "Özil", "scan 2", "scan 10", "Zorn"]
    assert [row["id"] for row in selected(rows)] == ordered
    assert [row["id"] for row in selected(rows, order="desc")] == ordered[::-1]
    for search in ("muller", "MÜLLER", "Mu\u0308ller"):
        assert [row["id"] for row in selected(rows, search=search)] == ["Müller"]


def test_each_channel_has_windows_of_its_own(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(6, 7, 8), channels=2)
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"channel_names": {"0": "CT", "1": "T2"}}))
    ct, t2 = client_of(Desk(folder)).get("/api/cases/un_00").json()["images"]
    assert [window["name"] for window in ct["windows"]] == ["soft tissue", "lung", "bone", "brain", "liver"]
    values = np.asarray(nib.load(folder / "imagesUn" / "un_00_0001.nii.gz").dataobj)
    everything = next(window for window in t2["windows"] if window["name"] == "all")
    assert (everything["low"], everything["high"]) == pytest.approx((values.min(), values.max()))
