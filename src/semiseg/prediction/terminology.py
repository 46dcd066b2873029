"""DICOM codes of the classes, given at prediction to a model that was trained without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from semiseg.dataset.terminology import EXAMPLE, read_terms
from semiseg.errors import UsageError
from semiseg.machine.files import read_json
from semiseg.preparation.plan import Term


def read_terminology(given: Mapping[str, Any] | str | Path, known: Collection[str]) -> dict[str, Term]:
    """Class or region -> its codes.

    Args:
        given: the terms, or a JSON file with them: a ``dataset.json``, or what its key ``terminology`` has.
        known: classes and regions of the model.

    Raises:
        UsageError: an unreadable file, a term that is none, or one of no class.
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
