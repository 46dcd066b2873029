"""Datasets whose lists, folders or ``dataset.json`` are wrong."""

from __future__ import annotations

import shutil

from tests.bad_input.datasets import (
    NOT_OPENED,
    Broken,
    describe,
    empty_folder,
    folder_of_datasets,
    leave,
    no_folder,
    no_label,
    one_label,
    split,
)
from tests.images import damage
from tests.images.damage import image

LISTS = [
    Broken(
        "stranger",
        lambda f: shutil.copy(image(f), f / "imagesTr" / "a.nii.gz"),
        "EXTRA_FILE",
        ["a.nii.gz", "a_0000.nii.gz"],
        ["a.nii.gz"],
    ),
    Broken(
        "notes among images",
        lambda f: (f / "imagesTr" / "notes.txt").write_text("x"),
        "EXTRA_FILE",
        ["notes.txt"],
        NOT_OPENED,
        "warning",
    ),
    Broken(
        "in two folders",
        damage.same_id,
        "CASE_IN_TWO_LISTS",
        ["case_00", "imagesTr and imagesTs"],
        ["case_00"],
    ),
    Broken("listed twice", damage.listed_twice, "CASE_IN_TWO_LISTS", ["case_00", "val"], ["case_00", "val"]),
    Broken(
        "unknown case listed",
        lambda f: split(f, '{"order": ["nobody"]}'),
        "UNKNOWN_CASE",
        ["nobody"],
        ["nobody"],
    ),
    Broken(
        "order without label",
        lambda f: split(f, '{"order": ["un_00"]}'),
        "NO_LABELED",
        ["un_00"],
        ["un_00"],
    ),
    Broken("splits not JSON", lambda f: split(f, "{"), "SPLITS", ["splits.json"], ["splits.json"]),
    Broken("splits deep", lambda f: split(f, "[" * 99999), "SPLITS", ["splits.json", "deeply"], ["deeply"]),
    Broken("splits of long numbers", lambda f: split(f, "9" * 5000), "SPLITS", ["digits"], ["digits"]),
    Broken("splits misspelled", lambda f: split(f, '{"oder": []}'), "SPLITS", ["'oder'"], ["'order'"]),
    Broken("splits without a list", lambda f: split(f, '{"train": 7}'), "SPLITS", ["'train'"], ["one of"]),
    Broken("splits a number", lambda f: split(f, "7"), "SPLITS", ["JSON int"], ["JSON int"]),
    Broken(
        "order a text",
        lambda f: split(f, '{"order": "case_00"}'),
        "SPLITS",
        ["list of case ids"],
        ["list of case ids"],
    ),
    Broken("folds empty", lambda f: split(f, '{"folds": []}'), "SPLITS", ["folds"], ["folds"]),
    Broken(
        "patients a list",
        lambda f: split(f, '{"group_by_patient": [1]}'),
        "SPLITS",
        ["group_by_patient"],
        ["group_by_patient"],
    ),
    Broken("one labeled", one_label, "ONE_LABELED", ["one labeled case"], NOT_OPENED, "warning"),
    Broken("no labeled", no_label, "NO_LABELED", ["labelsTr"], ["labelsTr"]),
    Broken(
        "no unlabeled", lambda f: leave(f, "imagesUn", 0), "NO_UNLABELED", ["imagesUn"], NOT_OPENED, "warning"
    ),
]
DESCRIPTIONS = [
    Broken(
        "dataset.json not JSON",
        lambda f: (f / "dataset.json").write_text("{"),
        "DATASET_JSON",
        ["dataset.json"],
        ["dataset.json"],
    ),
    Broken(
        "dataset.json a list",
        lambda f: (f / "dataset.json").write_text("[]"),
        "DATASET_JSON",
        ["dataset.json", "list"],
        ["list"],
    ),
    Broken(
        "dataset.json missing",
        lambda f: (f / "dataset.json").unlink(),
        "DATASET_JSON",
        ["semiseg init"],
        ["semiseg init"],
    ),
    Broken(
        "no channel_names",
        lambda f: describe(f, channel_names=None),
        "DATASET_JSON",
        ["'channel_names'"],
        ["'channel_names'"],
    ),
    Broken(
        "channels from 1",
        lambda f: describe(f, channel_names={"1": "MRI"}),
        "DATASET_JSON",
        ["from 0"],
        ["from 0"],
    ),
    Broken("no labels", lambda f: describe(f, labels=None), "DATASET_JSON", ["'labels'"], ["'labels'"]),
    Broken(
        "labels a list",
        lambda f: describe(f, labels=["background", "a"]),
        "DATASET_JSON",
        ["labels ="],
        ["labels ="],
    ),
    Broken(
        "label a text",
        lambda f: describe(f, labels={"background": 0, "a": "1"}),
        "DATASET_JSON",
        ["'a' = '1'"],
        ["'a' = '1'"],
    ),
    Broken(
        "label value skipped",
        lambda f: describe(f, labels={"background": 0, "a": 2}),
        "DATASET_JSON",
        ["[0, 2]", "[0, 1]"],
        ["[0, 2]"],
    ),
    Broken(
        "class without a name",
        lambda f: describe(f, labels={"background": 0, " ": 1}),
        "DATASET_JSON",
        ["class name ' '"],
        ["class name ' '"],
    ),
    Broken(
        "class twice",
        lambda f: (f / "dataset.json").write_text('{"labels": {"a": 1, "a": 2}}'),
        "DATASET_JSON",
        ["'a'", "twice"],
    ),
    Broken(
        "background elsewhere",
        lambda f: describe(f, labels={"a": 0, "Background": 1, "b": 2}),
        "DATASET_JSON",
        ["Background = 1", "rename it"],
    ),
    Broken(
        "ids with endings",
        lambda f: split(f, '{"order": ["case_00.nii.gz"]}'),
        "UNKNOWN_CASE",
        ["case_00.nii.gz", "without channel and ending"],
    ),
    Broken(
        "label value twice",
        lambda f: describe(f, labels={"background": 0, "a": 1, "b": 1}),
        "DATASET_JSON",
        ["a and b"],
        ["a and b"],
    ),
    Broken(
        "no background",
        lambda f: describe(f, labels={"a": 1, "b": 2}),
        "DATASET_JSON",
        ["background"],
        ["background"],
    ),
    Broken(
        "regions",
        lambda f: describe(f, labels={"background": 0, "whole": [1, 2]}),
        "REGIONS",
        ["whole"],
        ["whole"],
    ),
    Broken(
        "file_ending unknown",
        lambda f: describe(f, file_ending="nii.gz"),
        "DATASET_JSON",
        ['".nii.gz"'],
        ['".nii.gz"'],
    ),
    Broken(
        "label_map to nowhere",
        lambda f: describe(f, label_map={"255": 9}),
        "DATASET_JSON",
        ["label_map", "9"],
        ["label_map"],
    ),
    Broken("numTraining a text", lambda f: describe(f, numTraining="3"), "DATASET_JSON", ["'3'"], ["'3'"]),
    Broken(
        "no imagesTr", lambda f: shutil.rmtree(f / "imagesTr"), "MISSING_FOLDER", ["imagesTr"], ["imagesTr"]
    ),
    Broken(
        "Decathlon's form",
        lambda f: describe(f, channel_names=None, modality={"0": "MRI"}),
        "DATASET_JSON",
        ["Decathlon", "semiseg init"],
        ["Decathlon"],
    ),
    Broken(
        "mapped file lost",
        lambda f: describe(f, dataset={"x": {"images": ["nowhere.nii.gz"]}}),
        "MISSING_FILE",
        ["nowhere.nii.gz"],
        ["nowhere.nii.gz"],
    ),
    Broken(
        "folder of datasets", folder_of_datasets, "DATASET_JSON", ["Dataset007_Inside"], ["Dataset007_Inside"]
    ),
    Broken("empty folder", empty_folder, "DATASET_JSON", ["semiseg init"], ["semiseg init"]),
    Broken("not a folder", no_folder, "NOT_A_FOLDER", ["is a file"], ["is a file"]),
]
