"""Folders that are there whole or not at all, and temporary ones that end with their object.

A temporary folder, as for scans that had to be unpacked, has a lock beside it that the system frees when the
process dies, in whatever way: who starts next, and finds a folder that nobody has locked, removes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semiseg.machine.claim import Claim

log = logging.getLogger("semiseg.scratch")

PREFIX = "semiseg-scratch-"
_OWN: set[Path] = set()
"""Folders of this process, whose locks it could take a second time."""


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


class Scratch:
    """A new folder in TMPDIR that only this user may enter; removed with the object, or by :func:`sweep`.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.gettempdir()) / f"{PREFIX}{os.urandom(8).hex()}"
        claim = Claim(_lock_of(self.path))
        _OWN.add(self.path)
        claim.__enter__()  # before there is a folder, so that nobody finds it unlocked
        self.close = weakref.finalize(self, _remove, self.path, claim, os.getpid())
        self.path.mkdir(mode=0o700)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Path]:
        """Other processes see the folder; it is not theirs to remove."""
        return {"path": self.path}


def sweep() -> None:
    """Remove this user's folders whose process is gone. What cannot be removed stays."""
    for folder in _left(Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError), Claim(_lock_of(folder)) as claim:
            if claim.mine:
                shutil.rmtree(folder, ignore_errors=True)
                log.debug("removed what a process that is gone had left")


def _left(place: Path) -> list[Path]:
    """Folders of this user, whoever works in them."""
    found = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                mine = not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()
                found += [Path(entry.path)] if mine else []
    return [folder for folder in found if folder not in _OWN]


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _remove(folder: Path, claim: Claim, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has a copy of the object, and no right to the folder
        shutil.rmtree(folder, ignore_errors=True)
        claim.__exit__(None, None, None)
        _OWN.discard(folder)
