"""Options of methods, networks and augmentations, compared with what their constructors declare."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from semiseg.errors import UsageError, in_a_line, nearest

Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number that is not negative."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0."""
Count = Annotated[int, Field(ge=0)]
"""A whole number that is not negative."""
Length = Annotated[int, Field(ge=1)]
"""A whole number above 0."""


class Declared(NamedTuple):
    """An option as a constructor declares it."""

    type: Any
    """The annotation with its limits; ``Any`` where it cannot be told."""
    default: Any


def declared(constructor: Callable[..., Any]) -> dict[str, Declared]:
    """The keyword-only arguments of a function or class, by name.

    A class whose constructor ends in ``**more`` passes the rest on, so those of its base are its own too.
    """
    found: dict[str, Declared] = {}
    for function in _constructors(constructor):
        hints = _hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(name, Declared(hints.get(name, Any), parameter.default))
    return found


def checked(kind: str, constructor: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the constructor wants them (a YAML list becomes a tuple).

    Args:
        kind: what the options belong to, for the message.
        constructor: a class; options without a type that can be checked pass as they are.
        options: names that the constructor has.

    Raises:
        UsageError: values of another type or out of range; all of them at once.
    """
    hints: dict[str, Any] = {}
    for function in _constructors(constructor):
        hints = _hints(function) | hints
    values, problems = dict(options), []
    for name, value in options.items():
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        except PydanticSchemaGenerationError:
            continue
        except ValidationError as error:
            wanted = " or ".join(dict.fromkeys(in_a_line(problem["msg"]) for problem in error.errors()))
            problems.append(f"{name}: {wanted}, got {value!r}")
    if problems:
        raise UsageError(
            f"options of {kind}: {'; '.join(problems)}",
            hint="leave an option out to use its default",
            code="OPTION_VALUE",
            details={"problems": problems},
        )
    return values


def _constructors(constructor: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function, or the class's ``__init__`` and those of its bases to which it passes ``**more`` on."""
    if not isinstance(constructor, type):
        yield constructor
        return
    for kind in constructor.__mro__:
        if "__init__" in vars(kind):
            function = vars(kind)["__init__"]
            yield function
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
                return


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Argument -> type with its limits; nothing of an outside class whose types cannot be resolved."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem: where, what was wanted, what was given."""
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
    message = in_a_line(problem["msg"].removeprefix("Value error, "))
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


MONAI = "monai:"
"""What the names of networks of MONAI begin with. MONAI is an extra, and is imported for them only."""


def check_options(
    name: str, options: Mapping[str, Any], allowed: list[str], network: Callable[..., Any]
) -> None:
    """Refuse options that the constructor does not know, naming the nearest and the signature.

    Raises:
        UsageError: with code ``NETWORK_OPTION``.
    """
    wrong = sorted(set(options) - set(allowed))
    if not wrong:
        return
    near = nearest(wrong[0], allowed, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"network {name!r} has no option {', '.join(map(repr, wrong))}.{guess}",
        hint=signature_of(network, allowed),
        code="NETWORK_OPTION",
        details={"got": wrong, "known": allowed},
    )


def signature_of(network: Callable[..., Any], allowed: list[str]) -> str:
    """The options with their defaults, for a hint."""
    parameters = inspect.signature(network).parameters
    shown = [
        p if parameters[p].default is inspect.Parameter.empty else f"{p}={parameters[p].default!r}"
        for p in allowed
    ]
    return f"options: {', '.join(shown)}" if shown else "it has no options"
