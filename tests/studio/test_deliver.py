"""What leaves the studio: models, and predictions as DICOM of the series that the scans came as."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.delivery.ground import make_full_run
from tests.images.synthetic_dicom import OBLIQUE, volume, write_series
from tests.studio.conftest import client_of
from tests.trained import make_plan, make_run

import semiseg
from semiseg.errors import UsageError
from semiseg.prediction.model import Model
from semiseg.preparation.plan import ChannelPlan
from semiseg.studio.archive import stream
from semiseg.studio.desk import Desk
from semiseg.studio.origin import SeriesFolder
from semiseg.studio.serve import open_or_adopt

pytest.importorskip("fastapi", reason='needs `pip install "semiseg[studio]"`')

from starlette.testclient import TestClient


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_model_leaves_as_the_command_exports_it(web: TestClient, folder: Path, tmp_path: Path) -> None:
    predicted = "round-001"
    run = make_full_run(folder / "studio" / "runs" / predicted)
    told = web.get("/api/deliver").json()
    assert told["runs"] == [predicted]
    assert {one["to"]: one["lacks"] for one in told["models"]}["zip"] is None
    assert all("nothing says which series" in one["lacks"] for one in told["dicom"])
    answer = web.get("/api/deliver/model.zip", params={"run": predicted})
    assert answer.headers["content-disposition"] == f'attachment; filename="{predicted}.zip"'
    (tmp_path / "model.zip").write_bytes(answer.content)
    wanted = semiseg.export(run, tmp_path / "out", to="zip").folder / "model.zip"
    assert answer.content == wanted.read_bytes()
    assert Model.load(tmp_path / "model.zip", "cpu").members[0].source["step"] == 7
    torch = members(web.get("/api/deliver/model.zip", params={"run": predicted, "to": "torch"}).content)
    assert {Path(name).name for name in torch} == {"model.pt2", "model.json", "MODEL.md"}
    for path, status, said in (
        ("model.zip?run=../round-001", 404, "unknown run"),
        (f"model.zip?run={predicted}&to=exe", 400, "unknown kind of export"),
        (f"predictions.zip?run={predicted}", 404, "unknown run"),
        (f"predictions.zip?run={predicted}&to=png", 400, "unknown form"),
    ):
        refused = web.get(f"/api/deliver/{path}")
        assert (refused.status_code, said in refused.json()["message"]) == (status, True), refused.text
    assert list((folder / "studio" / "incoming").iterdir()) == []


def test_predictions_leave_as_dicom_of_their_series(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    pile = tmp_path / "scans"
    for k in range(3):
        write_series(pile / f"patient{k}", volume(seed=k), orientation=OBLIQUE)
    root = open_or_adopt(pile)
    run, out = root / "studio" / "runs" / "round-001", root / "studio" / "predictions" / "round-001"
    make_run(run, make_plan(channels=(ChannelPlan(name="CT", scheme="none"),)), shift=999.0)
    semiseg.predict(root / "imagesUn", out, run, device="cpu", workers=0)
    for file in sorted(pile.glob("patient2/*"))[:3]:
        file.unlink()
    desk = Desk(root)
    web = client_of(desk)
    assert [one["lacks"] for one in web.get("/api/deliver").json()["dicom"]] == [None, None]
    for form, ending in (("dicom-seg", ".seg.dcm"), ("rtstruct", ".rtstruct.dcm")):
        params = {"run": "round-001", "to": form}
        found = members(web.get("/api/deliver/predictions.zip", params=params).content)
        cases = {Path(name).name.removesuffix(ending) for name in found if name.endswith(ending)}
        assert len(cases) == 2
        assert "patient2: " in found[f"round-001_{form}/not_written.txt"].decode()
    desk.close()
    params["to"] = "dicom-seg"
    directly = semiseg.predict(pile / "patient0", tmp_path / "out", run, device="cpu", to="dicom-seg")
    found = members(client_of(desk).get("/api/deliver/predictions.zip", params=params).content)
    one = next(content for name, content in found.items() if "patient0" in name)
    (wanted,) = directly.done
    masks = [highdicom.seg.segread(source) for source in (io.BytesIO(one), wanted.outputs["dicom-seg"])]
    np.testing.assert_array_equal(masks[0].pixel_array, masks[1].pixel_array)
    places = [
        [
            frame.PlanePositionSequence[0].ImagePositionPatient
            for frame in mask.PerFrameFunctionalGroupsSequence
        ]
        for mask in masks
    ]
    assert places[0] == places[1]
    assert json.loads((root / "studio" / "source.json").read_text())["source"] == str(pile)


def test_the_series_of_a_dataset_are_found_beside_it_or_where_they_are_said_to_be(tmp_path: Path) -> None:
    pile, root = tmp_path / "scans", tmp_path / "data"
    for k in range(2):
        write_series(pile / "study" / f"patient{k}", volume((4, 8, 8), seed=k), orientation=OBLIQUE)
    semiseg.init(pile, root)
    desk = Desk(root)
    assert (desk.series.path, desk.series.lacks) == (pile, None)
    assert sorted(desk.series.cases) == ["patient0", "patient1"]
    (tmp_path / "elsewhere").mkdir()
    away = pile.rename(tmp_path / "elsewhere" / "scans")
    write_series(pile / "study" / "patient0", volume((4, 8, 8), seed=5))  # another one with the same name
    desk.close()
    desk = Desk(root)
    assert "--series FOLDER" in str(desk.series.lacks)
    with pytest.raises(UsageError, match="does not hold the series of patient0"):
        desk.series.name(pile)
    desk.series.name(away)
    desk.close()
    assert Desk(root).series.path == away
    shutil.move(shutil.make_archive(str(tmp_path / "packed"), "zip", away), tmp_path / "scans.zip")
    assert SeriesFolder(Desk(root).places).path == away
    (tmp_path / "of_zip").mkdir()
    semiseg.init(tmp_path / "scans.zip", tmp_path / "of_zip" / "data")
    other = Desk(tmp_path / "of_zip" / "data")
    assert other.series.path is None
    other.series.name(tmp_path / "scans.zip")
    assert other.series.lacks is None


def test_an_archive_is_whole_however_it_is_cut(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(np.random.default_rng(0).bytes(3 * 2**20 + 5))
    pieces = list(stream([("a/large", tmp_path / "large"), ("note.txt", "ä")]))
    assert max(map(len, pieces)) < 2**20 + 1000
    found = members(b"".join(pieces))
    assert found == {"a/large": (tmp_path / "large").read_bytes(), "note.txt": "ä".encode()}
