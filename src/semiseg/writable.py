"""Whether an output can be made, asked before the work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from semiseg.errors import UsageError


def require_writable(folder: Path, flag: str) -> None:
    """See that ``folder`` exists or can be made, and can be written into; nothing is made here.

    Args:
        folder: where files are going to be written.
        flag: what the user would have to change, such as ``-o``.

    Raises:
        UsageError: a file is in the way, or permission is missing.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        why = f"{place} is a file"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"no permission to write into {place}"
    else:
        return
    raise UsageError(
        f"cannot write into {folder}: {why}",
        hint=f"choose another place with {flag}",
        code="NOT_WRITABLE",
        details={"folder": str(folder)},
    )
