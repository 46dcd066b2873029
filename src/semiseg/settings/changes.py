"""What a configuration has otherwise than the recipe of a paper that it names."""

from __future__ import annotations

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
OF_THE_MACHINE = ("network.checkpointing", "plan.memory_gb", "plan.networks", "inference.window_batch")


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
    told = [
        f"{key} {ours.get(key)} ({theirs.get(key)})"
        for key in sorted({*ours, *theirs})
        if key.startswith(PUBLISHED) and key not in OF_THE_MACHINE and ours.get(key) != theirs.get(key)
    ]
    return f"set otherwise than in recipe {config.recipe}: {', '.join(told)}" if told else ""


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of settings as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
