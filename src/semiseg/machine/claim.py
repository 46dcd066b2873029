"""The right to write somewhere, held by one process at a time and given up by the system when it dies.

:func:`held` is what a command takes of the folder that it writes into, from its first look to its end. It is
a :class:`Claim` of the file ``.semiseg.lock`` in that folder, which says who holds it and goes away at the
end. A process that is killed leaves the file behind, unlocked: the next one takes it over.

The locks are POSIX record locks: children that fork off do not inherit them, and NFS servers know them. The
system counts them by process, so :data:`_HELD` counts threads.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from semiseg.errors import UsageError
from semiseg.machine.files import remove_leftovers, require_writable

log = logging.getLogger("semiseg.claim")

LOCK = ".semiseg.lock"
"""The lock file in a folder."""

_TAKEN = (errno.EACCES, errno.EAGAIN)
"""How a system says that another process has a lock; all else says that it cannot lock here."""

if sys.platform == "win32":
    import msvcrt

    def _lock(stream: BinaryIO) -> None:
        stream.seek(1 << 30)  # a locked byte cannot be read, and the holder's name is for reading
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(stream: BinaryIO) -> None:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass
class _Held:
    """A lock of this process."""

    stream: BinaryIO
    pid: int
    thread: int
    depth: int = 1


_HELD: dict[str, _Held] = {}
_GUARD = threading.RLock()


class Claim:
    """``with Claim(path) as claim: if claim.mine: …``; a thread may claim again what it has.

    Args:
        path: of the lock file; folders are made, and removed again where they stay empty.
        patience: seconds to wait for another holder.
        note: what the holder wants others to know beside its name.

    Raises:
        OSError: the lock file cannot be made.
    """

    def __init__(self, path: Path, patience: float = 0.0, note: str = "") -> None:
        self.path = path
        self.mine = False
        self._patience = patience
        self._note = note
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        until = time.monotonic() + self._patience
        while not self._try() and time.monotonic() < until:
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mine:
            self.mine = False
            with _GUARD:
                held = _HELD[self._key]
                held.depth -= 1
                if held.depth == 0:
                    del _HELD[self._key]
                    self._give_up(held.stream)
        self._remove_made()

    @property
    def holder(self) -> dict[str, str]:
        """What the holder wrote of itself: process, host, since, command, note; or nothing."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def _key(self) -> str:
        return os.path.realpath(self.path)

    def _try(self) -> bool:
        """Take the lock if nobody has it."""
        with _GUARD:
            held = _HELD.get(self._key)
            if held is not None and held.pid == os.getpid():
                self.mine = held.thread == threading.get_ident()
                held.depth += self.mine
                return self.mine
            stream = self._open()
            try:
                self.mine = self._locked(stream)
            finally:
                if not self.mine:
                    stream.close()
            if self.mine:
                self._sign(stream)
                _HELD[self._key] = _Held(stream, os.getpid(), threading.get_ident())
        return self.mine

    def _open(self) -> BinaryIO:
        """The lock file; its folder may go away under us when another process ends."""
        for _ in range(100):
            self._make_folder()
            with contextlib.suppress(FileNotFoundError):
                return self.path.open("a+b")
        return self.path.open("a+b")

    def _make_folder(self) -> None:
        folder, missing = self.path.parent, []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                folder.mkdir()
                self._made.append(folder)

    def _remove_made(self) -> None:
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made.clear()

    def _locked(self, stream: BinaryIO) -> bool:
        try:
            _lock(stream)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            log.warning(
                "the file system of %s cannot lock (%s): nothing keeps a second process out of it",
                self.path.parent,
                error.strerror or error,
            )
        try:  # the last holder may have removed the file between our opening and our locking it
            return os.path.samestat(os.fstat(stream.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _sign(self, stream: BinaryIO) -> None:
        import socket  # which a command that claims nothing would wait for

        about = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]) if sys.argv else "",
            "note": self._note,
        }
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(about).encode())
            stream.flush()

    def _give_up(self, stream: BinaryIO) -> None:
        """Remove the file while it is ours, so that whoever waits for it sees that it is gone, and let go."""
        if sys.platform == "win32":  # which removes no open file
            stream.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            stream.close()


@contextmanager
def held(place: Path, flag: str, *, beside: bool = False, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder that is written into, so that no other process does.

    Args:
        place: the folder, which is made; or a file, or a folder that must stay as it is, with ``beside``.
        flag: what the user would have to change to write elsewhere, such as ``-o``.
        beside: the lock file lies beside ``place`` instead of in it.
        patience: seconds to wait for another process to end.

    Raises:
        UsageError: another process works there (``IN_USE``), or nothing can be written there.
    """
    if beside and place.name in ("", ".."):
        raise UsageError(
            f"{str(place)!r} is a folder that is there, and cannot be made",
            hint=f"choose another place with {flag}, such as {place / 'NEW'}",
            code="NOT_WRITABLE",
        )
    require_writable(place.parent if beside else place, flag)
    with contextlib.ExitStack() as stack:
        claim = Claim(place.with_name(f".{place.name}.lock") if beside else place / LOCK, patience)
        try:
            stack.enter_context(claim)
        except OSError as error:
            raise UsageError(
                f"cannot write into {claim.path.parent}: {error.strerror or error} ({claim.path.name})",
                hint=f"choose another place with {flag}",
                code="NOT_WRITABLE",
                details={"folder": str(claim.path.parent)},
            ) from None
        if not claim.mine:
            raise in_use(place, claim, flag)
        remove_leftovers(claim.path.parent)  # of whoever held it before and was killed
        yield


def in_use(place: Path, claim: Claim, flag: str) -> UsageError:
    """The error for a place that another process works in; says which."""
    who = claim.holder
    name = f"`{who['command']}`" if who.get("command") else "another process"
    where = f" (process {who['process']} on {who['host']}, since {who['since']})" if "since" in who else ""
    return UsageError(
        f"{place} is in use by {name}{where}",
        hint=f"wait until that has ended, or choose another place with {flag}",
        code="IN_USE",
        details={"folder": str(place), **who},
    )


def contents(folder: Path) -> list[Path]:
    """What is in a folder beside the lock; nothing where there is no folder."""
    return [entry for entry in folder.iterdir() if entry.name != LOCK] if folder.is_dir() else []


def taken(path: Path) -> bool:
    """Whether some other process, or another thread, holds the claim now."""
    if not path.exists() or not os.access(path, os.R_OK | os.W_OK):
        return False
    with Claim(path) as claim:
        return not claim.mine
