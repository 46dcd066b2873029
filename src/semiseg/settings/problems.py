"""What pydantic finds wrong with a file, in a user's words: every problem, and the nearest known key."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from semiseg.errors import nearest


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem: where, what was wanted, what was given.

    Args:
        error: from validating a tree against ``model``.
        model: whose keys are the known ones.
    """
    return [_explain(problem, model) for problem in error.errors()]


def nearest_key(key: str, known: Sequence[str], where: Sequence[str] = ()) -> str:
    """``unknown key 'a.b', did you mean 'a.c'?``, or the known keys where none is near."""
    near = nearest(key, known, n=1)
    guess = f", did you mean {'.'.join([*where, near[0]])!r}?" if near else f", known: {', '.join(known)}"
    return f"unknown key {'.'.join([*where, key])!r}{guess}"


def _explain(problem: Any, model: type[BaseModel]) -> str:
    where = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        return nearest_key(where[-1], list(_section(model, where[:-1]).model_fields), where[:-1])
    message = problem["msg"].removeprefix("Value error, ").lower()
    if problem["type"] == "model_type":
        message = f"wanted a section with the keys {', '.join(_section(model, where).model_fields)}"
    if problem["type"] == "missing":
        return f"{'.'.join(where)}: is missing"
    return f"{'.'.join(where)}: {message}, got {problem['input']!r}"


def _section(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The model of a nested section; numbers in ``path`` are places in a list."""
    for key in path:
        field = model.model_fields.get(key)
        model = (_model_in(field.annotation) if field else None) or model
    return model


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or that it lists."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(filter(None, map(_model_in, typing.get_args(kind))), None)
