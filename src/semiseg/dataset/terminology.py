"""The key ``terminology`` of ``dataset.json``: which coded concepts a class is in DICOM results.

Codes are those of DICOM PS3.16: the category of CID 7150, such as (123037004, SCT, Anatomical Structure), and
the type that refines it, such as (59652004, SCT, Atrium).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

EXAMPLE = (
    'terminology such as {"tumor": {"category": ["49755003", "SCT", "Morphologically Abnormal Structure"], '
    '"type": ["108369006", "SCT", "Neoplasm"], "color": "#e69f00"}}'
)

_VALUE, _SCHEME, _MEANING = 16, 16, 64
"""Characters that DICOM allows (VR SH, SH, LO)."""


def read_terms(given: Any, known: Collection[str] = ()) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The terms that can be used, and what is wrong with the others.

    Args:
        given: the value of the key.
        known: names of classes and regions; empty where they are not known.

    Returns:
        name -> ``category`` and ``type`` (three texts each) and perhaps ``color``; and faults in words.
    """
    if not isinstance(given, dict):
        return {}, [f"it is a {type(given).__name__}"]
    faults = [(name, _fault(term)) for name, term in given.items()]
    unknown = [name for name in given if known and name not in known]
    wrong = [f"{name} {fault}" for name, fault in faults if fault]
    wrong += [f"{name} is not a class" for name in unknown]
    good = {name for name, fault in faults if not fault} - set(unknown)
    return {name: dict(term) for name, term in given.items() if name in good}, wrong


def _fault(term: Any) -> str:
    """What is wrong with one entry; nothing where it can be used."""
    if not isinstance(term, dict):
        return f"is a {type(term).__name__}"
    for key in ("category", "type"):
        if not _is_code(term.get(key)):
            return f"has {key} {term.get(key)!r}, wanted [code, scheme, meaning]"
    color = term.get("color")
    if color is not None and not is_color(color):
        return f"has color {color!r}, wanted #rrggbb"
    odd = set(term) - {"category", "type", "color"}
    return f"has the key {sorted(odd)[0]!r}" if odd else ""


def is_color(value: Any) -> bool:
    """Whether a value is a color such as ``#e69f00``."""
    return isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value) is not None


def _is_code(code: Any) -> bool:
    if not isinstance(code, list | tuple) or len(code) != 3:
        return False
    limits = zip(code, (_VALUE, _SCHEME, _MEANING), strict=True)
    return all(
        isinstance(text, str) and text.isprintable() and 0 < len(text) <= most and "\\" not in text
        for text, most in limits
    )
