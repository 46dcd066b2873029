"""Run folders with chosen scores, written by the very code that writes them in earnest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.trained import make_plan

from semiseg.evaluation.case import Counts, Scale
from semiseg.evaluation.results import CaseScores, Evaluation
from semiseg.runs.events import Started, Stepped
from semiseg.runs.log import FileLog
from semiseg.runs.run import save_config
from semiseg.settings.resolve import resolve

NAN = float("nan")
Scores = Mapping[str, Sequence[float]]
"""Case -> Dice of each class; NaN for a class whose masks are empty in reference and prediction."""


def manifest(labeled: int = 2, **other: Any) -> dict[str, Any]:
    session = {"step": 20, "reason": "finished", "seconds": 90.0, "memory_gb": 1.5}
    return {
        "dataset": "Dataset001_Tiny",
        "labeled": labeled,
        "split_sha256": "split",
        "data_sha256": "data",
        "selection": "last",
        "protocol": "strict",
        "deviations": [],
        "git": {"commit": "0123456789abcdef", "modified": False},
        "hardware": {"cpu": "one", "threads": 1, "gpus": []},
        "parameters": 1_000_000,
        "command": "semiseg train Dataset001_Tiny",
        "sessions": [session],
        **other,
    }


def make_run(
    folder: Path,
    scores: Scores | None,
    *,
    method: str = "supervised",
    seed: int = 0,
    labeled: int | None = 2,
    place: str = "test",
    settings: Mapping[str, Any] | None = None,
    told: Mapping[str, Any] | None = None,
    hd95: float = 2.0,
    hd95_max: float | None = None,
    patients: Mapping[str, str] | None = None,
    labeled_cases: Sequence[str] = ("a",),
    unlabeled_cases: Sequence[str] = ("u",),
    **evaluation: Any,
) -> Path:
    """A run folder whose cases have these Dice values; ``scores`` None leaves it unscored."""
    folder.mkdir(parents=True)
    flags = {"method.name": method, "train.seed": seed, "train.iterations": 20, "network.name": "unet"}
    flags |= {"data.labeled": labeled} if labeled else {}
    save_config(resolve(flags={**flags, **(settings or {})}, environment={}), folder / "config.yaml")
    classes = max((len(row) for row in scores.values()), default=1) if scores else 1
    make_plan(classes=classes + 1).save(folder / "plan.json")
    (folder / "manifest.json").write_text(json.dumps(manifest(labeled or 8, **(told or {}))))
    split: dict[str, Any] = {"labeled": list(labeled_cases), "unlabeled": list(unlabeled_cases)}
    split |= {"val": [], "test": []}
    split |= {"patients": dict(patients)} if patients else {}
    (folder / "splits.json").write_text(json.dumps(split))
    log = FileLog(folder)
    log(Started(0, 20))
    for step, speed in ((10, 2.0), (20, 4.0)):
        log(Stepped(step, 20, "train", 1e-3, {"loss": 1.0 / step}, speed, 0.0))
    if scores is not None:
        evaluate(scores, hd95=hd95, hd95_max=hd95_max, **evaluation).save(folder / place)
    return folder


def evaluate(
    scores: Scores,
    *,
    hd95: float = 2.0,
    hd95_max: float | None = None,
    voxels: float = 100.0,
    **other: Any,
) -> Evaluation:
    """An evaluation with these Dice values; where Dice is NaN, so is everything else.

    A reference has ``voxels``, and none where Dice is 0 or NaN.
    """
    count = max((len(row) for row in scores.values()), default=1)
    labels = {f"structure {k}": k for k in range(1, count + 1)}
    cases = []
    for case, row in scores.items():
        metrics = {}
        for label, dice in zip(labels, row, strict=True):
            known = 1.0 if dice == dice else NAN
            sizes = {"n_pred": 100.0 if dice == dice else 0.0, "n_ref": voxels if dice > 0 else 0.0}
            sizes["TP"] = known * dice * sum(sizes.values()) / 2 if dice == dice else 0.0
            larger = {} if hd95_max is None else {"HD95Max": hd95_max * known}
            metrics[label] = {
                "Dice": dice,
                "HD95": hd95 * known,
                "ASSD": known,
                "NSD": dice,
                **larger,
                **sizes,
            }
        cases.append(
            CaseScores(
                case,
                metrics,
                Scale((8, 8, 8), (1.0, 1.0, 1.0)),
                512,
                Counts(500, 506, 506, 512),
                f"labels/{case}.nii.gz",
            )
        )
    return Evaluation(tuple(cases), labels, **other)


def spread(values: Sequence[float], *, classes: int = 1) -> dict[str, list[float]]:
    """Cases c00, c01, ... with these Dice values in every class."""
    return {f"c{i:02d}": [float(value)] * classes for i, value in enumerate(values)}
