"""MONAI Label's interface, as its client uses it; `benchmarks/monai_client.py` asks the client itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.trained import make_plan, make_run

from semiseg import images
from semiseg.dataset.ledger import read_entries
from semiseg.studio.desk import Desk

NO_MARK = {"X-Semiseg": ""}


def label_of(folder: Path, name: str) -> bytes:
    image = nib.load(folder / "imagesUn" / f"{name}_0000.nii.gz")
    array = np.zeros(image.shape, np.uint8)
    array[2:5, 2:5, 2:5] = 1
    return nib.Nifti1Image(array, image.affine).to_bytes()


def test_the_facts_have_the_form_that_slicer_reads(web: TestClient, folder: Path) -> None:
    facts = web.get("/info/").json()
    assert facts["labels"] == ["structure 1"]
    assert facts["models"] == {}  # so that Slicer shows no panel to infer with
    assert "segmentation" in facts["trainers"]
    assert facts["datastore"] == {"total": 5, "completed": 2, "label_tags": {"final": 2}, "train": []}
    make_run(folder / "studio" / "runs" / "round-001", make_plan())
    model = web.get("/info/").json()["models"]["segmentation"]
    assert (model["type"], model["labels"], model["dimension"]) == ("segmentation", {"structure 1": 1}, 3)


def test_a_label_from_slicer_is_saved_with_its_author(web: TestClient, folder: Path) -> None:
    files = {"label": ("label.nii", label_of(folder, "un_00"))}
    answer = web.put(
        "/datastore/label?image=un_00&tag=final",
        files=files,
        data={"params": '{"client_id": "bob"}'},
        headers=NO_MARK,
    )
    assert answer.json() == {"image": "un_00", "label": "un_00"}
    (entry,) = read_entries(folder / "labels.jsonl")
    assert (entry.source, entry.by) == ("slicer", "bob")
    back = web.get("/datastore/label?label=un_00&tag=final")
    assert 'filename="un_00.nii.gz"' in back.headers["content-disposition"]
    assert back.content == (folder / "labelsTr" / "un_00.nii.gz").read_bytes()
    assert set(web.get("/datastore/?output=all").json()["objects"]["un_00"]["labels"]) == {"final"}
    assert len(web.get("/datastore/?output=train").json()) == 3
    wrong = web.put("/datastore/label?image=un_01", files={"label": ("x.nii", b"junk")})
    assert (wrong.status_code, "detail" in wrong.json()) == (422, True)


def test_the_next_sample_has_no_label(web: TestClient, predicted: str) -> None:
    for strategy in ("random", "first", "entropy"):
        found = web.post(f"/activelearning/{strategy}", json={"client_id": "x"}).json()
        assert found["id"].startswith("un_")
        assert Path(found["path"]).is_file()
    assert web.post("/activelearning/luck", json={}).status_code == 400
    for name in ("un_00", "un_01", "un_02"):
        web.post(f"/api/cases/{name}/accept", json={"run": predicted, "version": 0})
    assert web.post("/activelearning/random", json={}).json() == {}


def test_what_was_predicted_is_inferred_in_the_format_that_is_wanted(web: TestClient, predicted: str) -> None:
    params = {"params": json.dumps({"result_extension": ".nrrd", "result_dtype": "uint8"})}
    answer = web.post("/infer/segmentation?image=un_00", data=params)
    assert answer.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"NRRD000" in answer.content
    assert b'"label_names": {"structure 1": 1}' in answer.content
    alone = web.post("/infer/segmentation?image=un_00&output=image", data={"params": "{}"})
    assert alone.content[:2] == b"\x1f\x8b"
    told = web.post("/infer/segmentation?image=un_00&output=json", data={"params": "{}"}).json()
    assert set(told["latencies"]) >= {"pre", "infer", "post", "write", "total"}
    assert web.post("/infer/other?image=un_00", data={"params": "{}"}).status_code == 404
    assert web.post("/infer/segmentation?image=nobody", data={"params": "{}"}).status_code == 404
    for wrong in ({"result_extension": "/../x"}, {"result_dtype": "small"}):
        odd = web.post("/infer/segmentation?image=un_00", data={"params": json.dumps(wrong)})
        assert odd.status_code == 400


def test_trainings_are_told_and_stopped(web: TestClient, desk: Desk) -> None:
    assert web.get("/train/").status_code == 404
    assert web.get("/train/?check_if_running=true").status_code == 404
    started = web.post(
        "/train/segmentation", json={"iterations": 5, "device": "cpu", "method": "supervised"}
    ).json()
    assert started["status"] == "SUBMITTED"  # the queue of this test is not looked after
    assert web.post("/train/segmentation", json={}).status_code == 429
    assert web.get("/train/?all=true").json()[0]["id"] == started["id"]
    assert web.get("/train/?check_if_running=true").status_code == 200
    assert web.delete("/train/").json()["status"] == "STOPPED"
    assert web.delete("/train/").status_code == 404


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "case_00"])
def test_an_uploaded_scan_gets_no_name_that_leads_elsewhere(web: TestClient, folder: Path, name: str) -> None:
    scan = (folder / "imagesUn" / "un_00_0000.nii.gz").read_bytes()
    before = {path for path in folder.parent.rglob("*.nii.gz")}
    answer = web.put(
        "/datastore/image", params={"image": name}, files={"file": ("scan.nii.gz", io.BytesIO(scan))}
    )
    new = {path for path in folder.parent.rglob("*.nii.gz")} - before
    if name == "":
        assert [path.parent.name for path in new] == ["imagesUn"]
        assert web.get(f"/api/cases/{answer.json()['image']}").json()["state"] == "unlabeled"
        assert np.array_equal(
            images.read(new.pop()).array, images.read(folder / "imagesUn" / "un_00_0000.nii.gz").array
        )
    else:
        assert answer.status_code == 400
        assert not new


def test_a_session_is_kept_and_ended(web: TestClient, folder: Path, desk: Desk) -> None:
    scan = (folder / "imagesUn" / "un_00_0000.nii.gz").read_bytes()
    made = web.put("/session/", files=[("files", ("scan.nii.gz", scan))]).json()
    assert Path(made["session_info"]["image"]).read_bytes() == scan
    name = made["session_id"]
    assert web.get(f"/session/{name}").json()["name"] == name
    assert web.get(f"/session/{name}?image=true").content == scan
    assert web.delete(f"/session/{name}").status_code == 200
    assert web.get(f"/session/{name}").status_code == 404
    assert not list(desk.sessions.folder.iterdir())
