"""Colors that people with any color vision can tell apart, on gray images and on white paper.

Okabe and Ito, "Color universal design" (2008), without its black and in an order that keeps neighbors apart.
"""

from __future__ import annotations

from collections.abc import Mapping

_SEEN_AS_GRAY = 64
"""Gray values below look black."""

INK = "#222222"

COLOR_BLIND_SAFE = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")


def of_classes(values: Mapping[str, int], chosen: Mapping[str, str]) -> dict[int, tuple[int, int, int]]:
    """Value -> color of a label map that looks black in gray; empty where gray tells classes apart.

    Args:
        values: class name -> value, background first.
        chosen: class name -> ``#rrggbb``; others get one of :data:`COLOR_BLIND_SAFE`, background black.
    """
    if not chosen and max(values.values()) >= _SEEN_AS_GRAY:
        return {}
    usual = ["#000000", *colors(len(values) - 1)]
    shown = {
        value: chosen.get(name, color) for (name, value), color in zip(values.items(), usual, strict=True)
    }
    return {value: rgb_of(color) for value, color in shown.items()}


def rgb_of(color: str) -> tuple[int, int, int]:
    """The red, green and blue of ``#rrggbb``, 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def colors(count: int) -> list[str]:
    """``count`` colors; they repeat beyond seven."""
    return [COLOR_BLIND_SAFE[i % len(COLOR_BLIND_SAFE)] for i in range(count)]
