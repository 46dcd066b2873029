"""The methods, one paper = one file or folder. This folder is the registry: ``find("mean_teacher")``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.errors import UsageError, unknown_name
from semiseg.methods._catalog import Description, measured, published, read, read_head
from semiseg.methods._facts import Facts, Paper

if TYPE_CHECKING:
    from semiseg.core import Method

__all__ = [
    "Facts", "Paper", "check_options", "describe", "description", "find", "measured", "memory", "names",
    "published", "require_form",
]  # fmt: skip

FOLDER = Path(__file__).parent
SHARED = "parts"
"""The folder of what several methods share; it is no method."""


def names(form: str = "classes") -> list[str]:
    """The methods that come with semiseg, of them those that can train on a form of labels.

    Args:
        form: ``classes``, ``partial`` or ``regions``; see :attr:`semiseg.dataset.dataset.Dataset.label_form`.
    """
    files = [path.stem for path in FOLDER.glob("*.py")]
    folders = [path.parent.name for path in FOLDER.glob("*/__init__.py")]
    found = sorted(name for name in files + folders if not name.startswith("_") and name != SHARED)
    return found if form == "classes" else [name for name in found if _trains(find(name), form)]


def source_of(name: str) -> Path:
    """The file that holds the class of a method of this folder."""
    path = FOLDER / f"{name}.py"
    return path if path.is_file() else FOLDER / name / "__init__.py"


def describe() -> list[dict[str, str]]:
    """What every method says of itself, read without importing torch.

    Keys: ``name``, ``title``, ``family``, ``year``, ``summary``, ``paper``, ``networks``, ``views`` and
    ``work``.
    """
    return [
        {
            "name": method.name,
            "title": method.facts.title,
            "family": method.facts.family,
            "year": method.facts.year,
            "summary": method.summary,
            "paper": method.facts.paper,
            "networks": method.facts.counted,
            "views": method.facts.seen,
            "work": "" if method.facts.work is None else str(method.facts.work),
        }
        for method in (read_head(source_of(name), name) for name in names())
    ]


def description(name: str) -> Description:
    """What a method says of itself: a name of this folder, or ``package.module:Class``.

    Its source is read and not run (of an outside class, the packages above its module are imported).

    Raises:
        UsageError: no such method (with the nearest name), or no source file of an outside class.
    """
    module_name, colon, class_name = name.partition(":")
    if not colon:
        if name not in names():
            raise _unknown(name)
        return read(source_of(name), name)
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    source = Path(spec.origin) if spec and spec.origin else Path()
    if source.suffix != ".py" or not (found := read(source, name, class_name)).summary:
        raise UsageError(
            f"cannot read a class {class_name} with a docstring in the source of {module_name}",
            hint="put the folder of its package on PYTHONPATH; `semiseg methods` lists the others",
            code="METHOD_IMPORT",
        )
    return found


def memory(name: str) -> float:
    """What training with a method holds, in trained networks; see :attr:`Facts.memory`.

    Raises:
        UsageError: no such method; a class from elsewhere that has no docstring to read counts as two.
    """
    try:
        return description(name).facts.memory
    except UsageError:
        if ":" not in name:
            raise
    return Facts().memory


def find(name: str) -> type[Method]:
    """The class of a method: a name of this folder, or ``package.module:Class`` for one from elsewhere.

    Raises:
        UsageError: no such method (with the nearest name), or the outside class cannot be imported.
    """
    from semiseg.core import Method

    module_name, colon, class_name = name.partition(":")
    if not colon:
        if name not in names():
            raise _unknown(name)
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
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Method)
        if (key == class_name if colon else value.__module__ == module.__name__)
    ]
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
    from semiseg.settings.options import checked, declared  # pydantic, which a list of methods does without

    known = list(declared(method))
    for option in options:
        if option not in known:
            raise unknown_name("option of method", option, known, of=method.__name__)
    return checked(f"method {method.__name__}", method, options)


def require_form(name: str, form: str) -> None:
    """Refuse a method that cannot train on a form of labels.

    Raises:
        UsageError: names those that can.
    """
    if form == "classes" or _trains(find(name), form):
        return
    if form == "regions":
        raise UsageError(
            f"method {name!r} cannot train regions, which dataset.json has",
            hint=f"use {', '.join(names(form))}, or give each class one value",
            code="METHOD_REGIONS",
        )
    raise UsageError(
        f"method {name!r} cannot train on labels of some classes, which labeled_classes in dataset.json "
        "names: it mixes labels, or computes more of them than a loss",
        hint=f"use {', '.join(names(form))}; or take the cases that have all classes",
        code="METHOD_PARTIAL",
    )


def _trains(method: type[Method], form: str) -> bool:
    return bool(vars(method).get(form, False))


def all_options(method: type[Method], options: dict[str, object]) -> dict[str, object]:
    """Options that passed :func:`check_options`, and the defaults of all others."""
    from semiseg.settings.options import declared

    return {name: option.default for name, option in declared(method).items()} | options


def _unknown(name: str) -> UsageError:
    return unknown_name("method", name, names(), see="`semiseg methods`")
