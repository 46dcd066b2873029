"""The options of a run's method: written out or left out, a default is the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from semiseg import methods
from semiseg.comparison.arm import RunScores


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
    """As they are read back from JSON; none of a method that is not ours, whose code is not run for this."""
    if name not in methods.names():
        return {}
    plain: dict[str, Any] = json.loads(json.dumps(methods.all_options(methods.find(name), {})))
    return plain
