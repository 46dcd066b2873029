"""The settings of runs: which of them make two runs different, and where the arms of a comparison differ.

The options of a run's method: written out or left out, a default is the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from semiseg import methods
from semiseg.comparison.result import Arm, Difference, RunScores
from semiseg.settings.changes import OF_THE_MACHINE, flat

Settings = Mapping[str, Any]

FREE = frozenset(
    {
        "config.train.seed",
        "config.data.fold",
        "config.data.folds",
        "config.data.labeled",
        "config.data.labeled_patients",
        "config.train.max_time",
        "config.train.checkpoint_minutes",
        "config.train.log_every",
        "config.deviations",
    }
)
"""What may differ among the runs of an arm, and the number of labels, which has groups of its own."""
WITHOUT_EFFECT = frozenset(f"config.{key}" for key in OF_THE_MACHINE)
"""Shown where arms differ, and no reason to keep runs apart: a sweep sets some of it, and training alone does
not."""
PLAN = ("dim", "orientation", "spacing", "crop", "patch", "batch", "foreground", "network")
"""What a plan decides; its intensity statistics come from the labeled scans and differ with the split."""
MADE_WITH = (
    "semiseg",
    "git.commit",
    "git.modified",
    "packages.torch",
    "packages.monai",
    "batch.labeled",
    "batch.unlabeled",
    "hardware.cpu",
    "hardware.threads",
    "hardware.gpus",
    "precision",
)
"""Of the manifest: shown where arms differ, and no reason to keep runs apart."""
OPTION = "config.method.options."
FIRST = ("config.recipe", "config.network.name", "config.train.iterations", "config.method.options")
"""The settings that a name is made of before any other."""


def settings(run: RunScores) -> dict[str, Any]:
    """Settings and plan with an effect, as dotted keys; without the method and what is free."""
    return {key: value for key, value in _settings(run).items() if key not in WITHOUT_EFFECT}


def _settings(run: RunScores) -> dict[str, Any]:
    plan = {key: value for key, value in run.plan.items() if key in PLAN}
    config = {**run.config, "method": {"options": options(run)}}
    found = flat({"config": config, "plan": plan})
    return {key: value for key, value in found.items() if key not in FREE and value != {}}


def fixed(values: Settings) -> Hashable:
    """Settings as a key of a dictionary."""
    return json.dumps(values, sort_keys=True, default=str)


def told_apart(groups: Sequence[Settings]) -> list[str]:
    """The settings that tell groups from one another, as few and as familiar ones as will do.

    For each group (all are different) what stands in its name: ``network.name=vnet``; blank for a single one.
    """
    keys = differing(groups)
    keys.sort(key=lambda key: (_familiarity(key), key))
    chosen: list[str] = []
    for key in keys:
        if len({_of(group, chosen) for group in groups}) == len(groups):
            break
        if len({_of(group, [*chosen, key]) for group in groups}) > len({_of(g, chosen) for g in groups}):
            chosen.append(key)
    return [", ".join(f"{short(key)}={text(group.get(key))}" for key in chosen) for group in groups]


def differing(groups: Sequence[Settings]) -> list[str]:
    """Keys whose values are not the same in all groups."""
    keys = sorted({key for group in groups for key in group})
    return [key for key in keys if len({fixed({"": group.get(key)}) for group in groups}) > 1]


def differences(arms: Iterable[Arm]) -> tuple[Difference, ...]:
    """Where the runs of several arms differ, one entry per setting; versions and hardware last.

    Of the options that one method has and another has not, those that somebody set.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    told: set[str] = set()
    for arm in arms:
        runs.setdefault(arm.name, []).extend(_recorded(run) for run in arm.runs)
        told.update(f"{OPTION}{name}" for run in arm.runs for name in unusual(run))
    keys = differing([recorded for group in runs.values() for recorded in group])
    keys = [key for key in keys if key in told or not key.startswith(OPTION)]
    keys.sort(key=lambda key: (key.startswith("manifest"), _familiarity(key), key))
    return tuple(
        Difference(key, {name: _distinct(group, key) for name, group in runs.items()}) for key in keys
    )


def short(key: str) -> str:
    """A key without what every key of its kind begins with."""
    return key.removeprefix(OPTION).removeprefix("config.")


def text(value: Any) -> str:
    """A value as it stands in a name."""
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _recorded(run: RunScores) -> dict[str, Any]:
    made = flat({"manifest": run.manifest})
    return _settings(run) | {f"manifest.{key}": made.get(f"manifest.{key}") for key in MADE_WITH}


def _distinct(group: Sequence[Settings], key: str) -> tuple[Any, ...]:
    values = {fixed({"": recorded.get(key)}): recorded.get(key) for recorded in group}
    return tuple(values.values())


def _familiarity(key: str) -> int:
    return next((i for i, beginning in enumerate(FIRST) if key.startswith(beginning)), len(FIRST))


def _of(group: Settings, keys: Sequence[str]) -> Hashable:
    return fixed({key: group.get(key) for key in keys})


def options(run: RunScores) -> dict[str, Any]:
    """Every option as it was, by the manifest; of a run that is older than this entry, with our defaults."""
    chosen = run.config["method"]["options"]
    return run.manifest.get("method_options") or {**_defaults(run.config["method"]["name"]), **chosen}


def unusual(run: RunScores) -> set[str]:
    """Names of the options that are not the defaults of this version."""
    usual = _defaults(run.config["method"]["name"])
    return {name for name, value in options(run).items() if name not in usual or usual[name] != value}


@functools.cache
def _defaults(name: str) -> Mapping[str, Any]:
    """The defaults of a method's options, as JSON has them; none of a method that is not ours."""
    if name not in methods.names():
        return {}
    plain: dict[str, Any] = json.loads(json.dumps(methods.all_options(methods.find(name), {})))
    return plain
