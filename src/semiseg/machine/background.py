"""Starting a process that works in the background, and asking whether it still does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def start(
    command: Sequence[str], log: Path, *, stdout: Path | None = None, tied: bool = False
) -> subprocess.Popen[bytes]:
    """Start ``python COMMAND`` in a session of its own, so that Ctrl-C at the terminal does not reach it.

    Args:
        command: words after the interpreter, such as ``-m semiseg train …``.
        log: what it prints is added here.
        stdout: a file for its standard output alone.
        tied: it gets a pipe as its input, which ends when this process does; otherwise it lives on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors, (stdout or log).open("ab" if stdout is None else "wb") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def birth(pid: int) -> str | None:
    """A word that no other process of this number has; None where there is no such process or no such word.

    Reads ``/proc`` (Linux); elsewhere a process is told by its number alone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else f"{_boot()}-{fields[19]}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def alive(pid: int, born: str | None) -> bool:
    """Whether the process of :func:`birth` ``born`` still runs."""
    if born is not None:
        return birth(pid) == born
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OSError):
        return False
    return True


def ask_to_end(pid: int, born: str | None) -> None:
    """Ask a process to save and end, as ``kill`` does."""
    if alive(pid, born):
        os.kill(pid, signal.SIGTERM)
