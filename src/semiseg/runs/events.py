"""What the loop tells the world. Listeners (files, TensorBoard, a progress bar) live outside the engine.

A listener cannot end a run by failing: what it raises is logged, and the training continues. One that wants
the run to end raises :class:`Stop`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SHARE_PREFIX = "share/"
"""Of the values ``share/labels/CLASS``, ``share/labeled/CLASS`` and ``share/unlabeled/CLASS``: what a class
has of the voxels, in labels and in predictions on labeled and unlabeled scans."""


@dataclass(frozen=True)
class Preparing:
    """A step before the loop begins, such as reading scans. It is shown only; no log keeps it."""

    what: str
    """Such as ``reading scans``."""
    done: int = 0
    total: int = 0
    """Of scans; 0 for what is not counted."""


@dataclass(frozen=True)
class Started:
    """The loop is about to run iterations ``step`` (0, or where a resumed run continues) to ``total``."""

    step: int
    total: int


@dataclass(frozen=True)
class Begun:
    """The first iteration of this process is done. No Stepped reports it, and no log keeps it."""

    step: int
    """Iterations done."""
    total: int
    seconds: float
    """Since the loop began; a GPU may still be at work."""


@dataclass(frozen=True)
class Stepped:
    """Sent every ``log_every`` iterations, and after the last of each stage."""

    step: int
    """Iterations done."""
    total: int
    stage: str
    lr: float
    values: Mapping[str, float]
    """Means since the last event: ``loss`` and what the method logs; now and then ``share/…``, what each
    class has of the voxels (see :data:`SHARE_PREFIX`)."""
    iterations_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Validated:
    """Whole-volume validation of the network that would be exported."""

    step: int
    scores: Mapping[str, float]
    """``dice`` (mean over foreground classes) and ``dice/CLASS``."""
    best: bool


@dataclass(frozen=True)
class Notice:
    """Something a person should know, in one line."""

    step: int
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Ended:
    """The loop is over; ``reason`` is finished, max-time, patience, collapse or interrupted."""

    step: int
    reason: str
    seconds: float


Event = Preparing | Started | Begun | Stepped | Validated | Notice | Ended
Listener = Callable[[Event], None]


log = logging.getLogger("semiseg.train")


class Stop(Exception):
    """Raised by a listener: the loop saves its state and ends with this exception."""


def tell(listeners: Iterable[Listener], event: Event, failed: set[int]) -> None:
    """Send an event to every listener; one that fails is reported once.

    Args:
        listeners: who is told.
        event: what.
        failed: ids of listeners whose failure was logged before; added to.

    Raises:
        Stop: a listener wants the run to end.
    """
    for listener in listeners:
        try:
            listener(event)
        except Stop:
            raise
        except (Exception, SystemExit) as error:  # rich exits when the reader of a pipe has gone
            if id(listener) not in failed:
                failed.add(id(listener))
                name = getattr(listener, "__qualname__", type(listener).__qualname__)
                log.warning("%s failed, the training continues (%s: %s)", name, type(error).__name__, error)
                log.debug("where it failed", exc_info=True)
