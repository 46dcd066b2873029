"""A folder is there whole or not at all: built beside its place, which it takes in the end."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder beside ``place``, which takes its place when the block ends well.

    An earlier folder stays there until then. The caller holds ``place``, by
    :func:`semiseg.machine.claim.held`. What a killed holder left is removed first.
    """
    place = place.resolve()  # of a link, what it points to
    restore(place)
    made = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    made.mkdir(parents=True)
    try:
        yield made
        if place.is_dir():
            place.replace(_aside(place))
        made.replace(place)
        shutil.rmtree(_aside(place), ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        restore(place)


def restore(place: Path) -> None:
    """Undo what a killed holder of ``place`` left: a folder half built, an earlier one put aside.

    To replace a folder takes two renames. Whoever is killed between them leaves nothing at ``place``: the
    earlier folder comes back.
    """
    place = place.resolve()
    aside, unfinished = _aside(place), re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.tmp")
    if aside.is_dir() and not place.exists():
        aside.replace(place)
    for left in place.parent.iterdir() if place.parent.is_dir() else ():
        if left == aside or unfinished.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.before.tmp")
