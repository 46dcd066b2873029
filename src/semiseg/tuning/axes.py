"""What a hyperparameter may be in a search: a range or a choice, from its type and the value it has now."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml

from semiseg.errors import UsageError
from semiseg.settings.resolve import read

FACTOR = 10.0
"""A number is searched from a tenth to ten times of what it is now."""
WHOLE_FACTOR = 4
"""A count from a quarter to four times: tenfold counts mean tenfold time."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER})(:log)?")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' * self.log}{', whole' * self.whole}"


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return any(value == other and type(value) is type(other) for other in self.values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Axis = Range | Choice


@dataclass(frozen=True)
class Fixed:
    """A value that is not searched."""

    value: Any


def derived(kind: Any, value: Any) -> Axis | str:
    """The axis of a declared type around a value, or why there is none."""
    base, low, high = bare(kind)
    if base is bool:
        return Choice((False, True))
    if typing.get_origin(base) is Literal:
        return Choice(typing.get_args(base))
    if base not in (int, float):
        return "its values cannot be listed"
    if value is None:
        return "it has no value to search around"
    if base is float and (low, high) == (0, 1):
        return _share(float(value))
    if value <= 0:
        return "0 has no size to search around"
    if base is int:
        return Range(max(value // WHOLE_FACTOR, low, 1), min(value * WHOLE_FACTOR, high), True, True)
    return Range(max(_plain(value / FACTOR), low), min(_plain(value * FACTOR), high), log=True)


def parsed(name: str, text: str, kind: Any) -> Axis | Fixed:
    """``0.1:10:log``, ``0:1``, ``[a, b]`` or one value, as a user writes them.

    Raises:
        UsageError: none of these, or a range of something that is no number.
    """
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None:
        return _listed(name, text)
    base, _, _ = bare(kind)
    low, high, log = float(match[1]), float(match[2]), bool(match[3])
    whole = base is int
    if base not in (int, float) and kind is not Any:
        raise _wrong(name, text, "its values are not numbers: list them, as in `[a, b]`")
    if low >= high or (log and low <= 0) or (whole and not (low.is_integer() and high.is_integer())):
        wanted = "LOW:HIGH with LOW < HIGH" + ", above 0 for log" * log + ", whole numbers" * whole
        raise _wrong(name, text, f"wanted {wanted}")
    return Range(low, high, log, whole)


def bare(kind: Any) -> tuple[Any, float, float]:
    """A type without ``None`` and limits, and the limits."""
    low, high = float("-inf"), float("inf")
    for limit in _limits(kind):
        low = max(low, getattr(limit, "ge", low), getattr(limit, "gt", low))
        high = min(high, getattr(limit, "le", high), getattr(limit, "lt", high))
    while typing.get_origin(kind) in (Annotated, types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return kind, low, high


def _limits(kind: Any) -> Iterator[Any]:
    for part in typing.get_args(kind) if typing.get_origin(kind) is not Literal else ():
        yield from getattr(part, "metadata", ())
        yield part
        yield from _limits(part)


def _share(value: float) -> Range:
    """All shares, or, near 0 or 1, those at a tenth to ten times of the distance to it."""
    distance = min(value, 1 - value)
    if distance == 0 or distance >= 1 / FACTOR:
        return Range(0.0, 1.0)
    if value < 0.5:
        return Range(_plain(distance / FACTOR), _plain(distance * FACTOR), log=True)
    return Range(_plain(1 - distance * FACTOR), _plain(1 - distance / FACTOR))


def _listed(name: str, text: str) -> Axis | Fixed:
    try:
        value = read(text)
    except yaml.YAMLError:
        raise _wrong(name, text, "wanted LOW:HIGH, LOW:HIGH:log, [A, B] or one value") from None
    if not isinstance(value, list):
        return Fixed(value)
    if not value or not all(item is None or isinstance(item, str | int | float | bool) for item in value):
        raise _wrong(name, text, "wanted a list of plain values")
    return Fixed(value[0]) if len(value) == 1 else Choice(tuple(value))


def _wrong(name: str, text: str, why: str) -> UsageError:
    return UsageError(
        f"--space {name}={text}: {why}",
        hint="for example --space weight=0.1:10:log, --space 'selection=[one, other]', --space noise=0.2",
        code="SPACE",
    )


def _plain(value: float) -> float:
    """Without the last digits that division leaves."""
    return float(f"{value:.6g}")
