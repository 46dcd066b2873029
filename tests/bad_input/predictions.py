"""Models, scans and places that ``predict`` cannot use."""

from __future__ import annotations

import gzip
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from tests.bad_input.ground import Bad
from tests.images.damage import load, save
from tests.trained import make_plan, make_run

from semiseg.preparation.plan import ChannelPlan

PREDICT = ("predict", "-i", "scans", "-o", "out", "-m", "model", "--device", "cpu")

DATA = ("predict", "-i", "data", "-m", "model", "--device", "cpu")
ONE = ("predict", "-i", "scans/scan_0_0000.nii.gz", "-m", "model", "--device", "cpu")


def without(argv: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """``argv`` without ``flag`` and its value."""
    at = argv.index(flag)
    return (*argv[:at], *argv[at + 2 :])


def replaced(argv: tuple[str, ...], flag: str, value: str) -> tuple[str, ...]:
    return (*without(argv, flag), flag, value)


def no_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()


def checkpoint(folder: Path) -> Path:
    return folder / "model" / "checkpoints" / "final.ckpt"


def cut_checkpoint(folder: Path) -> None:
    path = checkpoint(folder)
    path.write_bytes(path.read_bytes()[:-400])


def pickled(folder: Path) -> None:
    with checkpoint(folder).open("wb") as file:
        pickle.dump({"weights": Path("evil")}, file)


def foreign(folder: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}}, checkpoint(folder))


def two_channel_model(folder: Path) -> None:
    channels = tuple(ChannelPlan(name=name, scheme="none") for name in ("T1", "T2"))
    make_run(folder / "model", make_plan(channels=channels))


def three_class_model(folder: Path) -> None:
    make_run(folder / "other", make_plan(classes=3))


def garbage_scan(folder: Path) -> None:
    (folder / "scans" / "scan_0_0000.nii.gz").write_bytes(gzip.compress(b"not an image" * 99))


def every_scan_garbage(folder: Path) -> None:
    for path in (folder / "scans").iterdir():
        path.write_bytes(b"x" * 400)


def nan_scan(folder: Path) -> None:
    path = folder / "scans" / "scan_0_0000.nii.gz"
    array = load(path)
    array[0, 0, 0] = np.nan
    save(path, array)


def huge_scan(folder: Path) -> None:
    path = folder / "scans" / "scan_0_0000.nii.gz"
    array = load(path)
    array[0, 0, 0] = 1e32
    save(path, array)


def climbing_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "series.zip", "w") as archive:
        archive.writestr("../evil.dcm", b"x" * 200)


def damaged_zip(folder: Path) -> None:
    (folder / "series.zip").write_bytes(b"PK\x03\x04" + b"x" * 200)


def garbage_dicom(folder: Path) -> None:
    (folder / "dicom").mkdir()
    for i in range(3):
        (folder / "dicom" / f"IM{i:04d}").write_bytes(bytes(128) + b"DICM" + b"\x08\x00 nonsense" * 20)


def empty_scans(folder: Path) -> None:
    shutil.rmtree(folder / "scans")
    (folder / "scans").mkdir()


def mine(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "scan_1.nii.gz").write_bytes(b"precious")


def file_out(folder: Path) -> None:
    (folder / "out").write_text("precious")


PREDICTIONS = [
    Bad(
        "no model",
        replaced(PREDICT, "-m", "nowhere"),
        2,
        ["no model at nowhere", "-m wants"],
        word="NO_MODEL",
    ),
    Bad(
        "run without checkpoint",
        PREDICT,
        2,
        ["model holds no checkpoint", "final.ckpt"],
        no_checkpoint,
        "NO_CHECKPOINT",
    ),
    Bad(
        "truncated checkpoint",
        PREDICT,
        2,
        ["final.ckpt cannot be read", "damaged"],
        cut_checkpoint,
        "BAD_CHECKPOINT",
    ),
    Bad("pickled checkpoint", PREDICT, 2, ["final.ckpt cannot be read"], pickled, "BAD_CHECKPOINT"),
    Bad(
        "foreign checkpoint",
        PREDICT,
        2,
        ["final.ckpt", "something else", "semiseg-model"],
        foreign,
        "BAD_CHECKPOINT",
    ),
    Bad(
        "model is an image",
        replaced(PREDICT, "-m", "scans/scan_0_0000.nii.gz"),
        2,
        ["scan_0_0000.nii.gz cannot be read"],
        word="BAD_CHECKPOINT",
    ),
    Bad(
        "ensemble of strangers",
        (*PREDICT, "-m", "other"),
        2,
        ["cannot form an ensemble", "labels"],
        three_class_model,
        "ENSEMBLE",
    ),
    Bad(
        "no input",
        replaced(PREDICT, "-i", "nowhere"),
        2,
        ["no such file or folder: nowhere"],
        word="NO_INPUT",
    ),
    Bad("empty input folder", PREDICT, 3, ["scans"], empty_scans),
    Bad("input is text", replaced(PREDICT, "-i", "data/dataset.json"), 3, ["dataset.json"]),
    Bad("garbage DICOM", replaced(PREDICT, "-i", "dicom"), 3, ["dicom"], garbage_dicom),
    Bad(
        "zip that climbs out",
        replaced(PREDICT, "-i", "series.zip"),
        3,
        ["outside its folder", "do not trust"],
        climbing_zip,
    ),
    Bad("damaged zip", replaced(PREDICT, "-i", "series.zip"), 3, ["series.zip"], damaged_zip),
    Bad(
        "output is input",
        replaced(PREDICT, "-o", "scans"),
        2,
        ["scans", "-o another folder"],
        word="OUTPUT_IS_INPUT",
    ),
    Bad("output is a file", PREDICT, 2, ["out is a file", "-o a folder"], file_out),
    Bad("predictions below a file", replaced(PREDICT, "-o", "data/dataset.json/out"), 2, ["dataset.json"]),
    Bad(
        "one output file for two scans",
        replaced(PREDICT, "-o", "out.nii.gz"),
        2,
        ["out.nii.gz is one file", "2 scans"],
    ),
    Bad("someone else's files", PREDICT, 2, ["scan_1.nii.gz", "--overwrite"], mine, "OUTPUT_EXISTS"),
    Bad("output is the dataset", (*DATA, "-o", "data"), 2, ["another folder"], word="OUTPUT_IS_INPUT"),
    Bad("output has an odd ending", (*ONE, "-o", "out.txt"), 2, ["out.txt looks like a file", ".nrrd"]),
    Bad("quality unknown", (*PREDICT, "--quality", "bset"), 2, ["'bset'", "'best'"], word="UNKNOWN_QUALITY"),
    Bad("prediction's precision unknown", (*PREDICT, "--precision", "64"), 2, ["64", "bf16"]),
    Bad(
        "device unknown", replaced(PREDICT, "--device", "gpu"), 2, ["'gpu'", "cuda:N"], word="UNKNOWN_DEVICE"
    ),
    Bad(
        "device absent",
        replaced(PREDICT, "--device", "cuda:9"),
        4,
        ["cuda:9", "--device auto or cpu"],
        word="NO_DEVICE",
    ),
    Bad(
        "--set of training",
        (*PREDICT, "--set", "train.seed=1"),
        2,
        ["train", "inference"],
        word="NOT_INFERENCE",
    ),
    Bad(
        "--set out of range",
        (*PREDICT, "--set", "inference.overlap=1.5"),
        2,
        ["inference.overlap", "1.5"],
        word="CONFIG",
    ),
    Bad(
        "--set misspelled",
        (*PREDICT, "--set", "inference.overlp=0.5"),
        2,
        ["inference.overlp", "inference.overlap"],
        word="CONFIG",
    ),
    Bad("stride too long", (*PREDICT, "--set", "inference.stride=[1,2]"), 2, ["stride"]),
    Bad(
        "largest_component of no class",
        (*PREDICT, "--set", "inference.largest_component=[liver]"),
        2,
        ["liver"],
    ),
]
PARTIAL = [
    Bad("one scan garbage", PREDICT, 5, ["1 of 2 scans failed", "scan_0"], garbage_scan, "CASES_FAILED"),
    Bad("one scan with NaN", PREDICT, 5, ["1 of 2 scans failed", "scan_0", "NaN"], nan_scan, "CASES_FAILED"),
    Bad(
        "one scan out of range",
        PREDICT,
        5,
        ["1 of 2 scans failed", "scan_0", "huge"],
        huge_scan,
        "CASES_FAILED",
    ),
    Bad(
        "every scan garbage",
        PREDICT,
        5,
        ["2 of 2 scans failed", "scan_0"],
        every_scan_garbage,
        "CASES_FAILED",
    ),
    Bad(
        "channel missing", PREDICT, 5, ["2 of 2 scans failed", "0001 (T2)"], two_channel_model, "CASES_FAILED"
    ),
]
