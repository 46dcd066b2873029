"""The methods, one paper = one file. The folder is the registry: ``find("mean_teacher")``."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.errors import UsageError, unknown_name
from semiseg.option_values import checked

if TYPE_CHECKING:
    from semiseg.core import Method

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The methods that come with semiseg."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def describe() -> list[dict[str, str]]:
    """Name, summary, paper, networks and views of every method, read without importing torch."""
    return [{"name": name, **_read(FOLDER / f"{name}.py")} for name in names()]


def find(name: str) -> type[Method]:
    """The class of a method: a name of this folder, or ``package.module:Class`` for one from elsewhere.

    Raises:
        UsageError: no such method (with the nearest name), or the outside class cannot be imported.
    """
    from semiseg.core import Method

    module_name, colon, class_name = name.partition(":")
    if not colon:
        if name not in names():
            raise unknown_name("method", name, names(), hint=f"known: {', '.join(names())}; or module:Class")
        module_name = f"{__name__}.{name}"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"cannot import method {name!r}: {error}",
            hint="install its package, or put its folder on PYTHONPATH; `semiseg methods` lists the others",
            code="METHOD_IMPORT",
        ) from None
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if colon:
        found = [value for value in found if value.__name__ == class_name]
    if len(found) != 1:
        raise UsageError(
            f"{module_name} has {len(found)} methods called {class_name or 'something'}, wanted exactly one",
            hint="a method is one class derived from semiseg.core.Method",
            code="METHOD_IMPORT",
        )
    return found[0]


def check_options(method: type[Method], options: dict[str, object]) -> dict[str, object]:
    """Options as the constructor wants them, compared with its keyword arguments and their types.

    Raises:
        UsageError: an option that the method does not have (with the nearest name), or a value that does not
            fit.
    """
    known = [p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of method {method.__name__}", option, known)
    return checked(f"method {method.__name__}", method, options)


def _read(path: Path) -> dict[str, str]:
    """Summary line and the ``Key: value`` facts of the class docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    doc = ast.get_docstring(classes[-1]) or "" if classes else ""
    facts = {"summary": doc.split("\n\n")[0].replace("\n", " ")}
    text = " ".join(line.strip() for line in doc.splitlines())
    for key, end in (("Paper", "Networks:"), ("Networks", "Views:"), ("Views", "  ")):
        _, found, rest = text.partition(f"{key}: ")
        facts[key.lower()] = rest.partition(end)[0].strip().removesuffix(".") if found else ""
    return facts
