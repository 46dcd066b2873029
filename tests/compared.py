"""Scored run folders without training, and comparisons made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.runs.run import save_config
from semiseg.settings.config import Config
from tests.factories import make_dataset
from tests.trained import make_plan

CASES = tuple(f"ts_{i:02d}" for i in range(8))
DATASET = "Dataset001_Tiny"


def dices(mean: float, cases: int = 8, classes: int = 1, seed: int = 0) -> np.ndarray:
    """(cases, classes) around a mean; the same seed gives cases that are hard for all."""
    hard = np.random.default_rng(0).normal(0, 0.05, (cases, classes))
    own = np.random.default_rng(seed + 1).normal(0, 0.004, (cases, classes))
    return np.clip(mean + hard + own, 0, 1)


def scored_run(
    root: Path,
    method: str,
    values: np.ndarray,
    *,
    seed: int = 0,
    labeled: int | None = 8,
    cases: Sequence[str] = CASES,
    dataset: str = DATASET,
    folder: str = "",
    data: Path | None = None,
    validated: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run folder with scores.

    Args:
        root: where.
        method: name in its config.
        values: (cases, classes) of Dice; distances follow from it, NaN stays NaN.
        seed: of training.
        labeled: as in the config; None is all 20.
        cases: names of the scored cases.
        dataset: its name.
        folder: of the run; by default made of the settings.
        data: a dataset whose labelsTs and imagesTs hold the cases.
        validated: whether the log has validation scores.
        options: of the method.
    """
    path = root / (folder or f"{method.replace('/', '-')}_{labeled}_{seed}")
    test = path / "test"
    test.mkdir(parents=True)
    config = Config.model_validate(
        {
            "method": {"name": method, "options": dict(options or {})},
            "data": {"labeled": labeled},
            "train": {"seed": seed},
        }
    )
    save_config(config, path / "config.yaml")
    plan = make_plan(classes=values.shape[1] + 1)
    plan.save(path / "plan.json")
    write = lambda name, content: (path / name).write_text(json.dumps(content))  # noqa: E731
    count = labeled or 20
    write(
        "splits.json",
        {"labeled": [f"case_{i}" for i in range(count)], "unlabeled": [], "val": [], "test": []},
    )
    write("manifest.json", _manifest(dataset, method, count))
    (path / "metrics.csv").write_text(_log(validated))
    classes = {name: value for name, value in plan.labels.items() if value}
    _write_scores(test, classes, cases, values, data)
    return path


def trio(root: Path, *, seeds: int = 2, **other: Any) -> list[Path]:
    """Supervised, one method that is better and one that is not, two seeds each."""
    means = {"supervised": 0.7, "mean_teacher": 0.74, "ua_mt": 0.7}
    return [
        scored_run(root, method, dices(mean, seed=10 * i + seed), seed=seed, **other)
        for i, (method, mean) in enumerate(means.items())
        for seed in range(seeds)
    ]


def data_for(root: Path, runs: Sequence[Path]) -> Path:
    """A dataset with images and labels of :data:`CASES`, and its labels as every run's predictions."""
    data = make_dataset(root, test=len(CASES), name=DATASET)
    for run in runs:
        for case in CASES:
            (run / "test" / f"{case}.nii.gz").write_bytes((data / "labelsTs" / f"{case}.nii.gz").read_bytes())
    return data


def _manifest(dataset: str, method: str, labeled: int) -> dict[str, Any]:
    return {
        "semiseg": "0.1.0",
        "git": {"commit": "c0ffee", "modified": False},
        "python": "3.11.7",
        "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
        "command": f"semiseg train {dataset} --method {method}",
        "hardware": {"cpu": "a CPU", "cores": 2, "threads": 2, "gpus": []},
        "dataset": dataset,
        "split_sha256": "5p117",
        "data_sha256": "da7a",
        "method": method,
        "labeled": labeled,
        "selection": "last",
        "protocol": "strict",
        "precision": "bf16",
        "sessions": [{"step": 100, "reason": "finished", "seconds": 120.0}],
    }


def _log(validated: bool) -> str:
    lines = ["event,step,stage,lr,best,iterations_per_second,loss,val/dice"]
    lines += [f"stepped,{step},train,0.01,,4.0,{10 / step + 0.1}," for step in range(10, 101, 10)]
    if validated:
        lines += [f"validated,{step},,,1,,,{step / 200}" for step in (50, 100)]
    return "\n".join(lines) + "\n"


def _write_scores(
    test: Path, classes: Mapping[str, int], cases: Sequence[str], values: np.ndarray, data: Path | None
) -> None:
    entries, rows = [], []
    for case, dice in zip(cases, values, strict=True):
        metrics = {}
        for (name, label), value in zip(classes.items(), dice, strict=True):
            scores = {"Dice": float(value), "HD95": float(10 * (1 - value)), "ASSD": float(3 * (1 - value))}
            rows.append([case, name, label, *("" if np.isnan(v) else repr(v) for v in scores.values())])
            metrics[str(label)] = {key: None if np.isnan(v) else v for key, v in scores.items()}
        reference = str((data or Path("nowhere")) / "labelsTs" / f"{case}.nii.gz")
        predicted = str(test / f"{case}.nii.gz")
        entries.append(
            {"case": case, "reference_file": reference, "prediction_file": predicted, "metrics": metrics}
        )
    summary = {
        "labels": dict(classes),
        "convention": "semiseg",
        "nsd_tolerance_mm": 1.0,
        "metric_per_case": entries,
    }
    (test / "summary.json").write_text(json.dumps(summary))
    with (test / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["case", "class", "label", "Dice", "HD95", "ASSD"], *rows])
