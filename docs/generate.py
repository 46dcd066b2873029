"""Write what is generated in docs: pages and pictures of methods, tables, commands, error codes, navigation.

    python docs/generate.py

Sources are the docstrings of the methods, docs/diagrams.txt, the figures in src/semiseg/methods/*.csv,
what the public data sets say of themselves in src/semiseg/dataset/public, the help of the commands
and the errors of the package.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import codes
import diagrams

from semiseg import methods
from semiseg.cli import main
from semiseg.cli.help import COMMANDS
from semiseg.dataset.public.convert import datasets
from semiseg.methods import _page
from semiseg.methods._facts import by_family

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = DOCS / "methods"
PICTURES = DOCS / "assets" / "methods"


def files() -> dict[Path, str]:
    """Every generated file and what is in it."""
    names = methods.names()
    wrong = {name: problems for name in names if (problems := methods.description(name).problems())}
    if wrong:
        raise SystemExit("\n".join(f"{name}: {problem}" for name in wrong for problem in wrong[name]))
    inside = {
        DOCS / "methods.md": f"\n{_page.index()}\n",
        DOCS / "public-data.md": f"\n{data_sets()}\n",
        DOCS / "problems.md": f"\n{codes.markdown()}\n",
        DOCS / "reference" / "commands.md": f"\n{commands()}\n",
        ROOT / "mkdocs.yml": "\n".join(navigation()),
    }
    drawn = diagrams.drawings()
    return {
        **{PAGES / f"{name}.md": page(name) for name in names},
        **{PICTURES / f"{name}.svg": drawn[name] for name in names},
        **{path: between(path, new) for path, new in inside.items()},
    }


def page(name: str) -> str:
    """The page of a method, with its picture below the first sentence."""
    title, summary, rest = _page.markdown(_page.content(name)).split("\n\n", 2)
    return "\n\n".join([title, summary, PICTURE.format(name=name), rest])


PICTURE = """![Inputs, networks and losses of {name}](../assets/methods/{name}.svg)

A dashed arrow is a target, a dashed box has no gradient, a dotted arrow is a moving average."""


def data_sets() -> str:
    """The table of public data sets: name, size, splits, and what there is to choose."""
    rows = ["| Name | Data set | Splits (`--split`) | Also |", "|---|---|---|---|"]
    for about in datasets():
        splits = "; ".join(f"`{name}`: {text}" for name, text in about["splits"].items()) or "none published"
        also = [f"`--task {name}`: {text}" for name, text in about["tasks"].items()]
        also += [f"`--channels`: {', '.join(about['channels'])}"] if about["channels"] else []
        also += [f"`--with {word}`: {text}" for word, text in about["options"].items()]
        what = f"{about['title']}: {about['size']}. {about['download']}. *{about['reference']}*"
        what += f". License: {about['license']}"
        rows.append(f"| `{about['name']}` | {what} | {splits} | {'; '.join(also)} |")
    return "\n".join(rows)


def navigation() -> list[str]:
    """The pages of the methods, by family."""
    lines = []
    for family, entries in by_family(methods.describe()).items():
        lines.append(f"    - {family}:")
        lines += [f"      - {entry['title']}: methods/{entry['name']}.md" for entry in entries]
    return lines


def commands() -> str:
    """The help of every command, in the groups of `semiseg --help`."""
    parts = []
    for group, lines in COMMANDS.items():
        parts.append(f"## {group}")
        for name, line in lines.items():
            parts += [f"### semiseg {name}", line, f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts)


def help_of(name: str) -> str:
    """What ``semiseg NAME --help`` prints, 80 columns wide."""
    before, shown = os.environ.get("COLUMNS"), io.StringIO()
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(shown):
            main([name, "--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def between(path: Path, new: str) -> str:
    """The text of a file with the lines between its two `generated` comments replaced."""
    text = path.read_text(encoding="utf-8")
    marks = r"(?s)(<!-- generated -->|# generated)\n.*?(<!-- /generated -->| *# /generated)"
    return re.sub(marks, lambda match: f"{match[1]}\n{new}\n{match[2]}", text)


if __name__ == "__main__":
    made = files()
    PAGES.mkdir(exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    for path in {*PAGES.glob("*.md"), *PICTURES.glob("*.svg")} - set(made):
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
