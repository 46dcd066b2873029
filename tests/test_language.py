"""Words and sentences that users see: short, with the field's terms, and phrases that stand alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from semiseg.cli.app import load
from semiseg.cli.help import LINES
from semiseg.cli.output import Output
from tests.conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "semiseg"
DOCS = REPOSITORY / "docs"
WRITTEN = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *(
        p
        for p in sorted(DOCS.rglob("*.md"))
        if p.parent.name not in ("methods", "results") and p.stem != "results"
    ),
]
"""Pages that are written by hand; those of methods come from docstrings, those of results from tables."""
MOST_WORDS = 25
WORDS = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bgo(es)? on (at|with|from|by)\b|\bgoes on\b|\bgone on\b": "resume or continue",
    r"\btells? of\b|\btold of\b": "report",
}
"""What is not written -> what people search for instead."""


def sentences(text: str) -> Iterator[str]:
    """Sentences of Markdown prose, without code blocks, tables, links' addresses and headings."""
    text = re.sub(r"(?s)```.*?```|<details>.*?</details>|<!-- generated -->.*?<!-- /generated -->", "", text)
    text = re.sub(r"(?s)^---\n.*?\n---\n|!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)", "", text)
    text = re.sub(r"(?s)``.+?``|`[^`]+`", "CODE", text)  # a formula or a command is one word
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|<)", line)]
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines)):
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(block.split()))


def too_long(text: str) -> list[str]:
    return [s for s in sentences(text) if len(re.findall(r"[\w'-]+", s)) > MOST_WORDS]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_sentences_are_short(page: Path) -> None:
    assert too_long(page.read_text("utf-8")) == []


def test_sentences_of_methods_are_short() -> None:
    """Their docstrings are pages of the documentation and what ``semiseg methods NAME`` prints."""
    found = []
    for path in sorted((SOURCE / "methods").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                found += [f"{path.relative_to(SOURCE)}: {sentence}" for sentence in too_long(text)]
    assert found == []


@pytest.mark.parametrize("page", [*WRITTEN, DOCS / "results.md"], ids=lambda page: page.stem)
def test_pages_have_the_words_that_people_search_for(page: Path) -> None:
    text = page.read_text("utf-8").partition("## Error codes")[0]
    found = [match[0] for word in WORDS for match in re.finditer(word, text, re.IGNORECASE)]
    assert found == []


def told(path: Path) -> Iterator[str]:
    """The texts of a module that may reach a user: all that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


def test_messages_have_the_words_that_people_search_for() -> None:
    found = [
        f"{path.relative_to(SOURCE)}: {text}"
        for path in sorted(SOURCE.rglob("*.py"))
        for text in told(path)
        for word in WORDS
        if re.search(word, text, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize("name", LINES)
def test_help_lines_are_phrases_that_stand_alone(name: str) -> None:
    command = load(name, Output())
    texts = [getattr(p, "help", None) or "" for p in command.params]
    wrong = [text for text in texts if not re.match(r"[A-Z].*[.\]]$", text, re.DOTALL)]
    assert wrong == []
    loose = [text for text in texts if re.match(r"(Of|In|As|What|See|How|Or|And|The same)\b", text)]
    assert loose == []
    sentence = [s for s in sentences(" ".join(texts)) if len(s.split()) > MOST_WORDS]
    assert sentence == []


def test_help_shows_neither_types_nor_braces() -> None:
    page = (DOCS / "reference" / "commands.md").read_text("utf-8").partition("<!-- generated -->")[2]
    assert re.findall(r"(?m)^Usage: .*[{}].*$|^  \S+ <\w+.*$|.*\bx<.*", page) == []
