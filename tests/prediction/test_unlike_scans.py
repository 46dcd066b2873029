"""A scan unlike the training scans is told of in the terminal, its record and the report."""

from __future__ import annotations

import json
import logging
import shutil

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset
from tests.trained import make_plan, make_run

from semiseg.cli import main
from semiseg.dataset.dataset import Dataset
from semiseg.prediction.predict import predict
from semiseg.preparation.fingerprint import fingerprint
from semiseg.preparation.plan import ChannelPlan


@pytest.fixture
def place(tmp_path):
    """Test scans, two of them with spacing doubled, one of these inverted; and a run that knows better."""
    dataset = Dataset.open(make_dataset(tmp_path, labeled=4, unlabeled=8, test=4))
    split = dataset.split()
    seen = fingerprint([*split.labeled, *split.unlabeled], ["MRI"]).seen()
    plan = make_plan(channels=(ChannelPlan(name="MRI", scheme="zscore"),), seen=seen)
    make_run(tmp_path / "run", plan)
    make_run(tmp_path / "older", plan.model_copy(update={"seen": None}))
    scans = tmp_path / "scans"
    shutil.copytree(dataset.root / "imagesTs", scans)
    for name in ("ts_00", "ts_01"):
        file = scans / f"{name}_0000.nii.gz"
        array = nib.load(file).get_fdata(dtype=np.float32)
        array = array.max() - array if name == "ts_01" else array
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), file)
    return tmp_path


def test_one_line_per_kind_with_counts(place, caplog):
    report = predict(place / "scans", place / "out", place / "run", device="cpu")
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert lines == [
        "2 of 4 scans unlike the training scans in spacing, such as ts_00: "
        "2 mm along R, training scans 1 to 1",
        next(
            line for line in lines if line.startswith("1 of 4 scans unlike the training scans in appearance")
        ),
    ]
    told = json.loads((place / "out" / "prediction_report.json").read_text())["unlike"]
    assert told == {"spacing": ["ts_00", "ts_01"], "appearance": ["ts_01"]}
    record = json.loads((place / "out" / "ts_01.json").read_text())
    assert [one["kind"] for one in record["unlike"]] == ["spacing", "appearance"]
    assert record["unlike"][0] | {"text": ""} == {
        "kind": "spacing", "text": "", "value": 2.0, "seen": [1.0, 1.0]
    }  # fmt: skip
    assert json.loads((place / "out" / "ts_02.json").read_text())["unlike"] == []
    caplog.clear()
    again = predict(place / "scans", place / "out", place / "run", device="cpu")
    assert [case.status for case in again.cases] == ["skipped"] * 4
    assert again.as_dict()["unlike"] == report.as_dict()["unlike"]
    assert sum("unlike" in r.getMessage() for r in caplog.records) == 2


def test_older_models_say_nothing_but_once_when_asked(place, caplog):
    caplog.set_level(logging.DEBUG, logger="semiseg")
    report = predict(place / "scans", place / "out", place / "older", device="cpu")
    assert report.unlike == {}
    assert sum("training scans" in r.getMessage() for r in caplog.records) == 1
    assert not [r for r in caplog.records if r.levelno == logging.WARNING and "unlike" in r.getMessage()]


def test_the_last_line_of_the_command_counts_them(place, capsys):
    one = place / "scans" / "ts_01_0000.nii.gz"
    arguments = ["predict", "-i", str(one), "-o", str(place / "one.nii.gz"), "-m", str(place / "run")]
    assert main([*arguments, "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert ", 1 unlike the training scans: " in captured.out
    assert "warning: unlike the training scans in spacing: ts_01: 2 mm along R" in captured.err
