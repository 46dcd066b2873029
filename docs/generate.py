"""Write what is generated: docs/methods/*.md, the tables of docs/methods.md, docs/public-data.md and mkdocs.yml.

    python docs/generate.py

Source are the docstrings of the methods, the figures in src/semiseg/methods/*.csv, and what the public data sets
say of themselves in src/semiseg/dataset/public.
"""

from __future__ import annotations

import re
from pathlib import Path

from semiseg import methods
from semiseg.dataset.public.convert import datasets
from semiseg.methods import _page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "methods"


def files() -> dict[Path, str]:
    """Every generated file and what is in it."""
    names = methods.names()
    wrong = {name: problems for name in names if (problems := methods.description(name).problems())}
    if wrong:
        raise SystemExit("\n".join(f"{name}: {problem}" for name in wrong for problem in wrong[name]))
    listed = "\n".join(f"    - {name}: methods/{name}.md" for name in names)
    return {
        **{PAGES / f"{name}.md": _page.markdown(_page.content(name)) for name in names},
        ROOT / "docs" / "methods.md": between(ROOT / "docs" / "methods.md", f"\n{_page.index()}\n"),
        ROOT / "docs" / "public-data.md": between(ROOT / "docs" / "public-data.md", f"\n{data_sets()}\n"),
        ROOT / "mkdocs.yml": between(ROOT / "mkdocs.yml", listed),
    }


def data_sets() -> str:
    """The table of public data sets: name, size, splits, and what there is to choose."""
    rows = ["| Name | Data set | Splits (`--split`) | Also |", "|---|---|---|---|"]
    for about in datasets():
        splits = "; ".join(f"`{name}`: {text}" for name, text in about["splits"].items()) or "none published"
        also = [f"`--task {name}`: {text}" for name, text in about["tasks"].items()]
        also += [f"`--channels`: {', '.join(about['channels'])}"] if about["channels"] else []
        also += [f"`--with {word}`: {text}" for word, text in about["options"].items()]
        rows.append(
            f"| `{about['name']}` | {about['title']}: {about['size']}. {about['download']}. *{about['reference']}* "
            f"| {splits} | {'; '.join(also)} |"
        )
    return "\n".join(rows)


def between(path: Path, new: str) -> str:
    """The text of a file with the lines between its two `generated` comments replaced."""
    text = path.read_text(encoding="utf-8")
    marks = r"(?s)(<!-- generated -->|# generated)\n.*\n(<!-- /generated -->| *# /generated)"
    return re.sub(marks, lambda match: f"{match[1]}\n{new}\n{match[2]}", text)


if __name__ == "__main__":
    made = files()
    PAGES.mkdir(exist_ok=True)
    for path in set(PAGES.glob("*.md")) - set(made):
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
