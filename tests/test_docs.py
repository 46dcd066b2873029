"""The documentation says what the code does: keys, defaults, commands, links."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from semiseg.settings.config import Config
from semiseg.settings.environment import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
    from semiseg.cli.table import LINES

    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `semiseg ([a-z]+)`", text, re.MULTILINE) == list(LINES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).is_file()]
    assert missing == []


def test_every_recipe_is_described() -> None:
    from semiseg import recipes

    text = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert [name for name in recipes.names() if f"`{name}`" not in text] == []


def test_generated_pages_are_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    files = made["files"]()
    stale = [
        path.name for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text
    ]
    assert stale == [], "run `python docs/generate.py`"
    assert {path for path in files if path.parent == made["PAGES"]} == set(made["PAGES"].glob("*"))


def test_every_recognized_ending_is_described() -> None:
    from semiseg.images import ENDINGS

    text = (ROOT / "docs" / "own-data.md").read_text("utf-8")
    assert [ending for ending in ENDINGS if f"`{ending}`" not in text] == []


def test_the_page_of_bad_data_names_tests_that_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "bad-data.md").read_text("utf-8"))
    assert len(named) > 80
    texts = {file: (ROOT / "tests" / file).read_text("utf-8") for file, _ in named}
    assert [(file, name) for file, name in named if f"def {name}(" not in texts[file]] == []


def test_pages_are_in_the_navigation() -> None:
    import yaml

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    entries = [part for entry in navigation for part in _nested(entry)]
    assert sorted(entries) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:])


def _nested(entry: dict[str, Any]) -> Iterator[str]:
    for value in entry.values():
        if isinstance(value, str):
            yield value
        else:
            for part in value:
                yield from _nested(part)
