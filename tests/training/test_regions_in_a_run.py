"""Regions as whole runs: three methods learn two nested ones, others refuse, predictions are scored."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset

from semiseg import methods
from semiseg.advice.advise import recommend
from semiseg.comparison.compare import compare
from semiseg.dataset.adopt import adopt
from semiseg.dataset.case import load_case
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.tables import write
from semiseg.prediction.model import Model
from semiseg.prediction.predict import predict
from semiseg.settings.resolve import resolve
from semiseg.training.train import train

REGIONS = {"whole": (1, 2), "core": (2,)}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A ball (1 and 2) with a core (2), as nnU-Net describes regions; two cases in the validation list."""
    folder = make_dataset(tmp_path_factory.mktemp("data"), labeled=4, unlabeled=2, test=2, classes=3)
    content = json.loads((folder / "dataset.json").read_text())
    content |= {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    (folder / "dataset.json").write_text(json.dumps(content))
    (folder / "splits.json").write_text(json.dumps({"val": ["case_03"], "order": ["case_00", "case_01"]}))
    return folder


def config(method: str, iterations: int = 60, **flags: object):
    flags = {
        "method.name": method,
        "train.iterations": iterations,
        "train.log_every": 5,
        "optimizer.lr": 0.05,
        "plan.patch": (16, 16, 16),
        "plan.features": (8, 16),
        "plan.batch": 2,
        "train.precision": "32",
        "validation.every": iterations,
        **flags,
    }
    return resolve(flags=flags, environment={})


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Method -> its run, trained once."""
    made = {}
    folder = tmp_path_factory.mktemp("runs")

    def run(method: str):
        if method not in made:
            options = {"method.options.rounds": 1} if method == "self_training" else {}
            iterations = 100 if method == "self_training" else 60
            made[method] = train(
                data,
                config(method, iterations, **options),
                run=folder / method,
                device="cpu",
                workers=0,
            )
        return made[method]

    return run


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "mean_teacher", "self_training"])
def test_two_nested_regions_are_learned(runs, method):
    run = runs(method)
    summary = json.loads((run.folder / "validation" / "summary.json").read_text())
    assert summary["labels"] == {"whole": [1, 2], "core": 2}
    dice = {key: row["Dice"] for key, row in summary["mean"].items()}
    assert dice.keys() == {"(1, 2)", "2"}
    assert min(dice.values()) > 0.8
    assert run.plan.regions == REGIONS
    assert set(run.manifest["class_shares"]) == set(REGIONS)
    shares = run.manifest["class_shares"]
    assert shares["whole"]["labels"] > shares["core"]["labels"] > 0


def test_pseudo_labels_are_painted_and_unsure_voxels_ignored(runs):
    place = runs("self_training").folder / "pseudo_labels"
    kept = json.loads((place / "round1.json").read_text())["kept"]
    values = {case: set(np.unique(np.load(place / "round1" / f"{case}.taught.npy"))) for case in kept}
    assert set().union(*values.values()) == {0, 1, 2, 255}


def test_predictions_are_scored_by_region(runs, data, tmp_path):
    """Against numbers counted by hand, with mirrored views, an ensemble, and the uncertainty."""
    models = [runs(name).folder for name in ("supervised", "mean_teacher")]
    options = {"device": "cpu", "overrides": {"mirror": True}}
    report = predict(data, tmp_path, models, uncertainty=True, **options)
    found = evaluate_folders(data / "labelsTs", tmp_path, workers=1)
    dice: dict[str, list[float]] = {name: [] for name in REGIONS}
    for case in report.done:
        labels, truth = (
            np.asarray(nib.load(folder / f"{case.id}.nii.gz").dataobj)
            for folder in (tmp_path, data / "labelsTs")
        )
        assert set(np.unique(labels)) == {0, 1, 2}
        for name, values in REGIONS.items():
            a, b = np.isin(labels, values), np.isin(truth, values)
            dice[name].append(2 * (a & b).sum() / (a.sum() + b.sum()))
            assert case.sizes[name] == pytest.approx(a.sum() / 1000, abs=1e-4)
    assert found.class_means("Dice") == pytest.approx({name: np.mean(v) for name, v in dice.items()})
    assert min(found.class_means("Dice").values()) > 0.8
    record = json.loads((tmp_path / "ts_00.json").read_text())
    assert record["regions"] == {"whole": [1, 2], "core": [2]}
    uncertain = np.asarray(nib.load(tmp_path / "ts_00_entropy.nii.gz").dataobj)
    assert 0 <= uncertain.min() < uncertain.max() <= 1


def test_runs_are_compared_by_region(runs, data):
    folders = [runs(method).folder for method in ("supervised", "mean_teacher")]
    for folder in folders:
        predict(data, folder / "test", folder, device="cpu")
        write(evaluate_folders(data / "labelsTs", folder / "test", workers=1), folder / "test")
    (group,) = compare(folders, baseline="supervised").groups
    assert list(group.classes) == list(REGIONS)


def test_the_label_map_is_painted_from_the_probabilities(runs, data):
    model = Model.load(runs("supervised").folder, "cpu")
    case = Dataset.open(data).test[0]
    image, grid, _ = load_case(case, 1)
    found = model.segment(image, grid, probabilities=True)
    assert found.probabilities is not None
    p = found.probabilities
    wanted = np.where(p[1] > 0.5, 2, np.where(p[0] > 0.5, 1, 0))
    np.testing.assert_array_equal(found.labels, wanted)
    assert not np.allclose(p.sum(0), 1)


def test_other_methods_refuse_before_anything_is_prepared(data, tmp_path, monkeypatch):
    monkeypatch.setattr("semiseg.training.single.prepare", lambda *a, **b: pytest.fail("prepared"))
    with pytest.raises(UsageError, match="method 'ua_mt' cannot train regions") as refused:
        train(data, config("ua_mt"), run=tmp_path / "run", device="cpu")
    assert "fixmatch, mean_teacher, self_training, supervised" in refused.value.hint
    assert not (tmp_path / "run").exists()


def test_check_and_advice_take_regions(data):
    report = check(data)
    assert report.ok, report.as_text()
    ranking = recommend(data, device="cpu").ranking
    assert {choice.method for choice in ranking} == set(methods.names("regions"))


def test_init_keeps_what_is_said_of_regions(data, tmp_path):
    made = adopt(data, tmp_path / "copy", workers=1)
    old = json.loads((data / "dataset.json").read_text())
    assert {key: made.dataset[key] for key in old} == old
    assert Dataset.open(tmp_path / "copy").regions == REGIONS


def test_label_files_hold_only_values_of_regions(data, tmp_path):
    folder = make_dataset(tmp_path, labeled=2, unlabeled=0, test=0, classes=4, shape=(12, 12, 12))
    (folder / "dataset.json").write_text((data / "dataset.json").read_text())
    assert "LABEL_VALUES" in {problem.code for problem in check(folder).errors}
