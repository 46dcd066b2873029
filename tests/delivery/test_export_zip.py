"""A model in one zip: it predicts as its run, it tells no names, and no zip is believed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.delivery.ground import SECRETS, make_full_run

import semiseg
from semiseg.cli import main
from semiseg.errors import SemisegError, UsageError
from semiseg.images.grid import Grid
from semiseg.prediction.model import Model

SCAN = np.random.default_rng(0).normal(0.5, 0.4, (1, 20, 18, 17)).astype(np.float32)
GRID = Grid(SCAN.shape[1:], np.diag([1.0, 1.0, 2.0, 1.0]))


def exported(tmp_path: Path, *runs: Path) -> Path:
    made = semiseg.export(runs, tmp_path / "out", to="zip")
    assert set(made.files) == {"model.zip", "MODEL.md"}
    return made.folder / "model.zip"


def test_a_zip_predicts_as_its_run_in_python_and_on_the_command_line(tmp_path: Path) -> None:
    run = make_full_run(tmp_path / "run", inference={"largest_component": True})
    path = exported(tmp_path, run)
    models = [Model.load(found, "cpu", precision="32") for found in (run, path)]
    one, other = (model.segment(SCAN, GRID).labels for model in models)
    assert one.any()
    assert np.array_equal(one, other)
    assert models[1].settings.largest_component is True
    opened = semiseg.load_run(path)
    assert opened.finished
    with pytest.raises(UsageError, match="does not tell which cases"):
        _ = opened.split
    assert opened.plan.patch == models[0].plan.patch
    assert np.array_equal(opened.model("cpu").segment(SCAN, GRID).labels, one)
    nib.save(nib.Nifti1Image(SCAN[0], GRID.affine), tmp_path / "scan.nii.gz")
    argv = ["-i", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "labels.nii.gz"), "--device", "cpu"]
    assert main(["predict", *argv, "-m", str(path), "--precision", "32"]) == 0
    assert np.array_equal(np.asarray(nib.load(tmp_path / "labels.nii.gz").dataobj), one)


def test_an_ensemble_is_one_zip_and_no_single_run(tmp_path: Path) -> None:
    runs = [make_full_run(tmp_path / name, shift=shift) for name, shift in (("a", 0.0), ("b", 0.2))]
    path = exported(tmp_path, *runs)
    wanted = Model.load(runs, "cpu", precision="32").segment(SCAN, GRID).labels
    assert np.array_equal(Model.load(path, "cpu", precision="32").segment(SCAN, GRID).labels, wanted)
    with pytest.raises(UsageError, match="holds 2 networks, wanted one run"):
        semiseg.load_run(path)
    again = semiseg.export(path, tmp_path / "again", to="zip").document
    assert [one["labeled"] for one in again["about"]] == [2, 2]


def test_nothing_names_a_patient_a_path_or_a_dataset(tmp_path: Path) -> None:
    path = exported(tmp_path, make_full_run(tmp_path / "run"))
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode("latin-1") for name in archive.namelist()}
    texts["beside"] = (path.parent / "MODEL.md").read_text("utf-8")
    for name, text in texts.items():
        assert [secret for secret in SECRETS if secret in text] == [], name
    told = json.loads(texts["model.json"])["about"][0]
    assert told["data"] == {"labeled": 2, "unlabeled": 1, "validation": 0, "test": 1, "license": "CC BY 4.0"}
    assert told["deviations"] == ["a list from five.json"]
    assert "not a medical device" in texts["MODEL.md"]
    assert "License of the data: CC BY 4.0" in texts["MODEL.md"]


def test_the_same_run_makes_the_same_zip_without_pickled_objects(tmp_path: Path) -> None:
    run = make_full_run(tmp_path / "run")
    one, other = (semiseg.export(run, tmp_path / name, to="zip").folder for name in "ab")
    assert (one / "model.zip").read_bytes() == (other / "model.zip").read_bytes()
    with zipfile.ZipFile(one / "model.zip") as archive, archive.open("checkpoints/final.ckpt") as stream:
        assert torch.load(stream, weights_only=True)["kind"] == "semiseg-model"


def rewritten(path: Path, to: Path, **changed: bytes) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, changed.pop(name, None) or old.read(name))
        for name, content in changed.items():
            new.writestr(name, content)
    return to


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"../evil.txt": b"x"}, "outside its folder"),
        ({"/tmp/evil.txt": b"x"}, "outside its folder"),
        ({"big": bytes(70 << 20)}, "files of"),
        ({"model.json": b"{"}, "model.json cannot be read"),
        ({"model.json": b'{"schema": "other"}'}, "not written by semiseg"),
        ({"model.json": b'{"schema": "semiseg-model", "version": 9, "semiseg": "3.0"}'}, "has version 9"),
        ({"checkpoints/final.ckpt": b"PK"}, "model.zip: checkpoints/final.ckpt cannot be"),
    ],
)
def test_a_bad_zip_is_refused_in_a_line(changed: dict[str, bytes], said: str, tmp_path: Path) -> None:
    good = exported(tmp_path, make_full_run(tmp_path / "run"))
    (tmp_path / "bad").mkdir()
    bad = rewritten(good, tmp_path / "bad" / "model.zip", **changed)
    with pytest.raises(UsageError) as found:
        Model.load(bad, "cpu")
    assert said in found.value.message
    assert str(bad) in found.value.message
    assert found.value.hint


def test_a_zip_without_a_model_and_one_that_is_not_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.writestr("scan.nii.gz", b"x")
    with pytest.raises(UsageError, match="holds no model"):
        Model.load(tmp_path / "scans.zip", "cpu")
    for load in (semiseg.load_run, Model.load):
        with pytest.raises(UsageError, match="no model at"):
            load(tmp_path / "nothing.zip")


def test_what_is_there_stays_and_an_export_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = make_full_run(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty"):
            semiseg.export(run, out, to="zip", overwrite=overwrite)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    (tmp_path / ".out.0123abcd.tmp" / "models").mkdir(parents=True)  # of an export that was killed
    semiseg.export(run, out, to="zip")
    before = (out / "model.zip").read_bytes()
    monkeypatch.setattr("semiseg.delivery.zipped.card", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        semiseg.export(run, out, to="zip", overwrite=True)
    assert (out / "model.zip").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_wrong_kinds_and_places(tmp_path: Path) -> None:
    run = make_full_run(tmp_path / "run")
    with pytest.raises(SemisegError, match=r"unknown kind of export 'onx'. Did you mean 'onnx'"):
        semiseg.export(run, tmp_path / "out", to="onx")
    with pytest.raises(UsageError, match="is not a run folder"):
        semiseg.export(tmp_path, tmp_path / "out", to="zip")
    with pytest.raises(UsageError, match="is a file, wanted the name of a folder"):
        semiseg.export(run, run / "config.yaml", to="zip", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def strange_config(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("seed:", "fancy:"))


def strange_checkpoint(run: Path, key: str) -> None:
    file = run / "checkpoints" / "final.ckpt"
    content = torch.load(file, weights_only=True)
    tree = json.loads(content[key])
    (tree if key == "plan" else tree["inference"])["fancy"] = 1
    torch.save(content | {key: json.dumps(tree)}, file)


@pytest.mark.parametrize(
    ("change", "otherwise"),
    [
        (strange_config, "BAD_RUN"),
        (partial(strange_checkpoint, key="plan"), "BAD_CHECKPOINT"),
        (partial(strange_checkpoint, key="config"), "BAD_CHECKPOINT"),
    ],
)
def test_whatever_is_strange_in_a_run_its_version_is_told_in_one_way(
    change: Callable[[Path], None], otherwise: str, tmp_path: Path
) -> None:
    run = make_full_run(tmp_path / "run")
    change(run)
    with pytest.raises(UsageError, match="fancy") as found:
        semiseg.export(run, tmp_path / "out", to="zip")
    assert found.value.code == otherwise  # of this version, so it is damaged
    manifest = run / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"semiseg": "0.0.9"}))
    with pytest.raises(UsageError, match=r"was written by semiseg 0\.0\.9, and this is .*: .*fancy") as found:
        semiseg.export(run, tmp_path / "out", to="zip")
    assert found.value.code == "RUN_VERSION"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
