"""Where the DICOM series lie that ``semiseg init``, ``convert`` or the studio made a dataset of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from semiseg.dataset.adopt.write import SOURCES
from semiseg.delivery.series import series_at, series_of_cases
from semiseg.errors import SemisegError, UsageError
from semiseg.machine.files import read_json, write_json
from semiseg.studio.places import Places

NEIGHBORS = 500
"""Folders and zips beside a dataset that are looked at, at most."""


class SeriesFolder:
    """The folder (or zip) that a dataset was made of, and the series of its cases.

    Attributes:
        cases: case -> its place in the folder and its SeriesInstanceUID.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.cases = series_of_cases(places.root)
        self._found: Path | None = None

    @property
    def path(self) -> Path | None:
        """What was named or adopted by the studio; else a folder beside the dataset that has the series."""
        if self._found is None or not self._found.exists():
            self._found = next(self._candidates(), None) if self.cases else None
        return self._found

    @property
    def lacks(self) -> str | None:
        """Why predictions cannot be written as DICOM here, in a line."""
        if not (self.places.root / SOURCES).is_file():
            return f"nothing says which series the scans came as ({SOURCES}, which `semiseg init` writes)"
        if not self.cases:
            return f"the scans did not come as DICOM series ({SOURCES} names none)"
        if self.path is None:
            return "the DICOM series were not found (`semiseg studio DATASET --series FOLDER` says where)"
        return None

    def name(self, folder: Path) -> None:
        """Take the series from this folder or zip from now on (UsageError: it holds none of them)."""
        if self.cases and not folder.exists():
            raise UsageError(f"no folder {folder}", hint="--series is the folder that `semiseg init` read")
        if not self.cases or not self._holds(folder):
            got, hint = self.lacks, "leave out --series"
            if self.cases:
                case = min(self.cases)
                got = f"{folder} does not hold the series of {case} ({self.cases[case][0]})"
                hint = "give the folder or zip that `semiseg init` read"
            raise UsageError(str(got), hint=hint, code="NO_SERIES")
        write_json(self.places.source, {"source": str(folder.resolve())})
        self._found = folder.resolve()

    def _candidates(self) -> Iterator[Path]:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            noted = Path(read_json(self.places.source)["source"])
            if noted.exists():
                yield noted
        parent = self.places.root.resolve().parent
        first = PurePosixPath(self.cases[min(self.cases)][0]).parts[0]
        with contextlib.suppress(OSError):
            for folder in (parent, *islice(sorted(parent.iterdir()), NEIGHBORS)):
                if (folder.name == first or (folder / first).exists()) and self._holds(folder):
                    yield folder

    def _holds(self, folder: Path) -> bool:
        """Whether the series of the first case is there."""
        with contextlib.suppress(SemisegError, OSError):
            return bool(series_at(folder, *self.cases[min(self.cases)]))
        return False
