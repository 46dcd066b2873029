"""Checkpoints: one dict of tensors, numbers and strings; written atomically, read without pickle."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from semiseg.atomic import atomic_file
from semiseg.errors import UsageError

STATE = "semiseg-state"
"""Full training state: resume from it."""
MODEL = "semiseg-model"
"""One network and what is needed to use it: predict with it."""


_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What torch raises, depending on where in a damaged file it stumbles."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write so that ``path`` always holds either the old or the new checkpoint, whole."""
    with atomic_file(path) as stream:
        torch.save(content, stream)


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UsageError: missing, truncated, not a checkpoint of this kind, or one that holds pickled objects.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(
            f"no checkpoint {path}", hint="name a run folder or a .ckpt file in it", code="NO_CHECKPOINT"
        ) from None
    except _UNREADABLE as error:
        raise UsageError(
            f"checkpoint {path} cannot be read ({type(error).__name__})",
            hint="it is damaged or was not written by semiseg; use another one of the run",
            code="BAD_CHECKPOINT",
        ) from None
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise UsageError(
            f"checkpoint {path} holds {found or 'something else'}, wanted {kind}",
            hint="it was not written by semiseg, or for another purpose; use another one of the run",
            code="BAD_CHECKPOINT",
        )
    return dict(content)
