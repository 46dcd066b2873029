"""Run folders as training leaves them, whose names and paths must not leave the house."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from tests.trained import make_plan, make_run

from semiseg.networks import checkpoint
from semiseg.preparation.plan import Plan
from semiseg.settings.resolve import validate

SECRETS = ("Smith_John", "Dataset777_Clinic", "/home/anna", "anna-laptop")
"""A patient, a dataset, a path and a machine."""


def make_full_run(folder: Path, plan: Plan | None = None, **other: Any) -> Path:
    """A run of :class:`tests.trained.Thresholds` with all files that tell of data and machine."""
    plan = (plan or make_plan()).model_copy(update={"dataset": "Dataset777_Clinic"})
    make_run(folder, plan, **other)
    config = validate(
        {
            "recipe": "/home/anna/recipes/mine.yaml",
            "deviations": ["lists from /home/anna/lists/Smith_John/../five cases"],
            "inference": other.get("inference") or {},
        }
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    plan.save(folder / "plan.json")
    final = folder / "checkpoints" / "final.ckpt"
    manifest = {
        "semiseg": "0.1.0",
        "command": "train /home/anna/data/Dataset777_Clinic",
        "hardware": {"host": "anna-laptop"},
        "dataset": "Dataset777_Clinic",
        "method": "mean_teacher",
        "method_options": {"teacher": "/home/anna/models/teacher.pt"},
        "labeled": 2,
        "deviations": ["a list from /home/anna/lists/five.json"],
        "parameters": 12,
        "checkpoints": {"final.ckpt": checkpoint.sha256(final)},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    split = {"labeled": ["Smith_John", "b"], "unlabeled": ["c"], "val": [], "test": ["d"]}
    (folder / "splits.json").write_text(json.dumps(split))
    described = {"dataset": {"Smith_John": {"images": ["/home/anna/x.nii"]}}, "licence": "CC BY 4.0"}
    (folder / "dataset.json").write_text(json.dumps(described))
    (folder / "train.log").write_text("Smith_John")
    return folder
