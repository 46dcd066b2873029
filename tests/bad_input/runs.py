"""Runs, datasets and places that the commands after a training, and before it, cannot use."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.ground import Bad
from tests.delivery.ground import make_full_run
from tests.trained import make_plan

EXPORT = ("export", "run", "-o", "exported", "--to", "zip")
NEXT = ("next", "data", "-m", "model", "--device", "cpu")


def run(folder: Path) -> Path:
    return make_full_run(folder / "run", make_plan(classes=3))


def newer(folder: Path) -> None:
    config, manifest = run(folder) / "config.yaml", folder / "run" / "manifest.json"
    config.write_text(config.read_text() + "shape: {prior: 1}\n")
    manifest.write_text(manifest.read_text().replace('"0.1.0"', '"7.0.0"'))


def unknown_setting(folder: Path) -> None:
    config = run(folder) / "config.yaml"
    config.write_text(config.read_text() + "shape: {prior: 1}\n")


def other_channels(folder: Path) -> None:
    path = folder / "data" / "dataset.json"
    path.write_text(path.read_text().replace('"MRI"', '"CT"'))


RUNS = [
    Bad(
        "no such run",
        ("export", "modle", "-o", "exported"),
        2,
        ["modle", "Did you mean model?"],
        word="NOT_A_RUN",
    ),
    Bad("no such runs", ("export", "run*", "-o", "exported"), 2, ["run*", "fits nothing"], word="NO_MODEL"),
    Bad(
        "no such model", ("next", "data", "-m", "modle"), 2, ["modle", "Did you mean model?"], word="NO_MODEL"
    ),
    Bad("nothing to compare", ("compare", "modle"), 2, ["modle", "Did you mean model?"], word="NOT_FOUND"),
    Bad("run of a newer version", EXPORT, 2, ["written by semiseg 7.0.0", "shape"], newer, "RUN_VERSION"),
    Bad("setting unknown in a run", EXPORT, 2, ["run: ", "shape"], unknown_setting, "BAD_RUN"),
    Bad(
        "export onto a file",
        (*EXPORT[:3], "data/dataset.json", *EXPORT[4:]),
        2,
        ["is a file"],
        run,
        "OUTPUT_EXISTS",
    ),
    Bad("export onto here", (*EXPORT[:3], ".", *EXPORT[4:]), 2, ["'.'", "-o"], run, "NOT_WRITABLE"),
    Bad(
        "run as a dataset",
        ("plan", "run", "-o", "p.json"),
        2,
        ["folder of a run", "manifest.json"],
        run,
        "NO_DATASET",
    ),
    Bad("other channels to look at", NEXT, 3, ["CT", "MRI"], other_channels, "CHANNELS"),
    Bad(
        "no such predictions",
        (*NEXT, "--predictions", "prediction"),
        2,
        ["no folder prediction"],
        word="NOT_FOUND",
    ),
    Bad(
        "group of nothing",
        ("split", "data", "--group", "0"),
        2,
        ["--group 0 is not a valid rule"],
        word="GROUP",
    ),
    Bad(
        "class of the studio twice",
        ("studio", "data", "--no-browser", "--classes", "a,b,a"),
        2,
        ["'a'", "once"],
        word="CLASSES",
    ),
    Bad(
        "network of a plan",
        ("plan", "data", "--set", "network.name=unett"),
        2,
        ["'unett'", "'unet'"],
        word="UNKNOWN_NETWORK",
    ),
    Bad(
        "orientation of a plan",
        ("plan", "data", "--set", "plan.orientation=RAX"),
        2,
        ["'RAS'", "'RAX'"],
        word="CONFIG",
    ),
    Bad(
        "plan onto a folder", ("plan", "data", "-o", "data", "--overwrite"), 2, ["is a folder"], word="EXISTS"
    ),
    Bad("workers twice", ("plan", "data", "-j", "0", "-j", "-3"), 2, ["'-3'"], word="USAGE"),
]
