"""Recipes: settings by name, one YAML file each. The folder is the registry."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes that come with semiseg."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
