"""One table of what was found: a row for each scan, a column for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.drawing.table import Value, csv_rows
from semiseg.errors import UsageError
from semiseg.machine.files import require_writable, write_text
from semiseg.prediction.record import CaseOutcome, PredictionReport

_FIRST = ("case", "status", "unit")


@dataclass(frozen=True)
class VolumeTable:
    """The CSV of ``--volumes``.

    Args:
        path: the file. One that we wrote is written anew, any other is left alone unless ``overwrite``.
        overwrite: replace whatever is there.

    Raises:
        UsageError: the file is not ours, or cannot be written.
    """

    path: Path
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_writable(self.path.parent, "--volumes")
        if self.path.exists() and not self.overwrite and not self._is_ours():
            raise UsageError(
                f"{self.path} exists and is no table of volumes",
                hint="give --volumes another name, or --overwrite to replace it",
                code="EXISTS",
            )

    def write(self, report: PredictionReport, structures: Sequence[str]) -> None:
        """Write all cases of a report, whole or not at all; a failed one has no numbers."""
        rows = [self._row(case) for case in report.cases]
        write_text(self.path, csv_rows(rows, [*_FIRST, *structures]))

    def _row(self, case: CaseOutcome) -> dict[str, Value]:
        unit = case.unit if case.sizes else ""
        return {"case": case.id, "status": case.status, "unit": unit, **case.sizes}

    def _is_ours(self) -> bool:
        try:
            with self.path.open(encoding="utf-8") as stream:
                return stream.readline().startswith(",".join(_FIRST))
        except (OSError, ValueError):
            return False
