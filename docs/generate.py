"""Write what is generated: docs/methods/*.md, the tables of docs/methods.md and mkdocs.yml.

    python docs/generate.py

Source are the docstrings of the methods and the figures in src/semiseg/methods/*.csv.
"""

from __future__ import annotations

import re
from pathlib import Path

from semiseg import methods
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
        ROOT / "mkdocs.yml": between(ROOT / "mkdocs.yml", listed),
    }


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
