"""Spacing for formats that cannot say it well: ``CASE.json`` beside the image, as nnU-Net v2 has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from semiseg.images.claims import bad_spacing, broken
from semiseg.images.grid import Grid
from semiseg.machine.files import atomic_file, read_json

_CHANNEL = re.compile(r"_\d{4}$")


def spacing_beside(path: Path, axes: int) -> list[float] | None:
    """Spacing in mm in array axis order from ``CASE.json`` (for ``CASE_0000.tif`` or ``CASE.tif``), or None.

    Raises:
        DataError: UNREADABLE when the sidecar is no such file, BAD_SPACING when its numbers are no spacing.
    """
    for sidecar in _places(path):
        found = _load(sidecar).get("spacing") if sidecar.is_file() else None
        if found is None:
            continue
        if not isinstance(found, list) or not all(isinstance(v, int | float) for v in found):
            raise broken(
                sidecar, f"'spacing' is {found!r}, wanted {axes} numbers", hint="write [1.0, 0.5, 0.5]"
            )
        spacing = [float(v) for v in found]
        if len(spacing) != axes:
            why = f"'spacing' has {len(spacing)} numbers for an image of {axes} axes"
            raise broken(sidecar, why, code="BAD_SPACING", hint="give one number per axis, in array order")
        if any(not 0 < s < float("inf") for s in spacing):
            raise bad_spacing(sidecar, spacing)
        return spacing
    return None


def keep_spacing(path: Path, grid: Grid) -> None:
    """Write ``CASE.json`` where it is needed: for any spacing but 1 mm, or to correct one that is there."""
    sidecar = _places(path)[0]
    there = [place for place in _places(path) if place.is_file()]
    known = grid.unit == "mm" or any(s != 1.0 for s in grid.spacing)
    wrong = there if known else [place for place in there if "spacing" in _load(place)]
    if not wrong and all(s == 1.0 for s in grid.spacing):
        return
    content = _load(sidecar) if sidecar.is_file() else {}
    content["spacing"] = [float(s) for s in grid.spacing]
    with atomic_file(sidecar) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode("utf-8"))


def _places(path: Path) -> list[Path]:
    stem = path.name.rsplit(".", 1)[0]
    names = dict.fromkeys((stem, _CHANNEL.sub("", stem)))
    return [path.with_name(f"{name}.json") for name in names]


def _load(sidecar: Path) -> dict[str, Any]:
    try:
        content = read_json(sidecar)
    except (OSError, ValueError) as error:
        raise broken(sidecar, f"is not readable JSON ({error})", hint="repair it or remove it") from error
    return content if isinstance(content, dict) else {}
