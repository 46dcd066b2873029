"""Where the studio keeps things: all of it in the folder ``studio`` of the dataset."""

from __future__ import annotations

from pathlib import Path

from semiseg.dataset.ledger import STUDIO
from semiseg.errors import unknown_name

SOURCE = "source.json"
"""Names the pile of scans that a dataset was made of by the studio."""


class Places:
    """Folders and files of a dataset's studio."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.studio = root / STUDIO
        self.source = self.studio / SOURCE
        self.headers = self.studio / "headers.json"
        self.ranking = self.studio / "ranking.json"
        self.cache = self.studio / "cache"
        self.thumbnails = self.studio / "thumbnails"
        self.drafts = self.studio / "drafts"
        self.jobs = self.studio / "jobs"
        self.rounds = self.studio / "rounds"
        self.runs = self.studio / "runs"
        self.predictions = self.studio / "predictions"
        self.reviews = self.studio / "reviews.csv"

    def run(self, name: str) -> Path:
        """The folder of a run by its id, which is looked up first (UsageError: there is none)."""
        known = self.run_names()
        if name not in known:
            raise unknown_name("run", name, known)
        return self.runs / name

    def run_names(self) -> list[str]:
        """Of all runs, oldest first."""
        return _names(self.runs)

    def predicted_runs(self) -> list[str]:
        """Of all runs with a folder of predictions, oldest first."""
        return _names(self.predictions)

    def predictions_of(self, name: str) -> Path:
        """The folder of a run's predictions; ``name`` is one of :meth:`predicted_runs`."""
        return self.predictions / name


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
