"""How a configuration differs from the recipe of a paper that it names, and from the paper itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from semiseg.errors import UsageError
from semiseg.settings.config import Config
from semiseg.settings.resolve import resolve

PUBLISHED = (
    "select", "network", "plan", "batch", "augment", "optimizer", "schedule", "train.iterations",
    "train.clip", "train.ema", "inference", "method.options",
)  # fmt: skip
"""Settings by which a published figure was reached."""
_OPTIONS = "method.options."
OF_THE_MACHINE = (
    "network.checkpointing", "plan.memory_gb", "plan.networks", "data.memory_gb", "inference.window_batch",
)  # fmt: skip
"""What fits a run to its machine; what came of it is in the plan."""


def changes(config: Config) -> str:
    """One sentence that names what was set otherwise than in the recipe; empty where nothing was.

    Args:
        config: of a run. A recipe file that is gone by now says nothing.
    """
    try:
        published = resolve(recipe=config.recipe, environment={}, flags={"method.name": config.method.name})
    except UsageError:
        return ""
    ours, theirs = (flat(one.model_dump(mode="json")) for one in (config, published))
    chosen = {f"{_OPTIONS}{name}" for name in config.published.options if not _other(config, name)}
    told = [
        f"{key} {ours.get(key)} ({theirs.get(key)})"
        for key in sorted({*ours, *theirs})
        if key.startswith(PUBLISHED) and key not in OF_THE_MACHINE and ours.get(key) != theirs.get(key)
        if key not in chosen
    ]
    return f"set otherwise than in recipe {config.recipe}: {', '.join(told)}" if told else ""


def other_forms(config: Config) -> list[str]:
    """One sentence per option of the method that has another value than in the published form."""
    return [
        f"published with {name}={_typed(value)}" + (f", here {_typed(ours[name])}" if name in ours else "")
        for ours in [config.method.options]
        for name, value in config.published.options.items()
        if _other(config, name)
    ]


def _other(config: Config, name: str) -> bool:
    """Whether an option is not as published; one that is not given has its default, which is not."""
    return bool(config.method.options.get(name) != config.published.options[name])


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of settings as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
