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


def test_classes_stay_classes(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, classes=3, labeled=2, unlabeled=1, test=0)
    names = [name for name, value in Dataset.open(folder).labels.items() if value]
    dataset = Dataset.open(said(folder, {"case_00": names[:1]}))
    assert (dataset.regions, dataset.label_form) == ({}, "partial")
    assert dataset.labeled_classes == {"case_00": (names[0],)}
    assert dataset.channels == {names[0]: 1, names[1]: 2}
    with pytest.raises(DataError, match="labeled_classes of case_00: \\['live'\\]"):
        Dataset.open(said(folder, {"case_00": ["live"]}))
    with pytest.raises(DataError, match="labeled_classes of case_0,"):
        Dataset.open(said(folder, {"case_0": names[:1]}))


@pytest.mark.parametrize("overlapping", [False, True])
def test_other_classes_of_such_a_case_teach_nothing(overlapping: bool) -> None:
    regions = {"regions": {"a": (1,), "b": (2,)}, "regions_class_order": (1, 2)} if overlapping else {}
    plan = make_plan(classes=3, patch=(4, 4, 4), **regions)
    label = torch.ones(4, 4, 4, dtype=torch.uint8)
    label[2:] = 0
    cases = [
        Resident(name, torch.zeros(1, 4, 4, 4), label, np.zeros((0, 3), np.int32), torch.device("cpu"))
        for name in ("half", "whole")
    ]
    channels = {"a": 0, "b": 1} if overlapping else {"a": 1, "b": 2}
    half, whole = partly_labeled(cases, {"half": ("b",)}, channels)
    assert (half.unlabeled, whole.unlabeled) == ((channels["a"],), ())
    assert (is_hardly_labeled(half), is_hardly_labeled(whole)) == (True, False)
    for case in (half, whole):
        batches = Batches([case, whole], [], plan, augment.build("none", plan, {}), (4, 0), views=())
        logits = torch.zeros(4, plan.classes, 4, 4, 4, requires_grad=True)
        dice_ce(logits, batches(0).y_l).backward()
        assert logits.grad is not None
        taught = logits.grad[:, channels["a"]].flatten(1).any(1).tolist()
        assert logits.grad[:, channels["b"]].flatten(1).any(1).all()
        if overlapping:
            assert taught == [batches.labeled[k].case is whole for k in range(4)]
        alike = batches.drawn_alike((2, 0))
        assert not any(item.case.unlabeled for item in alike.labeled.items)
        assert alike(0).y_l.dtype != torch.bool


def test_a_voxel_of_such_a_case_may_be_of_either_class() -> None:
    plan = make_plan(classes=4, patch=(4, 4, 4))
    label = torch.arange(4, dtype=torch.uint8).repeat_interleave(16).reshape(4, 4, 4)
    label[0, 0, 0] = IGNORE
    case = Resident("half", torch.zeros(1, 4, 4, 4), label, np.zeros((0, 3), np.int32), torch.device("cpu"))
    cases = partly_labeled([case], {"half": ("a",)}, {"a": 1, "b": 2, "c": 3})
    (y,) = Batches(cases, [], plan, augment.build("none", plan, {}), (1, 0), views=())(0).y_l
    either = [True, False, True, True]
    assert y[:, 0, 0, 0].tolist() == [True] * 4
    assert [y[:, i, 1, 1].tolist() for i in range(4)] == [either, [False, True, False, False], either, either]


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
    with pytest.raises(UsageError, match=r"mcf.*labels of some classes"):
        semiseg.train(folder, method="mcf", run=tmp_path / "no", settings=settings, **common)
    run = semiseg.train(folder, method="mean_teacher", run=tmp_path / "run", settings=settings, **common)
    assert run.finished
    semiseg.predict(folder / "imagesTs", tmp_path / "maps", run.folder, device="cpu", workers=0)
    scores = semiseg.evaluate(folder / "labelsTs", tmp_path / "maps", dataset=folder)
    assert math.isnan(scores.class_means("Dice")[names[0]])
    assert not math.isnan(scores.class_means("Dice")[names[1]])
