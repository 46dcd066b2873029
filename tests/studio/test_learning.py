"""What the rounds have brought, from run folders and the ledger; what a round trains on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.factories import make_dataset
from tests.studio.conftest import client_of

import semiseg
from semiseg.errors import SemisegError
from semiseg.runs.run import save_config
from semiseg.settings.config import Config
from semiseg.studio import progress
from semiseg.studio.desk import Desk
from semiseg.studio.learning import forecast
from semiseg.studio.orders import minutes_of
from semiseg.studio.places import Places
from semiseg.studio.rounds import _link, training_round


def run_folder(desk: Desk, name: str, labeled: int, dice: list[float]) -> None:
    folder = desk.places.runs / name
    (folder / "checkpoints").mkdir(parents=True)
    save_config(Config(), folder / "config.yaml")
    (folder / "plan.json").write_text("{}")
    (folder / "checkpoints" / "final.ckpt").write_bytes(b"")
    manifest = {
        "method": "supervised",
        "labeled": labeled,
        "validation": 2,
        "selection": "best-val",
        "sessions": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "splits.json").write_text("{}")
    events = [{"event": "validated", "step": i, "scores": {"dice": value}} for i, value in enumerate(dice)]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n{torn")


def test_the_curve_over_rounds_and_its_forecast(desk: Desk, web: TestClient) -> None:
    assert web.get("/api/results").json()["rounds"] == []
    for number, (labels, dice) in enumerate([(4, 0.6), (8, 0.72), (16, 0.8)], start=1):
        run_folder(desk, f"round-{number:03d}", labels, [dice - 0.1, dice, dice - 0.05])
    told = web.get("/api/results").json()
    assert [(one["labels"], one["dice"]) for one in told["rounds"]] == [(4, 0.6), (8, 0.72), (16, 0.8)]
    found = told["forecast"]
    assert found["labels"] == 26
    assert 0.8 < found["low"] <= found["dice"] <= found["high"] < 0.9
    assert [run["id"] for run in web.get("/api/runs").json()["runs"]] == [
        "round-003",
        "round-002",
        "round-001",
    ]
    assert web.get("/api/runs/round-001").json()["manifest"]["labeled"] == 4


def test_a_forecast_needs_three_rounds_and_never_expects_less() -> None:
    assert forecast([(4, 0.5), (8, 0.6)])[0] is None
    worse, _ = forecast([(4, 0.8), (8, 0.7), (12, 0.6)])
    assert worse is not None
    assert worse["dice"] == pytest.approx(0.71, abs=0.02)  # flat: more labels are not expected to do harm


@pytest.mark.parametrize("name", ["scan_0000", "scan.v2_0000"])
def test_voxels_beside_a_header_go_with_it(tmp_path: Path, name: str) -> None:
    for ending in (".mhd", ".raw"):
        (tmp_path / f"{name}{ending}").write_text(ending)
    place = tmp_path / "round"
    place.mkdir()
    _link(tmp_path / f"{name}.mhd", place / "a_0000.mhd")
    assert (place / f"{name}.raw").read_text() == ".raw"


def test_a_round_trains_on_a_copy_of_the_lists_as_they_are(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=3, unlabeled=3, test=1, shape=(8, 8, 8))
    (folder / "splits.json").write_text(json.dumps({"order": ["case_00", "case_01"], "val": ["case_02"]}))
    desk = Desk(folder)
    web = client_of(desk)
    out = folder / "studio" / "predictions" / "round-001"
    from tests.trained import make_plan, make_run

    run = make_run(folder / "studio" / "runs" / "round-001", make_plan())
    semiseg.predict(folder / "imagesUn", out, run, device="cpu", workers=0)
    web.post("/api/cases/un_00/accept", json={"run": "round-001", "version": 0})
    web.post("/api/cases/un_01/reject", json={"reason": "no"})
    place = training_round(desk.labels, tmp_path / "round")
    split = semiseg.Dataset.open(place).split()
    assert [case.id for case in split.labeled] == ["case_00", "case_01", "un_00"]
    assert [case.id for case in split.val] == ["case_02"]
    assert [case.id for case in split.unlabeled] == ["un_02"]
    assert split.test == ()
    assert split.weights == {}
    assert semiseg.Dataset.open(place).split(accepted=0.5).weights == {"un_00": 0.5}
    without = semiseg.Dataset.open(place).split(accepted=0)
    assert [case.id for case in without.labeled] == ["case_00", "case_01"]
    assert sorted(case.id for case in without.unlabeled) == ["un_00", "un_02"]
    for weight, labels, words in ((1, 3, []), (0.5, 3, ["--set", "data.accepted=0.5"]), (0, 2, ["--set"])):
        body = {"kind": "train", "device": "cpu", "iterations": 1, "accepted": weight}
        job = web.post("/api/jobs", json=body).json()["job"]
        assert job["labels"] == labels
        assert set(words) <= set(desk.queue.get(job["id"])["words"])
    assert web.post("/api/jobs", json={**body, "accepted": 1.5}).status_code == 400
    before = (place / "labelsTr" / "case_00.nii.gz").read_bytes()
    web.post("/api/cases/case_00/reject", json={"reason": "later"})
    assert (place / "labelsTr" / "case_00.nii.gz").read_bytes() == before
    assert semiseg.check(place, workers=1).ok


def test_orders_are_command_lines(web: TestClient, desk: Desk, folder: Path, predicted: str) -> None:
    body = {
        "kind": "train", "method": "supervised", "max_time": "1.5h", "device": "cpu", "start_from": predicted,
        "settings": {"plan.patch": [8, 8, 8]}, "calibrate": True,
    }  # fmt: skip
    job = web.post("/api/jobs", json=body).json()["job"]
    assert (job["state"], job["run"], job["labels"]) == ("queued", "round-002", 2)
    words = desk.queue.get(job["id"])["words"]
    assert words[:1] == ["train"]
    assert words[words.index("--max-time") + 1] == "90"
    assert words[words.index("--set") + 1] == "plan.patch=[8, 8, 8]"
    assert "--calibrate" in words
    for part, step in ((".", 9), ("calibration/fold-0", 2)):  # it is where the newest of its trainings is
        events = folder / "studio" / "runs" / "round-002" / part / "events.jsonl"
        events.parent.mkdir(parents=True, exist_ok=True)
        events.write_text(json.dumps({"event": "stepped", "step": step, "total": 9}) + "\n")
        told = web.get(f"/api/jobs/{job['id']}").json()
        assert (told["step"], told["total"]) == (step, 9)
    assert told["part"] == "calibration, fold 1"
    assert Path(words[words.index("--plan") + 1]).parent.name == predicted
    predict = web.post("/api/jobs", json={"kind": "predict", "run": predicted, "device": "cpu"}).json()["job"]
    assert (predict["step"], predict["total"]) == (3, 3)  # all are predicted already
    for wrong, status in (
        ({"kind": "train", "method": "no_such"}, 400),
        ({"kind": "train", "max_time": "soon"}, 400),
        ({"kind": "train", "device": "toaster"}, 400),
        ({"kind": "train", "start_from": "../round-001"}, 404),
        ({"kind": "train", "settings": {"optimizer.lrr": 1}}, 400),
        ({"kind": "predict", "run": "nobody"}, 404),
        ({"kind": "predict", "run": predicted, "cases": ["../x"]}, 404),
        ({"kind": "dance"}, 400),
    ):
        answer = web.post("/api/jobs", json={"device": "cpu", **wrong})
        assert answer.status_code == status, (wrong, answer.text)
    assert len(web.get("/api/jobs").json()["jobs"]) == 2


def test_a_method_is_recommended_by_the_command(web: TestClient) -> None:
    first = web.get("/api/recommend").json()
    assert (first["ready"], first["method"]) == (False, "supervised")
    end = time.monotonic() + 300
    while not (found := web.get("/api/recommend").json())["ready"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    names = [one["name"] for one in found["methods"]]
    assert found["method"] in names
    assert len(names) > 30
    assert found["reason"] != first["reason"]


@pytest.mark.parametrize(
    ("text", "minutes"), [("20m", 20), ("1.5h", 90), ("90s", 1.5), (5, 5), ("", None), (None, None)]
)
def test_times(text: str | float | None, minutes: float | None) -> None:
    assert minutes_of(text) == minutes


def test_what_is_no_time() -> None:
    for text in ("0", "-3", "m", "1d", "1e9"):
        with pytest.raises(SemisegError, match="is not a duration"):
            minutes_of(text)


def test_a_line_of_events_that_is_cut_to_a_number_is_passed_over(tmp_path: Path) -> None:
    places = Places(tmp_path)
    run = places.runs / "round-001"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text('12\n{"event": "stepped", "ste')  # as a tail begins and ends
    job = {"id": "0001-train", "kind": "train", "state": "running", "run": "round-001"}
    assert progress.told(job, places)["step"] is None
