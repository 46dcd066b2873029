"""``semiseg recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from semiseg.cli.options import argument
from semiseg.cli.output import Output, columns
from semiseg.errors import unknown_name

EXAMPLES = (
    "semiseg recipes",
    "semiseg recipes default > mine.yaml",
    "semiseg train DATASET --config mine.yaml",
)


def run(
    out: Output,
    name: Annotated[str | None, argument("NAME", "Recipe to print.")] = None,
) -> None:
    """List named settings and published protocols (for `train --recipe`), or print one as YAML."""
    from semiseg import recipes

    known = recipes.names()
    if name is None:
        listed = [{"name": each, "summary": _summary(recipes.FOLDER / f"{each}.yaml")} for each in known]
        out.result({"recipes": listed}, columns((each["name"], each["summary"]) for each in listed))
        return
    if name not in known:
        raise unknown_name("recipe", name, known)
    from semiseg.settings.resolve import load_recipe

    text = (recipes.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    out.result({"name": name, "settings": load_recipe(name)}, text.rstrip("\n"))


def _summary(path: Path) -> str:
    """The first comment line of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.strip("# ") for line in lines if line.startswith("#")), "")
