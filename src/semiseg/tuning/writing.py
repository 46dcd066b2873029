"""What a tuning leaves behind: ``best.yaml``, ``trials.csv`` and ``summary.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from semiseg.atomic import write_json, write_text
from semiseg.config import Config
from semiseg.resolve import resolve

if TYPE_CHECKING:
    from semiseg.tuning.tune import Tuned

OWN = {"data": None, "train": {"seed": None}}
"""What belongs to a run and not to its settings."""


def write(tuned: Tuned) -> None:
    """All three, each whole or not at all."""
    write_text(tuned.folder / "trials.csv", _csv(tuned))
    write_text(tuned.best_file, best_yaml(tuned))
    write_json(tuned.folder / "summary.json", summary(tuned))


def summary(tuned: Tuned) -> dict[str, Any]:
    """For ``--json``."""
    verdict, plan = tuned.verdict, tuned.outline
    return {
        "folder": str(tuned.folder),
        **plan.as_dict(),
        "trials": [_row(tuned, entry) for entry in tuned.entries],
        "chosen": None if verdict.chosen is None else verdict.chosen.number,
        "best": None if verdict.best is None else verdict.best.number,
        "gain": verdict.gain,
        "chance": verdict.chance,
        "reason": verdict.reason,
        "importance": tuned.importance,
        "best_file": str(tuned.best_file),
    }


def best_yaml(tuned: Tuned) -> str:
    """The chosen settings, and what the choice rests on."""
    plan, verdict = tuned.outline, tuned.verdict
    chosen = f"trial {verdict.chosen.number}" if verdict.chosen else "the settings as they were before"
    lines = [
        f"Tuned on {plan.dataset.name}, {len(tuned.entries)} trials by {plan.metric}, each of {plan.folds} "
        f"trainings of {plan.iterations} iterations.",
        f"It rests on {plan.basis}.",
        f"Chosen: {chosen}. {verdict.reason[:1].upper()}{verdict.reason[1:]}.",
        f"Use it: semiseg train {plan.dataset.root} -c {tuned.best_file}",
    ]
    body = yaml.safe_dump(essential(tuned.config), sort_keys=False, default_flow_style=None)
    return "".join(f"# {line}\n" for line in lines) + body


def essential(config: Config) -> dict[str, Any]:
    """What a YAML file must say to mean ``config``, as ``-c`` over its recipe and as ``--recipe`` alone."""
    over = resolve(recipe=config.recipe, environment={}, flags={"method.name": config.method.name})
    told = config.model_dump(mode="json")
    bases = [base.model_dump(mode="json") for base in (Config(), over)]
    kept = _differing(told, bases, OWN)
    return {"recipe": config.recipe, "method": told["method"], **kept}


def _differing(
    told: Mapping[str, Any], bases: list[dict[str, Any]], leave: Mapping[str, Any]
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in told.items():
        theirs = [base[key] for base in bases]
        if key in leave and leave[key] is None:
            continue
        if isinstance(value, dict) and key != "options":
            deeper = _differing(value, theirs, leave.get(key, {}))
            if deeper:
                kept[key] = deeper
        elif any(value != other for other in theirs):
            kept[key] = value
    return kept


def _csv(tuned: Tuned) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = list(tuned.outline.search.axes)
    folds = [f"fold_{number}" for number in range(tuned.outline.folds)]
    writer.writerow(["trial", "state", "score", *folds, *names, "seconds", "attempt", "repeats", "note"])
    writer.writerows(_cells(tuned))
    return buffer.getvalue()


def _cells(tuned: Tuned) -> Iterator[list[Any]]:
    for entry in tuned.entries:
        row = _row(tuned, entry)
        folds = [*row["folds"], *[""] * tuned.outline.folds][: tuned.outline.folds]
        values = [row["values"].get(name, "") for name in tuned.outline.search.axes]
        rest = [row[key] for key in ("seconds", "attempt", "repeats", "note")]
        cells = [row["trial"], row["state"], row["score"], *folds, *values, *rest]
        yield ["" if cell is None else cell for cell in cells]


def _row(tuned: Tuned, entry: Any) -> dict[str, Any]:
    start = tuned.outline.search.start if entry.start else {}
    return {
        "trial": entry.number,
        "state": entry.state,
        "score": entry.score,
        "folds": list(entry.folds),
        "values": {**start, **entry.values},
        "seconds": None if entry.seconds is None else round(entry.seconds, 1),
        "attempt": entry.attempt,
        "repeats": entry.repeats,
        "note": entry.note,
        "deviations": list(entry.deviations),
        "start": entry.start,
    }
