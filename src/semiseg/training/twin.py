"""What fine-tuning gained: a run beside the same run from random weights, on the validation list of both."""

from __future__ import annotations

import logging
import math
from typing import Any

from semiseg.errors import UsageError
from semiseg.machine.files import read_json, write_json
from semiseg.runs.run import Run
from semiseg.settings.config import Config

log = logging.getLogger("semiseg.train")


def require_twin(config: Config) -> None:
    """Refuse a twin of a run that begins with random weights itself.

    Raises:
        UsageError: nothing to start from.
    """
    if not config.start.file:
        raise UsageError(
            "a twin is trained beside a run that starts from a file",
            hint="add --start-from FILE",
            code="TWIN",
        )


def without_start(config: Config) -> Config:
    """The configuration of the twin."""
    return config.model_copy(update={"start": config.start.model_copy(update={"file": None})})


def note_twin(trained: Run, scratch: Run) -> None:
    """Write into the manifest, and tell, what starting from a file gained in validation Dice.

    The twin has the same seed, cases, length and plan, the usual learning rate and random first weights. One
    pair of runs is one draw: differences below the spread over seeds say nothing.
    """
    found = gain(trained, scratch)
    write_json(trained.folder / "manifest.json", {**trained.manifest, "twin": found})
    if found["gain"] is None:
        log.warning(
            "no validation list: what the file gained is not known; evaluate both runs (%s)", scratch.folder
        )
        return
    spread = f", SE {found['standard_error']:.3f}" if found["standard_error"] is not None else ""
    log.info(
        "starting from a file: validation Dice %.3f, from scratch %.3f: %+.3f (%d cases%s, one seed)",
        found["dice"],
        found["dice_from_scratch"],
        found["gain"],
        found["cases"],
        spread,
    )


def gain(trained: Run, scratch: Run) -> dict[str, Any]:
    """Mean Dice of both, their difference, and the standard error of the difference over cases."""
    ours, theirs = _dice(trained), _dice(scratch)
    both = sorted(set(ours) & set(theirs))
    about: dict[str, Any] = {"run": scratch.folder.name, "cases": len(both)}
    if not both:
        return {**about, "dice": None, "dice_from_scratch": None, "gain": None, "standard_error": None}
    differences = [ours[case] - theirs[case] for case in both]
    mean = sum(differences) / len(both)
    error = None
    if len(both) > 1:
        error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (len(both) - 1) / len(both))
    return {
        **about,
        "dice": sum(ours[case] for case in both) / len(both),
        "dice_from_scratch": sum(theirs[case] for case in both) / len(both),
        "gain": mean,
        "standard_error": error,
    }


def _dice(run: Run) -> dict[str, float]:
    """Case of the validation list -> mean Dice over the classes that it is defined for."""
    try:
        cases = read_json(run.folder / "validation" / "summary.json")["metric_per_case"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    found = {}
    for case in cases:
        values = [row["Dice"] for row in case["metrics"].values() if row.get("Dice") is not None]
        if values:
            found[str(case["case"])] = sum(values) / len(values)
    return found
