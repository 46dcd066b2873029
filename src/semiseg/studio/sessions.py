"""Scans that somebody sends to be predicted and that are no part of the dataset; gone after a while."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg import images

HOUR = 3600


@dataclass
class Session:
    """One of them."""

    id: str
    folder: Path
    files: list[Path]
    expiry: int
    created: float = field(default_factory=time.time)
    last: float = field(default_factory=time.time)

    def told(self) -> dict[str, Any]:
        """As MONAI Label has it."""
        return {
            "name": self.id,
            "path": str(self.folder),
            "image": str(self.files[0]),
            "meta": {},
            "create_ts": int(self.created),
            "last_access_ts": int(self.last),
            "expiry": self.expiry,
        }


class Sessions:
    """All sessions; their files lie in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._found: dict[str, Session] = {}
        shutil.rmtree(folder, ignore_errors=True)  # of a server that has ended

    def new(self, names: list[str], expiry: int = 0) -> Session:
        """A session for files of these names, of which the endings are kept."""
        self._forget_old()
        name = secrets.token_hex(16)
        place = self.folder / name
        place.mkdir(parents=True)
        files = [place / f"scan_{i:04d}{images.ending_of(Path(n)) or '.dcm'}" for i, n in enumerate(names)]
        with self._lock:
            self._found[name] = Session(name, place, files, expiry or HOUR)
        return self._found[name]

    def find(self, name: str) -> Session | None:
        """A session by its id."""
        self._forget_old()
        with self._lock:
            found = self._found.get(name)
            if found is not None:
                found.last = time.time()
            return found

    def end(self, name: str) -> None:
        """Forget one."""
        with self._lock:
            found = self._found.pop(name, None)
        if found is not None:
            shutil.rmtree(found.folder, ignore_errors=True)

    def _forget_old(self) -> None:
        now = time.time()
        with self._lock:
            old = [name for name, one in self._found.items() if now - one.last > one.expiry]
        for name in old:
            self.end(name)
