"""Wrong flags, paths and values of the other commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.bad_input.ground import SHAPE, TRAIN, Bad
from tests.bad_input.predictions import PREDICT, without
from tests.images.damage import load, save, shifted

EVALUATE = ("evaluate", "labels", "predictions", "-j", "1")


def other_names(folder: Path) -> None:
    for i, path in enumerate(sorted((folder / "predictions").iterdir())):
        path.rename(path.with_name(f"other_{i}.nii.gz"))


def odd_shape(folder: Path) -> None:
    path = folder / "predictions" / "case_00.nii.gz"
    save(path, load(path)[1:])


def elsewhere(folder: Path) -> None:
    path = folder / "predictions" / "case_00.nii.gz"
    save(path, load(path), shifted(5.0))


def unreadable_prediction(folder: Path) -> None:
    (folder / "predictions" / "case_00.nii.gz").write_bytes(b"x" * 400)


def fractional(folder: Path) -> None:
    path = folder / "predictions" / "case_00.nii.gz"
    save(path, np.full(SHAPE, 0.3, np.float32))


EVALUATIONS = [
    Bad(
        "no reference",
        ("evaluate", "nowhere", "predictions"),
        2,
        ["nowhere does not exist"],
        word="NOT_FOUND",
    ),
    Bad(
        "file against folder",
        ("evaluate", "labels/case_00.nii.gz", "predictions"),
        2,
        ["a file and a folder"],
    ),
    Bad("references twice", ("evaluate", "labels", "labels"), 2, ["labels is given as reference and as"]),
    Bad("no common case", EVALUATE, 3, ["case_00", "other_0"], other_names, "NO_COMMON_CASES"),
    Bad(
        "dataset instead of labels",
        ("evaluate", "data", "predictions"),
        3,
        ["no label map in data", "labelsTs"],
        word="NO_FILES",
    ),
    Bad(
        "convention unknown",
        (*EVALUATE, "--convention", "umat"),
        2,
        ["'umat'", "'uamt'"],
        word="UNKNOWN_METRIC_CONVENTION",
    ),
    Bad("tolerance negative", (*EVALUATE, "--nsd-tolerance", "-1"), 2, ["-1"]),
    Bad("dataset unknown", (*EVALUATE, "--dataset", "nodata"), 2, ["nodata"], word="NO_DATASET"),
    Bad(
        "results there",
        EVALUATE,
        2,
        ["summary.json already exists", "--overwrite"],
        lambda f: (f / "predictions" / "summary.json").write_text("{}"),
        "EXISTS",
    ),
    Bad(
        "scores onto a run",
        (*EVALUATE, "-o", "model", "--overwrite"),
        2,
        ["model is a run", "-o model/test"],
        lambda f: (f / "model" / "config.yaml").write_text("recipe: default\n"),
        "EXISTS",
    ),
    Bad("scores below a file", (*EVALUATE, "-o", "data/dataset.json/out"), 2, ["dataset.json"]),
]
PARTIAL_EVALUATIONS = [
    Bad("shape mismatch", EVALUATE, 5, ["case_00", "(11, 13, 11)"], odd_shape),
    Bad("affine mismatch", EVALUATE, 5, ["case_00", "5 mm"], elsewhere),
    Bad(
        "prediction missing",
        EVALUATE,
        5,
        ["case_00", "no prediction"],
        lambda f: (f / "predictions" / "case_00.nii.gz").unlink(),
    ),
    Bad("prediction unreadable", EVALUATE, 5, ["case_00"], unreadable_prediction),
    Bad("prediction of probabilities", EVALUATE, 5, ["case_00", "0.3"], fractional),
]
SPEC = "datasets: [data]\nmethods: [supervised]\nlabeled: [2]\niterations: 2\n"
FLAGS = [
    Bad("unknown command", ("trian", "data"), 2, ["'trian'", "'train'"], word="UNKNOWN_COMMAND"),
    Bad("unknown flag", (*TRAIN, "--lableed", "2"), 2, ["'--lableed'", "'--labeled'"], word="USAGE"),
    Bad("single-dash word", ("train", "data", "-device", "cpu"), 2, ["--device"], word="USAGE"),
    Bad("missing argument", ("train",), 2, ["DATASET", "semiseg train --help"], word="USAGE"),
    Bad("missing model", without(PREDICT, "-m"), 2, ["-m", "semiseg predict --help"], word="USAGE"),
    Bad("missing value", ("train", "data", "--seed"), 2, ["--seed"], word="USAGE"),
    Bad("not a number", ("train", "data", "--seed", "one"), 2, ["--seed", "one"], word="USAGE"),
    Bad("too many arguments", ("check", "data", "data"), 2, ["data"], word="USAGE"),
    Bad("workers negative", ("check", "data", "-j", "-1"), 2, ["-1"], word="USAGE"),
    Bad(
        "resume and overwrite",
        (*TRAIN, "--resume", "--overwrite"),
        2,
        ["--resume and --overwrite"],
        word="CONTRADICTION",
    ),
    Bad("check of nothing", ("check", "dat"), 2, ["'dat'", "data"], word="NO_DATASET"),
    Bad("train on imagesTr", ("train", "data/imagesTr"), 3, ["data/imagesTr", "the one above: data"]),
    Bad(
        "plan exists",
        ("plan", "data", "-j", "0", "-o", "data/dataset.json"),
        2,
        ["already exists", "--overwrite"],
        word="EXISTS",
    ),
    Bad(
        "plan below a file",
        ("plan", "data", "-j", "0", "-o", "data/dataset.json/plan.json"),
        2,
        ["dataset.json"],
    ),
    Bad("unknown recipe shown", ("recipes", "defualt"), 2, ["'defualt'", "'default'"], word="UNKNOWN_RECIPE"),
    Bad(
        "sweep onto a dataset",
        ("sweep", "spec.yaml", "-o", "data", "-j", "0", "--devices", "cpu"),
        2,
        ["data is not empty", "a sweep"],
        lambda f: (f / "spec.yaml").write_text(SPEC),
        "RUN_EXISTS",
    ),
    Bad("sweep of a run", ("sweep", "model"), 2, ["model is no sweep folder"]),
    Bad("init of nothing", ("init", "nowhere"), 2, ["nowhere"]),
    Bad("init of a file", ("init", "data/dataset.json"), 3, ["dataset.json"]),
    Bad("init of an empty folder", ("init", "empty"), 3, ["empty"], lambda f: (f / "empty").mkdir()),
    Bad("init label", ("init", "scans", "--label", "atrium=1"), 2, ["--label", "'atrium=1'", "1=atrium"]),
    Bad("init onto something", ("init", "scans", "-o", "labels"), 2, ["labels"]),
    Bad("demo onto something", ("demo", "-o", "data"), 2, ["data"]),
    Bad("log level", ("methods",), 2, ["'LOUD'"]),
]
