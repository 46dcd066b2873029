"""Colors that people with any color vision can tell apart, on gray images and on white paper.

Okabe and Ito, "Color universal design" (2008), without its black and in an order that keeps neighbors apart.
"""

from __future__ import annotations

INK = "#222222"

COLOR_BLIND_SAFE = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")


def colors(count: int) -> list[str]:
    """``count`` colors; they repeat beyond seven."""
    return [COLOR_BLIND_SAFE[i % len(COLOR_BLIND_SAFE)] for i in range(count)]
