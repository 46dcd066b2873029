"""What a user is told when something is wrong: one line of cause, one line of fix, one exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class SemisegError(Exception):
    """A problem that a user can understand and mend. Never shown with a traceback unless asked (``-v``).

    Args:
        message: what, where, got and wanted, in one line.
        hint: how to fix it, in one line.
        code: a stable word for machines, such as ``LABEL_VALUES``.
        details: whatever helps a machine: case, file, values.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "FAILED"

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.details = dict(details or {})

    def as_dict(self) -> dict[str, Any]:
        """The ``--json`` form of interfaces: ``{"ok": false, "code": …, "message": …, …}``."""
        return {
            "ok": False,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


class UsageError(SemisegError):
    """A wrong flag, name, path or configuration value (exit 2)."""

    exit_code = 2
    default_code = "USAGE"


class DataError(SemisegError):
    """A dataset or a file that cannot be used as it is (exit 3)."""

    exit_code = 3
    default_code = "DATA"


class DeviceError(SemisegError):
    """Out of memory, or no usable device (exit 4)."""

    exit_code = 4
    default_code = "DEVICE"


class PartialError(SemisegError):
    """The work is done, but some cases failed (exit 5)."""

    exit_code = 5
    default_code = "PARTIAL"


class Interrupted(SemisegError):
    """Stopped by Ctrl-C or SIGTERM after saving what there was (exit 130)."""

    exit_code = 130
    default_code = "INTERRUPTED"


def unknown_name(kind: str, got: str, known: Iterable[str], *, hint: str = "") -> UsageError:
    """The error for a name that does not exist: the nearest one, and the whole list."""
    names = sorted(known)
    same = {name.lower(): name for name in reversed(names)}  # UNet is nearer to unet than to vnet
    near = difflib.get_close_matches(got.lower(), same, n=1, cutoff=0.5)
    guess = f" Did you mean {same[near[0]]!r}?" if near else ""
    return UsageError(
        f"unknown {kind} {got!r}.{guess}",
        hint=hint or f"known: {', '.join(names)}",
        code=f"UNKNOWN_{kind.upper().replace(' ', '_')}",
        details={"got": got, "known": names},
    )
