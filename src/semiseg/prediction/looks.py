"""How what was found is named and shown: codes and colors of structures, and the picture below them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.drawing.palette import colors, rgb_of
from semiseg.images.dicom_results import NEUTRAL, Structure
from semiseg.preparation.plan import Plan


def structures_of(plan: Plan) -> list[Structure]:
    """The classes (without background) or regions as DICOM names them, in the order of their numbers."""
    names: Collection[str] = plan.structures
    found = []
    for name, color in zip(names, colors(len(names)), strict=True):
        term = plan.terminology.get(name)
        shade = (term.color if term else None) or plan.colors.get(name, color)
        found.append(
            Structure(name, rgb_of(shade), *((term.category, term.type) if term else (NEUTRAL, NEUTRAL)))
        )
    return found


def palette_of(plan: Plan) -> list[str]:
    """``#rrggbb`` of each structure."""
    return ["#{:02x}{:02x}{:02x}".format(*one.color) for one in structures_of(plan)]


def picture_of(image: NDArray[Any], plan: Plan) -> NDArray[Any]:
    """What a person sees of (C, *S): colors (*S, 3) where the channels are such, else the first channel."""
    if len(image) == 3 and all(channel.scheme == "rgb_to_0_1" for channel in plan.channels):
        return np.moveaxis(image, 0, -1)
    return np.asarray(image[0])
