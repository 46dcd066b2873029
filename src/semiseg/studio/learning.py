"""What the rounds of labeling have brought: Dice against number of labels, and what more labels may bring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.dataset.ledger import read_entries
from semiseg.errors import SemisegError
from semiseg.labeling.reviews import of_runs
from semiseg.runs.run import Run
from semiseg.studio.places import Places
from semiseg.studio.progress import curve

MORE = 10
"""Labels that the forecast looks ahead."""
FEWEST = 3
"""Rounds from which a forecast can be made."""


def runs_told(places: Places) -> list[dict[str, Any]]:
    """All runs, newest first."""
    return [told for name in reversed(places.run_names()) if (told := run_told(places, name))]


def run_told(places: Places, name: str) -> dict[str, Any]:
    """What the page Training says of a run; empty for a folder that holds none yet."""
    folder = places.runs / name
    run = Run(folder)
    try:
        manifest, config = run.manifest, run.config
    except (SemisegError, OSError):
        return {}
    predicted = places.predictions_of(name)
    done = sum(1 for path in predicted.glob("*.json") if path.name != "prediction_report.json")
    return {
        "id": name,
        "method": manifest.get("method"),
        "labeled": manifest.get("labeled"),
        "held_out": manifest.get("validation"),
        "started": manifest.get("started"),
        "ended": manifest.get("ended"),
        "finished": run.finished,
        "dice": validation_dice(folder, best=manifest.get("selection") == "best-val"),
        "iterations": config.train.iterations,
        "predicted": done,
        "deviations": manifest.get("deviations") or [],
        "start_from": (manifest.get("start_from") or {}).get("file"),
    }


def validation_dice(folder: Path, *, best: bool) -> float | None:
    """Mean Dice on the validation list of the weights that were exported; None without one."""
    found = [one["dice"] for one in curve(folder)["validation"] if one["dice"] is not None]
    if not found:
        return None
    return round(float(max(found) if best else found[-1]), 4)


def results_told(places: Places, ledger: Path) -> dict[str, Any]:
    """The rounds with their scores, and a forecast."""
    corrected = of_runs(read_entries(ledger) if ledger.is_file() else ())
    runs = [run for run in reversed(runs_told(places)) if run["finished"]]
    rounds = [
        {
            "round": number,
            "labels": run["labeled"],
            "run": run["id"],
            "dice": run["dice"],
            "held_out": run["held_out"],
            "corrected": corrected.get(run["id"]),
        }
        for number, run in enumerate(runs, start=1)
    ]
    found, why = forecast([(one["labels"], one["dice"]) for one in rounds if one["dice"] is not None])
    held_out = any(one["dice"] is not None for one in rounds)
    if rounds and not held_out:
        why = "no held-out cases: list some under 'val' in splits.json to measure the quality of each round"
    report = "/api/results/report" if held_out else None
    return {"rounds": rounds, "forecast": found, "forecast_reason": why, "report": report}


def forecast(points: list[tuple[int, float]]) -> tuple[dict[str, Any] | None, str | None]:
    """Dice at :data:`MORE` more labels, by a power law of the error; or why there is none.

    The error 1 - Dice of (labels, Dice) of each round is fitted as c n^-k by least squares in logarithms, k
    at least 0; the interval is two standard deviations of what the fit leaves.
    """
    known = [(n, dice) for n, dice in points if n and dice < 1]
    if len({n for n, _ in known}) < FEWEST:
        return None, f"a forecast needs {FEWEST} rounds with other numbers of labels and held-out cases"
    x = np.log([n for n, _ in known])
    y = np.log([1 - dice for _, dice in known])
    slope, intercept = np.polyfit(x, y, 1)
    slope = min(float(slope), 0.0)
    intercept = float(np.mean(y - slope * x))
    left = float(np.std(y - slope * x - intercept, ddof=2 if len(x) > 2 else 1))
    labels = max(n for n, _ in known) + MORE
    at = slope * math.log(labels) + intercept
    dice, low, high = (1 - math.exp(at + s * left) for s in (0, 2, -2))
    return {
        "labels": labels,
        "dice": round(dice, 4),
        "low": round(max(low, 0.0), 4),
        "high": round(high, 4),
    }, None
