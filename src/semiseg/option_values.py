"""Options of methods, networks and augmentations, compared with the types that their constructors declare."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from semiseg.errors import UsageError

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


def checked(kind: str, constructor: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the constructor wants them (a YAML list becomes a tuple).

    Args:
        kind: what the options belong to, for the message.
        constructor: a class; options without a type that can be checked pass as they are.
        options: names that the constructor has.

    Raises:
        UsageError: values of another type or out of range; all of them at once.
    """
    target = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError):  # types of an outside class that cannot be resolved
        hints = {}
    values, problems = dict(options), []
    for name, value in options.items():
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value) if name in hints else value
        except PydanticSchemaGenerationError:
            continue
        except ValidationError as error:
            wanted = " or ".join(dict.fromkeys(problem["msg"].lower() for problem in error.errors()))
            problems.append(f"{name}: {wanted}, got {value!r}")
    if problems:
        raise UsageError(
            f"options of {kind}: {'; '.join(problems)}",
            hint="leave an option out to use its default",
            code="OPTION_VALUE",
            details={"problems": problems},
        )
    return values
