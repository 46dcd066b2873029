"""A comparison as JSON types: everything but the values of single cases, which are in ``per_case.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from semiseg.comparison.arm import Arm
from semiseg.comparison.result import Comparison
from semiseg.report.table import Value

ROW = ("dataset", "budget", "method", "fold", "seed", "case", "class")
"""What names a row of ``per_case.csv``."""


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as ``comparison.json`` and ``--json`` have it; NaN and infinity become None."""
    content: dict[str, Any] = _plain(comparison)
    return content


def per_case(comparison: Comparison) -> list[dict[str, Value]]:
    """A row for each run, case and class with every metric; runs that stand on two boards come twice."""
    rows: list[dict[str, Value]] = []
    for board in comparison.boards:
        for arm in board.arms:
            for run in arm.runs:
                for i, case in enumerate(run.cases):
                    for k, label in enumerate(run.classes):
                        place = (board.dataset, board.budget, arm.name, run.fold, run.seed, case, label)
                        scored = {metric: float(values[i, k]) for metric, values in run.scores.items()}
                        rows.append({**dict(zip(ROW, place, strict=True)), **scored})
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, Arm):
        return _arm(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _arm(arm: Arm) -> dict[str, Any]:
    """An arm without what its run folders hold anyway."""
    runs = [
        {
            "folder": str(run.folder),
            "fold": run.fold,
            "seed": run.seed,
            "iterations": run.iterations,
            "batch": run.plan.get("batch"),
            "cost": _plain(run.cost),
            "commit": (run.manifest.get("git") or {}).get("commit"),
        }
        for run in arm.runs
    ]
    known = {name: getattr(arm, name) for name in ("name", "method", "labeled", "bound", "replicates")}
    return {**known, "cost": _plain(arm.cost), "runs": runs}
