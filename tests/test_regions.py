"""Regions: classes made of several label values, which overlap; from dataset.json to scores by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semiseg import methods
from semiseg.core import IGNORE, Clock, Head
from semiseg.dataset.description import read_description
from semiseg.errors import UsageError
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.results import evaluate_pairs
from semiseg.evaluation.tables import metrics_csv, summary
from semiseg.images import write
from semiseg.images.grid import Grid
from semiseg.inference.postprocess import postprocess
from semiseg.inference.predictor import entropy
from semiseg.losses import dice_ce, softmax_kl, softmax_mse
from semiseg.preparation.back import LabelRestorer
from semiseg.preparation.forward import preprocess_image
from semiseg.preparation.measure import _run as shortest_run
from semiseg.preparation.plan import Plan
from tests.methods.tiny import batches, make
from tests.trained import make_plan

TUMOR = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
REGIONS = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
HEAD = Head(4, tuple(REGIONS.values()), (1, 2, 3))


def described(folder: Path, **changes: object):
    content = {"channel_names": {"0": "MRI"}, "labels": TUMOR, "regions_class_order": [1, 2, 3]}
    content |= {"file_ending": ".nii.gz", **changes}
    text = json.dumps({key: value for key, value in content.items() if value is not None})
    (folder / "dataset.json").write_text(text)
    return read_description(folder)


def planned(dim: int = 3, **other: object) -> Plan:
    labels = {"background": 0, "value 1": 1, "value 2": 2, "value 3": 3}
    return make_plan(dim, labels=labels, regions=REGIONS, regions_class_order=(1, 2, 3), **other)


def test_what_nnunet_writes_is_read(tmp_path):
    found, faults = described(tmp_path, labels={**TUMOR, "ignore": 4}, label_map={"5": 3})
    assert not faults
    assert found.labels == {"background": 0, "value 1": 1, "value 2": 2, "value 3": 3}
    assert (found.regions, list(found.regions)) == (REGIONS, list(REGIONS))
    assert (found.regions_class_order, found.ignore_value, found.label_map) == ((1, 2, 3), 4, {5: 3})
    assert "regions_class_order" not in found.free


def test_lists_of_one_value_are_classes(tmp_path):
    found, faults = described(tmp_path, labels={"background": 0, "a": [1], "b": 2}, regions_class_order=None)
    assert (faults, found.labels, found.regions) == ([], {"background": 0, "a": 1, "b": 2}, {})


@pytest.mark.parametrize(
    ("labels", "order", "words"),
    [
        (TUMOR, None, ["no key 'regions_class_order'", "whole, core, enhancing"]),
        (TUMOR, [1, 2], ["regions_class_order = [1, 2]", '"regions_class_order": [1, 2, 3]']),
        (TUMOR, [1, 2, "3"], ["regions_class_order"]),
        (TUMOR, 1, ["regions_class_order = 1"]),
        (TUMOR, [1, 1, 3], ["core = [2, 3] painted with 1", "a value of the region"]),
        (
            {"background": 0, "core": [2, 3], "whole": [1, 2, 3]},
            [2, 1],
            ["whole", "core", "put whole before"],
        ),
        ({"background": 0, "a": [1, 2], "b": [2, 1]}, [1, 2], ["painted with 2 over all of a"]),
        ({**TUMOR, "core": [2, 2]}, [1, 2, 3], ["label 'core' = [2, 2]"]),
        ({**TUMOR, "core": []}, [1, 2, 3], ["label 'core' = []"]),
        ({**TUMOR, "core": ["2"]}, [1, 2, 3], ["label 'core'"]),
        ({**TUMOR, "core": [2, True]}, [1, 2, 3], ["label 'core'"]),
        ({**TUMOR, "core": [0, 2]}, [1, 2, 3], ["value 0 for background and value 0"]),
        ({**TUMOR, "core": [2, 5]}, [1, 2, 3], ["consecutive"]),
        ({**TUMOR, "ignore": 3}, [1, 2, 3], ["value 3 for ignore and value 3"]),
        ({"whole": [1, 2], "core": 2}, [1, 2], ["no class with value 0"]),
    ],
)
def test_faults_of_regions(tmp_path, labels, order, words):
    found, faults = described(tmp_path, labels=labels, regions_class_order=order)
    text = " ".join(f"{fault.got} {fault.wanted} {fault.fix}" for fault in faults)
    assert [word for word in words if word not in text] == []
    assert not found.regions


def test_a_plan_keeps_regions_and_their_order(tmp_path):
    plan = planned()
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert (again, list(again.regions), again.classes) == (plan, list(REGIONS), 3)
    assert again.structures == REGIONS
    assert again.head == HEAD
    plain = make_plan(classes=3)
    old = plain.model_dump(exclude={"regions", "regions_class_order"})  # as they were before
    assert Plan.model_validate(old) == plain
    assert (plain.head, plain.structures) == (Head(3), {"structure 1": (1,), "structure 2": (2,)})


@pytest.mark.parametrize("name", [0, 1, 2, 3])
def test_from_labels_to_channels_and_back(name):
    classes = torch.arange(4).roll(name).reshape(1, 2, 2)
    channels = HEAD.targets(classes)
    assert channels.shape == (1, 3, 2, 2)
    for mask, members in zip(HEAD.structures(channels), REGIONS.values(), strict=True):
        assert mask[0].tolist() == np.isin(classes[0].numpy(), members).tolist()
    assert torch.equal(HEAD.decide(channels.float(), 1), classes)
    assert torch.equal(HEAD.decide(20.0 * channels - 10, 1, over=0.0), classes)


def test_ignored_voxels_are_ignored_in_every_region():
    channels = HEAD.targets(torch.tensor([[[IGNORE, 2]]], dtype=torch.uint8))
    assert channels[0, :, 0].T.tolist() == [[IGNORE] * 3, [1, 1, 0]]
    assert HEAD.known(channels).tolist() == [[[False, True]]]


def test_later_regions_are_painted_over_earlier_ones_whatever_they_are():
    p = torch.tensor([[0.9, 0.6, 0.1, 0.5], [0.8, 0.2, 0.1, 0.5], [0.1, 0.7, 0.6, 0.5]])
    assert HEAD.decide(p).tolist() == [2, 3, 3, 0]
    torch.testing.assert_close(HEAD.confidence(p), torch.tensor([0.8, 0.6, 0.6, 0.5]))


def test_entropy_is_the_mean_of_the_regions():
    p = torch.tensor([[0.5, 0.0, 0.25], [0.5, 1.0, 0.5]])
    quarter = float(-(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)))
    torch.testing.assert_close(entropy(p, regions=True), torch.tensor([1.0, 0.0, (quarter + 1) / 2]))


def test_losses_by_hand():
    logits = torch.tensor([[[[0.0, 2.0]], [[-1.0, 3.0]]]])
    target = torch.tensor([[[[1, 0]], [[1, IGNORE]]]], dtype=torch.uint8)
    p = torch.sigmoid(logits)[0, :, 0]
    binary = -(p[0, 0].log() + (1 - p[0, 1]).log() + p[1, 0].log()) / 3
    dice = [2 * p[0, 0] / (p[0, 0] ** 2 + p[0, 1] ** 2 + 1), 2 * p[1, 0] / (p[1, 0] ** 2 + 1)]
    wanted = 0.5 * (binary + 1 - (dice[0] + dice[1]) / 2)
    torch.testing.assert_close(dice_ce(logits, target), wanted, rtol=1e-4, atol=1e-5)
    assert dice_ce(logits, torch.full_like(target, IGNORE)).item() == 0
    q = torch.sigmoid(-logits)[0, :, 0]
    squares = softmax_mse(logits, -logits, activation="sigmoid")
    torch.testing.assert_close(squares, (p - q).square().mean())
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    found = softmax_kl(logits, -logits, activation="sigmoid", reduction="mean")
    torch.testing.assert_close(found, divergence.mean())


def test_the_mean_teacher_compares_sigmoids():
    method = make("mean_teacher", 2, 3).eval()
    method.activation = HEAD.activation
    batch = batches(2, 4)(0)
    target = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    method.teach = lambda x: target
    (update,) = method.step(batch._replace(y_l=HEAD.targets(batch.y_l)), Clock(0, 1))
    with torch.no_grad():
        z_l, z_u = (method.net(x).logits for x in (batch.x_l, batch.x_u["weak"]))
    wanted = (z_u.sigmoid() - target.sigmoid()).square().mean()
    torch.testing.assert_close(update.logs["consistency"], wanted)
    torch.testing.assert_close(update.logs["supervised"], dice_ce(z_l, HEAD.targets(batch.y_l)))


@pytest.mark.parametrize("name", methods.names())
def test_which_methods_train_regions(name):
    if name in ("fixmatch", "mean_teacher", "self_training", "supervised"):
        methods.require_form(name, "regions")
    else:
        with pytest.raises(UsageError, match=f"'{name}' cannot train regions"):
            methods.require_form(name, "regions")


@pytest.mark.parametrize("spacing", [None, 2.0])
def test_predictions_are_painted_on_the_voxels_of_the_scan(spacing):
    """In the values of the files, directly and where maps are resampled, in pieces of any height."""
    plan = planned(spacing=(spacing,) * 3, label_map={7: 3})
    image = np.zeros((1, 8, 6, 4), np.float32)
    _, geometry = preprocess_image(image, Grid((8, 6, 4), np.eye(4)), plan)
    p = np.zeros((3, *geometry.shape), np.float32)
    half = geometry.shape[0] // 2
    p[0], p[1, :half], p[2, :half, : geometry.shape[1] // 2] = 0.9, 0.8, 0.7
    whole, pieces = LabelRestorer(geometry, plan), LabelRestorer(geometry, plan)
    whole.add(p)
    for row in range(geometry.shape[0]):
        pieces.add(p[:, row : row + 1])
    found = whole.result()
    np.testing.assert_array_equal(found, pieces.result())
    assert (found[0, 0, 0], found[0, -1, 0], found[-1, 0, 0]) == (7, 2, 1)
    if spacing is None:
        direct = LabelRestorer(geometry, plan)
        direct.add_classes(plan.head.decide(torch.from_numpy(p)).numpy().astype(np.uint8))
        np.testing.assert_array_equal(found, direct.result())


def test_postprocessing_works_on_regions():
    labels = np.zeros((12, 12), np.uint8)
    labels[1:7, 1:7] = 1
    labels[2:5, 2:5] = 2
    labels[3, 3] = 0  # a hole in core
    labels[6, 6] = 2  # a speck of core within whole
    labels[10, 10] = 3  # a speck of everything outside
    settings = {"values": {"whole": 1, "core": 2, "enhancing": 3}, "regions": REGIONS}
    assert postprocess(labels, **settings) is labels
    found = postprocess(labels, **settings, largest_component=("core",))
    assert (found[6, 6], found[10, 10], found[3, 3]) == (1, 1, 0)  # what core loses stays in whole
    found = postprocess(labels, **settings, largest_component=("whole",))
    assert (found[6, 6], found[10, 10]) == (2, 0)  # nothing is left inside of what is gone
    found = postprocess(labels, **settings, fill_holes=("core",), minimum_mm3=2)
    assert (found[3, 3], found[6, 6], found[10, 10]) == (2, 1, 0)


def test_scores_by_hand():
    reference, prediction = np.array([[0, 1, 2, 3, 4]]), np.array([[1, 1, 1, 2, 2]])
    grid = Grid((1, 5), np.eye(3))
    found = evaluate_pairs([("a", prediction, reference, grid)], REGIONS, ignore=4, distances=False)
    assert found.class_means("Dice") == pytest.approx({"whole": 6 / 7, "core": 2 / 3, "enhancing": 0.0})
    written = summary(found)
    assert written["labels"] == {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    assert written["mean"]["(1, 2, 3)"]["Dice"] == pytest.approx(6 / 7)
    assert {"(2, 3)", "3"} <= written["mean"].keys()
    assert written["dataset_level"]["IoU"]["(1, 2, 3)"] == pytest.approx(3 / 4)
    assert 'a,core,"(2, 3)",0.66' in metrics_csv(found)


def test_folders_are_scored_by_region(tmp_path):
    """Names and regions from the dataset.json beside the labels, whoever predicted; nothing is undeclared."""
    described(tmp_path)
    reference, prediction = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    reference[:2], reference[0] = 1, 3
    prediction[:2], prediction[0] = 1, 2
    grid = Grid((4, 4, 4), np.eye(4))
    for folder, labels in (("labelsTs", reference), ("predicted", prediction)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.nii.gz", labels, grid, {})
    found = evaluate_folders(tmp_path / "labelsTs", tmp_path / "predicted", workers=1)
    assert found.class_means("Dice") == {"whole": 1.0, "core": 1.0, "enhancing": 0.0}
    assert not [notice for notice in found.notices if "not a declared class" in notice]
    given = evaluate_folders(tmp_path / "labelsTs", tmp_path / "predicted", labels={"all": [1, 2, 3]})
    assert given.class_means("Dice") == {"all": 1.0}


def test_a_thin_shell_of_a_large_region_does_not_make_voxels_small():
    label = np.zeros((20, 20), np.uint16)
    label[2:18, 2:18], label[3:17, 3:17] = 1, 2
    assert shortest_run(label, (1.0, 1.0), ((1, 2), (2,))) == (14.0, 14.0)
    assert min(shortest_run(label, (1.0, 1.0), ())) < 4
