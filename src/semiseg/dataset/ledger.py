"""``labels.jsonl``: who made which version of which label, when and from what; one line per event, appended.

``version`` counts the labels of a case from 1; a label that came with the dataset is version 1, also where no
line says so. Files of former versions lie in ``studio/labels/CASE``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from semiseg.machine import provenance
from semiseg.machine.files import printable

FILE = "labels.jsonl"
STUDIO = "studio"
"""The folder in a dataset for what belongs to its labeling: versions, drafts, runs, predictions, jobs."""

LABELED = ("dataset", "drawn", "corrected", "accepted", "imported", "slicer", "outside")
"""Sources of a label: as the dataset came; drawn by hand; a prediction that was corrected, or taken as it
was; a file of another tool; 3D Slicer; found changed by something else than these commands."""


@dataclass(frozen=True)
class Entry:
    """One line."""

    case: str
    event: str
    """``label``; ``conflict``, a label that was kept because it was drawn on an outdated version; ``reject``
    or ``restore``, a scan that is no good, and the taking back of that."""
    version: int = 0
    """Of the label; 0 for events without one."""
    source: str = ""
    """One of :data:`LABELED`."""
    by: str = ""
    time: str = ""
    since: int = 0
    """The version that was drawn on."""
    run: str | None = None
    """The run whose prediction was accepted or corrected."""
    model: str | None = None
    """Its model's id."""
    agreement: float | None = None
    """Mean Dice of that prediction with this label: an estimate of the run's quality on unseen scans."""
    seconds: float | None = None
    """That somebody worked on it in the studio."""
    sha256: str = ""
    """Of the label's voxels in file order."""
    state: tuple[int, int] | None = None
    """Bytes and modification time (ns) of the file in the dataset, by which a change from outside is seen."""
    note: str = ""


_FIELDS = {field.name for field in fields(Entry)}


class Ledger:
    """The events of a dataset folder, read when the file has changed and appended to."""

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self._seen: tuple[int, int] | None = None
        self._entries: dict[str, list[Entry]] = {}
        self._last: Entry | None = None

    def history(self, case: str) -> list[Entry]:
        """The events of a case, oldest first."""
        self._refresh()
        return list(self._entries.get(case, ()))

    def current(self, case: str) -> Entry | None:
        """The event that made the label that counts; None where no line tells of one."""
        found = [entry for entry in self.history(case) if entry.event == "label"]
        return max(found, key=lambda entry: entry.version) if found else None

    def newest(self, case: str) -> int:
        """The highest number that any version of the case has, conflicts included; 0 where there is none."""
        return max((entry.version for entry in self.history(case)), default=0)

    def rejected(self, case: str) -> Entry | None:
        """The event by which a case is out of use, if it is."""
        found = [entry for entry in self.history(case) if entry.event in ("reject", "restore", "label")]
        return found[-1] if found and found[-1].event == "reject" else None

    @property
    def bad(self) -> set[str]:
        """All cases that are out of use."""
        self._refresh()
        return {case for case in self._entries if self.rejected(case)}

    @property
    def accepted(self) -> set[str]:
        """All cases whose label is a prediction that was taken as it was."""
        self._refresh()
        current = ((case, self.current(case)) for case in self._entries)
        return {case for case, entry in current if entry is not None and entry.source == "accepted"}

    @property
    def last(self) -> Entry | None:
        """The newest event of all: the only one that a crash can have left half done."""
        self._refresh()
        return self._last

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Changes whenever a line was added."""
        self._refresh()
        return self._seen

    def append(self, entry: Entry) -> None:
        """Add a line, flushed to the disk."""
        line = json.dumps({k: v for k, v in asdict(entry).items() if v not in (None, "", 0)})
        with self.path.open("a+b") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")  # a line that a kill broke off stays alone and is skipped
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._seen, self._entries, self._last = None, {}, None
            return
        state = (found.st_size, found.st_mtime_ns)
        if state == self._seen:
            return
        entries: dict[str, list[Entry]] = {}
        last = None
        for entry in read_entries(self.path):
            entries.setdefault(entry.case, []).append(entry)
            last = entry
        self._seen, self._entries, self._last = state, entries, last


def read_entries(path: Path) -> Iterator[Entry]:
    """The sound lines of a ledger, in order."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            known = {key: value for key, value in content.items() if key in _FIELDS}
            if known.get("state"):
                known["state"] = tuple(known["state"])
            yield Entry(**known)
        except (ValueError, TypeError, AttributeError):
            continue


def entry_of(case: str, event: str, by: str, **about: Any) -> Entry:
    """An entry of now, by somebody; an empty name is the user of this process."""
    return Entry(case, event, by=printable(by)[:120] or user(), time=provenance.now(), **about)


def user() -> str:
    """The name of whoever runs this process."""
    import getpass

    try:
        return printable(getpass.getuser())
    except (OSError, KeyError, ImportError):
        return "unknown"
