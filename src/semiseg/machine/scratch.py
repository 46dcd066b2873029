"""Temporary folders, as for scans that had to be unpacked; those of processes that were killed are removed.

A folder lives as long as its object. Beside it lies a lock that the system frees when the process dies, in
whatever way: who starts next, and finds a folder that nobody has locked, removes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from semiseg.machine.claim import Claim

log = logging.getLogger("semiseg.scratch")

PREFIX = "semiseg-scratch-"
LOCK = ".lock"

_OWN: set[Path] = set()
"""Folders of this process, whose locks it could take a second time."""


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
    return folder.with_name(f".{folder.name}{LOCK}")


def _remove(folder: Path, claim: Claim, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has a copy of the object, and no right to the folder
        shutil.rmtree(folder, ignore_errors=True)
        claim.__exit__(None, None, None)
        _OWN.discard(folder)
