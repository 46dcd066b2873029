"""What a tuning writes (``best.yaml``, ``trials.csv``, ``summary.json``, ``trials.svg``) and says."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from semiseg.drawing.palette import COLOR_BLIND_SAFE, INK
from semiseg.drawing.table import Column, Table, csv_rows, table_of
from semiseg.errors import plural
from semiseg.machine.files import replacing, write_json, write_text
from semiseg.settings.config import Config
from semiseg.settings.resolve import resolve
from semiseg.tuning.axes import Axis, Choice
from semiseg.tuning.trial import TrialRecord, better

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from semiseg.tuning.outline import Outline
    from semiseg.tuning.verdict import Tuned


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
        f"Tuned on {plan.dataset.name}, {plural(len(tuned.entries), 'trial')} by {plan.metric}, each of "
        f"{plural(plan.folds, 'training')} of {plan.iterations} iterations.",
        f"It rests on {plan.basis}.",
        f"Chosen: {chosen}. {verdict.reason[:1].upper()}{verdict.reason[1:]}.",
        f"Use it: semiseg train {_path(plan.dataset.root)} -c {_path(tuned.best_file)}",
    ]
    body = yaml.safe_dump(essential(tuned.config), sort_keys=False, default_flow_style=None)
    return "".join(f"# {line}\n" for line in lines) + body


def essential(config: Config) -> dict[str, Any]:
    """What a YAML file must say to mean ``config``, as ``-c`` over its recipe and as ``--recipe`` alone."""
    over = resolve(recipe=config.recipe, environment={}, flags={"method.name": config.method.name})
    told = config.model_dump(mode="json", exclude={"data": True, "train": {"seed"}})  # these are of a run
    bases = [base.model_dump(mode="json") for base in (Config(), over)]
    return {"recipe": config.recipe, "method": told["method"], **_differing(told, bases)}


def _differing(told: Mapping[str, Any], bases: list[dict[str, Any]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in told.items():
        theirs = [base[key] for base in bases]
        if isinstance(value, dict) and key != "options":
            if deeper := _differing(value, theirs):
                kept[key] = deeper
        elif any(value != other for other in theirs):
            kept[key] = value
    return kept


def _csv(tuned: Tuned) -> str:
    """A row per trial, with a column for each fold and each value that was searched."""
    folds = [f"fold_{number}" for number in range(tuned.outline.folds)]
    named = ["trial", "state", "score", *folds, *tuned.outline.search.axes]
    rows = [_row(tuned, entry) for entry in tuned.entries]
    flat = [{**row["values"], **dict(zip(folds, row["folds"], strict=False)), **row} for row in rows]
    return csv_rows(flat, [*named, "seconds", "attempt", "repeats", "note"])


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


SHOWN = 10
"""Trials in the table."""


def plan_words(plan: Outline, trials: int) -> Iterator[str]:
    """What will be searched, and at what cost."""
    yield f"rests on {plan.basis}"
    each = f"{plural(plan.folds, 'training')}, {plan.iterations} iterations each"
    yield f"{plural(trials, 'trial')} of up to {each}"
    for name, axis in plan.search.axes.items():
        yield f"  {name}: {axis} (now {_short(plan.search.start[name])})"
    reasons: dict[str, list[str]] = {}
    for name, why in plan.search.left_out.items():
        reasons.setdefault(why, []).append(name)
    yield from (f"  {', '.join(names)}: not searched, {why}" for why, names in reasons.items())


def table(tuned: Tuned) -> Table:
    """The best trials, and the start wherever it stands."""
    metric, start = tuned.outline.metric, tuned.outline.search.start
    ranked = better(tuned.entries, higher_is_better=metric.higher_is_better)
    shown = [entry for place, entry in enumerate(ranked) if place < SHOWN or entry.start]

    def value(name: str, entry: TrialRecord) -> str:
        return _short({**(start if entry.start else {}), **entry.values}.get(name, ""))

    columns: list[tuple[Column | str, Callable[[TrialRecord], str]]] = [
        ("trial", lambda entry: f"{entry.number} (start)" if entry.start else str(entry.number)),
        (f"{metric} (mean ± SD of folds)", _score),
        *((name, partial(value, name)) for name in tuned.outline.search.axes),
    ]
    return table_of("", shown, columns)


def result_words(tuned: Tuned) -> Iterator[str]:
    """What follows the table."""
    counts = {state: sum(e.state == state for e in tuned.entries) for state in ("pruned", "failed", "died")}
    counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    if counted:
        yield f"also: {counted} (trials.csv says why)"
    if tuned.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in tuned.importance.items())
        yield f"what decides (PED-ANOVA of {plural(len(tuned.entries), 'trial')}): {shares}"
    kept = "" if tuned.verdict.chosen else "; best.yaml keeps the settings as they were"
    yield tuned.verdict.reason + kept
    yield f"rests on {tuned.outline.basis}"
    yield f"use it: semiseg train {_path(tuned.outline.dataset.root)} -c {_path(tuned.best_file)}"


def in_a_line(entry: TrialRecord, metric: str) -> str:
    """``trial 7 done, Dice 0.812 ± 0.021: weight 3.2``."""
    what = f"trial {entry.number}{' (start)' * entry.start} {entry.state}"
    if entry.score is not None:
        what += f", {metric} {_score(entry)}"
    values = ", ".join(f"{name} {_short(value)}" for name, value in entry.values.items())
    return what + (f": {values}" if values else "") + (f" ({entry.note})" if entry.note else "")


def _score(entry: TrialRecord) -> str:
    spread = f" ± {statistics.stdev(entry.folds):.4f}" if len(entry.folds) > 1 else ""
    return f"{entry.score:.4f}{spread}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


POINT, LINE = COLOR_BLIND_SAFE[6], COLOR_BLIND_SAFE[5]
ACROSS = 3


def draw(tuned: Tuned, path: Path) -> None:
    """Write the figure; nothing where no trial is scored."""
    scored = [entry for entry in tuned.entries if entry.score is not None]
    if not scored:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure

    axes = tuned.outline.search.axes
    down = -(-(len(axes) + 1) // ACROSS)
    # A fixed salt and no date: the same trials give the same file.
    with mpl.rc_context({"svg.hashsalt": "semiseg", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4 * ACROSS, 2.8 * down), layout="constrained")
        panels = list(figure.subplots(down, ACROSS, squeeze=False).flat)
        _history(panels[0], tuned, scored)
        for panel, (name, axis) in zip(panels[1:], axes.items(), strict=False):
            _slice(panel, name, axis, scored, tuned)
        for panel in panels[len(axes) + 1 :]:
            panel.set_visible(False)
        for panel in panels:
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(visible=True, color="#dddddd", linewidth=0.6)
            panel.set_axisbelow(True)
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})


def _history(panel: Axes, tuned: Tuned, scored: Sequence[TrialRecord]) -> None:
    metric = tuned.outline.metric
    best = max if metric.higher_is_better else min
    so_far: list[float] = []
    for entry in scored:
        so_far.append(best([*so_far[-1:], entry.score or 0.0]))
    numbers = [entry.number for entry in scored]
    panel.plot(
        numbers, [entry.score or 0.0 for entry in scored], "o", color=POINT, markersize=4, label="a trial"
    )
    panel.step(numbers, so_far, where="post", color=INK, linewidth=1.2, label="best so far")
    _level(panel, scored)
    panel.set(xlabel="trial", ylabel=str(metric))
    panel.legend(fontsize=8, frameon=False)


def _slice(panel: Axes, name: str, axis: Axis, scored: Sequence[TrialRecord], tuned: Tuned) -> None:
    told = [(entry.values[name], entry.score or 0.0) for entry in scored if name in entry.values]
    x: list[Any] = [value for value, _ in told]
    if isinstance(axis, Choice):
        x = [axis.values.index(value) for value in x]
        panel.set_xticks(range(len(axis.values)), [str(value) for value in axis.values])
        panel.set_xlim(-0.5, len(axis.values) - 0.5)
    elif axis.log:
        panel.set_xscale("log")
    panel.plot(x, [score for _, score in told], "o", color=POINT, markersize=4)
    _level(panel, scored)
    panel.set(xlabel=name, ylabel=str(tuned.outline.metric))


def _level(panel: Axes, scored: Sequence[TrialRecord]) -> None:
    """The start, as a line to compare with."""
    start = next((entry for entry in scored if entry.start), None)
    if start is not None and start.score is not None:
        panel.axhline(start.score, color=LINE, linewidth=1, linestyle="--", label="the start")


def _path(path: object) -> str:
    """As a shell takes it."""
    return shlex.quote(str(path))
