"""How structures are named, colored and coded in what a prediction writes, and the picture below them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.terminology import EXAMPLE, read_terms
from semiseg.drawing.palette import colors, rgb_of
from semiseg.errors import UsageError
from semiseg.images.dicom_results import NEUTRAL, Structure
from semiseg.machine.files import read_json
from semiseg.preparation.plan import Plan, Term


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


def read_terminology(given: Mapping[str, Any] | str | Path, known: Collection[str]) -> dict[str, Term]:
    """Class or region -> its codes: given, or of a JSON file (``dataset.json``, or its ``terminology``).

    Raises:
        UsageError: an unreadable file, a term that is none, or one of none of the ``known`` classes.
    """
    where = "terminology"
    content: Any = given
    if isinstance(given, str | Path):
        where = str(given)
        try:
            content = read_json(Path(given))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot read {where}: {getattr(error, 'strerror', None) or error}",
                hint=f"give a JSON file with {EXAMPLE}",
                code="TERMINOLOGY",
            ) from None
        if isinstance(content, dict) and "labels" in content:
            content = content.get("terminology", {})
        elif isinstance(content, dict):
            content = content.get("terminology", content)
    found, wrong = read_terms(content if not isinstance(content, Mapping) else dict(content), known)
    if wrong:
        raise UsageError(
            f"{where}: {'; '.join(wrong[:5])}",
            hint=f"the model has {', '.join(known)}; {EXAMPLE}",
            code="TERMINOLOGY",
        )
    return {name: Term(**term) for name, term in found.items()}
