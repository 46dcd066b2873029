"""One measurement each of how cost grows; every function runs in a fresh process and gives seconds or MB."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from benchmarks.speed import clock, scans, work
from benchmarks.speed.items.step import middle, our_session
from benchmarks.speed.setting import Setting

Point = dict[str, float]


def step(folder: Path, patch: tuple[int, int, int], repeats: int) -> Point:
    """A mean teacher step on a V-Net, 2 + 2 patches; per voxel it should cost the same."""
    setting = Setting(torch.device("cpu"), False, None, folder)
    session = our_session(setting, "3d", "mean_teacher", [f"plan.patch={list(patch)}"])
    loop = middle(session)
    return _seconds(loop.iterate_once, repeats) | {"size": float(4 * np.prod(patch))}


def prediction(folder: Path, edge: int, patch: tuple[int, int, int]) -> Point:
    """Seconds and peak memory of one prediction of a cube of ``edge`` voxels; sized by its windows."""
    from semiseg import networks
    from semiseg.inference.predictor import predict_probabilities
    from semiseg.inference.window import window_starts
    from semiseg.machine.hardware import native_precision
    from semiseg.settings.config import InferenceConfig

    base = work.resident_mb()
    torch.manual_seed(0)
    stride = tuple(p // 2 for p in patch)
    windows = len(window_starts((edge,) * 3, patch, 0.5, stride))
    device = torch.device("cpu")
    net = networks.build("vnet", dim=3, in_channels=1, classes=2)
    net.to(memory_format=torch.channels_last_3d).eval()
    image = torch.randn(1, edge, edge, edge)
    precision = native_precision(device)

    def predict(image: torch.Tensor) -> None:
        settings = InferenceConfig(stride=stride)
        predict_probabilities([net], image, dim=3, patch=patch, config=settings, precision=precision).argmax(
            0
        )

    predict(image[:, : patch[0], : patch[1], : patch[2]])  # what a process does only once
    found = _seconds(lambda: predict(image), 1, warm=0)
    return found | {"mb": work.peak_mb() - base, "size": float(windows * np.prod(patch))}


def metric(folder: Path, radius: int, shift: int) -> Point:
    """All metrics of two balls in a cube of 220 voxels, one ``shift`` voxels away from the other."""
    from semiseg.evaluation.case import evaluate
    from semiseg.evaluation.surface import border

    edge = 220
    axes = np.ogrid[:edge, :edge, :edge]
    middle = edge // 2 - shift // 2
    ball = sum((axis - middle) ** 2 for axis in axes) <= radius**2
    moved = np.roll(ball, shift, 0)
    found = _seconds(lambda: evaluate(moved, ball, (1.0,) * 3, {"ball": 1}), 5)
    return found | {"size": float(border(ball).sum())}


def start(folder: Path, count: int) -> Point:
    """Seconds of `check`, `plan`, and `train` to its first step, without and with a cache, of tiny cases."""
    import semiseg
    from semiseg.dataset.dataset import Dataset
    from semiseg.preparation.prepare import plan_for, split_dataset
    from semiseg.settings.config import Config

    logging.disable(logging.WARNING)
    root = dataset(folder, count)
    found: Point = {"size": float(count)}

    def train(run: str) -> Callable[[], Any]:
        settings = ["plan.patch=[16,16,16]", "train.precision=32"]
        return lambda: semiseg.train(
            root,
            method="mean_teacher",
            labeled=4,
            iterations=1,
            settings=settings,
            run=folder / run,
            workers=0,
        )

    def plan() -> None:
        opened = Dataset.open(root)
        config = Config.model_validate({"data": {"labeled": 4}})
        plan_for(opened, split_dataset(opened, config), config, device="cpu", workers=0)

    for name, call, repeats in (
        ("check", lambda: semiseg.check(root), 3),
        ("plan", plan, 1),  # its figures of the scans are cached
        ("train, first time", train(f"{count}_first"), 1),
        ("train, again", train(f"{count}_again"), 1),
    ):
        for kind, value in _seconds(call, repeats, warm=0).items():
            found[f"{name}, {kind}"] = value
    return found


def dataset(folder: Path, count: int) -> Path:
    """Tiny scans of 20x20x20 voxels, all different, every one with a label."""
    root = folder / f"Dataset{count:03d}_Growth"
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    for n in range(count):
        image, label = scans.lumpy(rng, (20, 20, 20))
        nib.save(nib.Nifti1Image(image, np.eye(4)), root / "imagesTr" / f"case_{n:04d}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / "labelsTr" / f"case_{n:04d}.nii.gz")
    content = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "body": 1},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return root


def _seconds(call: Callable[[], Any], repeats: int, warm: int = 1) -> Point:
    """The fastest of some calls."""
    device = torch.device("cpu")
    for _ in range(warm):
        call()
    times = [clock.timed(call, device) for _ in range(repeats)]
    return {"wall": min(wall for wall, _ in times), "cpu": min(cpu for _, cpu in times)}


def measured(name: str, threads: int, folder: Path, *arguments: Any) -> Point:
    """One of the functions above, by name, in a process set up as `semiseg` does."""
    from semiseg.machine.hardware import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()
    function: Callable[..., Point] = globals()[name]
    return function(folder, *arguments)
