"""The documentation says what the code does: keys, defaults, commands, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from semiseg.config import Config
from semiseg.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield prefix + name, list(default) if isinstance(default, tuple) else default


def test_every_key_is_documented_with_its_default_and_no_other() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_.]+[a-z_0-9]*)` \| `([^`]*)` \|", text, re.MULTILINE)
    assert {key: json.loads(default) for key, default in rows} == dict(leaves(Config))


def test_every_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `SEMISEG_([A-Z_]+)`", text, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_the_readme_lists_every_command() -> None:
    from semiseg.cli.app import COMMANDS

    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `semiseg ([a-z]+)`", text, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).is_file()]
    assert missing == []


def test_every_method_and_recipe_is_described() -> None:
    from semiseg import methods, recipes

    text = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert [name for name in methods.names() if f"## {name}" not in text] == []
    assert [name for name in recipes.names() if f"`{name}`" not in text] == []


def test_every_recognized_ending_is_described() -> None:
    from semiseg.data.formats import ENDINGS

    text = (ROOT / "docs" / "own-data.md").read_text("utf-8")
    assert [ending for ending in ENDINGS if f"`{ending}`" not in text] == []


def test_pages_are_in_the_navigation() -> None:
    import yaml

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    listed = {next(iter(entry.values())) for entry in navigation}
    assert {page.name for page in PAGES[1:]} <= listed
