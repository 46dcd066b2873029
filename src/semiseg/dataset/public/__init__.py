"""Public data sets by name: one file of this folder is one data set, and the folder is the registry.

A module declares ``ABOUT`` and the functions of :class:`Public`; it is found by itself. Published lists of
cases are in ``lists/``.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.public.base import About, Options, Tree
from semiseg.errors import unknown_name

_MOST_FILES = 20_000
"""Paths that are looked at to recognize a layout."""


class Public(Protocol):
    """What a module of this folder offers."""

    ABOUT: About

    def matches(self, tree: Tree) -> bool:
        """Whether tell-tale paths say that this is the data set."""

    def draft(self, tree: Tree, options: Options) -> Draft:
        """Its cases, channels, classes and split.

        Raises:
            DataError: files that are missing, or that do not fit what is known of the data set.
        """


@cache
def known() -> dict[str, Public]:
    """All data sets by name."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "ABOUT"):
            found[module.ABOUT.name] = cast(Public, module)
    return dict(sorted(found.items()))


def find(name: str) -> Public:
    """A data set by name.

    Raises:
        UsageError: there is none of this name; says the nearest.
    """
    if name not in known():
        raise unknown_name("data set", name, known())
    return known()[name]


def advice(root: Path) -> str:
    """What to say to someone who adopts a folder that looks like a public data set; empty for others."""
    module = recognize(root) if root.is_dir() else None
    if module is None:
        return ""
    command = f"semiseg convert {module.ABOUT.name} {shlex.quote(str(root))}"
    return (
        f"this looks like {module.ABOUT.title}: `{command}` also knows its classes, groups of patients and "
        "the published split"
    )


def recognize(root: Path) -> Public | None:
    """The one data set whose layout ``root`` has; None for none, and for several."""
    tree = Tree.of(root, unpack=False)
    if len(tree.files) > _MOST_FILES:
        tree = Tree(root, dict(list(tree.files.items())[:_MOST_FILES]))
    fitting = [module for module in known().values() if module.matches(tree)]
    return fitting[0] if len(fitting) == 1 else None
