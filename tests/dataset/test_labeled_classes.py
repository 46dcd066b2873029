"""Cases whose label is of some classes: their loss and scores are of these alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factories import make_dataset
from tests.trained import make_plan

import semiseg
from semiseg.batches import augment
from semiseg.batches.batches import Batches
from semiseg.core import IGNORE
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, UsageError
from semiseg.evaluation.results import evaluate_pairs
from semiseg.images.grid import Grid
from semiseg.losses import dice_ce
from semiseg.preparation.resident import Resident, is_hardly_labeled, partly_labeled


def said(folder: Path, classes: dict[str, list[str]]) -> Path:
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"labeled_classes": classes}))
    return folder


def test_each_class_is_a_region_of_its_own(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, classes=3, labeled=2, unlabeled=1, test=0)
    names = [name for name, value in Dataset.open(folder).labels.items() if value]
    dataset = Dataset.open(said(folder, {"case_00": names[:1]}))
    assert dataset.regions == {names[0]: (1,), names[1]: (2,)}
    assert dataset.regions_class_order == (1, 2)
    assert dataset.labeled_classes == {"case_00": (names[0],)}
    with pytest.raises(DataError, match="labeled_classes of case_00: \\['live'\\]"):
        Dataset.open(said(folder, {"case_00": ["live"]}))
    with pytest.raises(DataError, match="labeled_classes of case_0,"):
        Dataset.open(said(folder, {"case_0": names[:1]}))


def test_other_classes_of_such_a_case_teach_nothing() -> None:
    plan = make_plan(classes=3, patch=(4, 4, 4), regions={"a": (1,), "b": (2,)}, regions_class_order=(1, 2))
    label = torch.ones(4, 4, 4, dtype=torch.uint8)
    cases = [
        Resident(name, torch.zeros(1, 4, 4, 4), label, np.zeros((0, 3), np.int32), torch.device("cpu"))
        for name in ("half", "whole")
    ]
    half, whole = partly_labeled(cases, {"half": ("b",)}, ["a", "b"])
    assert (half.unlabeled, whole.unlabeled) == ((0,), ())
    assert (is_hardly_labeled(half), is_hardly_labeled(whole)) == (True, False)
    for case, wanted in ((half, {IGNORE}), (whole, {1})):
        batches = Batches([case], [], plan, augment.build("none", plan, {}), (2, 0), views=())
        batch = batches(0)
        assert set(batch.y_l[:, 0].unique().tolist()) == wanted
        assert set(batch.y_l[:, 1].unique().tolist()) == {0}
        logits = torch.zeros(2, 2, 4, 4, 4, requires_grad=True)
        dice_ce(logits, batch.y_l).backward()
        assert logits.grad is not None
        assert bool(logits.grad[:, 0].any()) == (case is whole)
        assert bool(logits.grad[:, 1].any())


def test_other_classes_of_such_a_case_have_no_score() -> None:
    maps = np.zeros((4, 4, 4), np.uint8)
    maps[:2] = 1
    guess = maps.copy()
    guess[2:] = 2
    grid = Grid((4, 4, 4), np.eye(4))
    pairs = [("half", guess, maps, grid), ("whole", guess, guess, grid)]
    found = evaluate_pairs(pairs, {"a": 1, "b": 2}, labeled_classes={"half": ["a"]})
    half, whole = found.cases
    assert half.metrics["a"]["Dice"] == whole.metrics["b"]["Dice"] == 1
    assert math.isnan(half.metrics["b"]["Dice"])
    assert half.metrics["b"]["n_pred"] == 0
    assert found.class_means("Dice") == {"a": 1, "b": 1}


def test_a_run_on_such_cases(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, classes=3, labeled=2, unlabeled=1, test=1, shape=(12, 12, 12))
    names = [name for name, value in Dataset.open(folder).labels.items() if value]
    said(folder, {"case_00": names[:1], "ts_00": names[1:]})
    common = {"network": "unet", "device": "cpu", "workers": 0, "iterations": 2}
    settings = {"plan.features": [4, 8], "plan.patch": [8, 8, 8]}
    with pytest.raises(UsageError, match=r"mcf.*regions"):
        semiseg.train(folder, method="mcf", run=tmp_path / "no", settings=settings, **common)
    run = semiseg.train(folder, method="mean_teacher", run=tmp_path / "run", settings=settings, **common)
    assert run.finished
    semiseg.predict(folder / "imagesTs", tmp_path / "maps", run.folder, device="cpu", workers=0)
    scores = semiseg.evaluate(folder / "labelsTs", tmp_path / "maps", dataset=folder)
    assert math.isnan(scores.class_means("Dice")[names[0]])
    assert not math.isnan(scores.class_means("Dice")[names[1]])
