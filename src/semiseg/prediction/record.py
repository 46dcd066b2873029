"""What a prediction leaves beside its label map: who made it, from what, and what it holds."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.__about__ import __version__
from semiseg.drawing.notebook import Tabular
from semiseg.drawing.table import Value, csv_rows
from semiseg.errors import UsageError
from semiseg.images.grid import Grid
from semiseg.machine.files import json_object, require_writable, write_text

if TYPE_CHECKING:
    from semiseg.drawing.table import Table

REPORT_NAME = "prediction_report.json"


@dataclass(frozen=True)
class Outputs:
    """Where one scan's results go."""

    paths: Mapping[str, Path]
    """Kind of result (:data:`semiseg.prediction.results.WRITERS`) -> file."""
    record: Path

    def files(self) -> dict[str, Path]:
        """What is written, the record aside, by kind."""
        return dict(self.paths)


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one scan."""

    id: str
    status: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    outputs: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    """Foreground class -> milliliters (square millimeters for a 2D image, pixels where none has a size)."""
    unlike: list[dict[str, Any]] = field(default_factory=list)
    """In what the scan is unlike the training scans: ``kind``, ``text``, ``value``, ``seen``."""
    unit: str = ""
    """Of the sizes: ``mL``, ``mm2`` or ``px``."""
    error: dict[str, Any] | None = None
    """``code``, ``message``, ``hint`` and ``details`` of a failure."""
    dropped: dict[str, float] = field(default_factory=dict)
    """Class of one piece -> dropped voxels apart from its largest piece, over its own; if many."""


@dataclass(frozen=True)
class PredictionReport(Tabular):
    """A finished (or interrupted) prediction of one or many scans."""

    output: Path
    model: dict[str, Any]
    options: dict[str, Any]
    device: str
    cases: list[CaseOutcome]
    seconds: float
    interrupted: bool = False

    @property
    def done(self) -> list[CaseOutcome]:
        """Predicted now."""
        return [case for case in self.cases if case.status == "done"]

    @property
    def skipped(self) -> list[CaseOutcome]:
        """Left as they were, because the same model had predicted them before."""
        return [case for case in self.cases if case.status == "skipped"]

    @property
    def failed(self) -> list[CaseOutcome]:
        """Not predicted; each says why."""
        return [case for case in self.cases if case.status == "failed"]

    @property
    def unlike(self) -> dict[str, list[CaseOutcome]]:
        """Kind -> scans that are unlike the training scans in it; now or when they were predicted."""
        kinds: dict[str, list[CaseOutcome]] = {}
        for case in self.cases:
            for one in case.unlike:
                kinds.setdefault(one["kind"], []).append(case)
        return kinds

    def tables(self) -> Sequence[Table]:
        """A row for each scan: what became of it, and how large each class is."""
        from semiseg.drawing.table import Table, TableCell, heads

        names = list(dict.fromkeys(name for case in self.cases for name in case.sizes))
        rows = []
        for case in self.cases:
            why = str((case.error or {}).get("message", ""))
            cells = [TableCell(case.id), TableCell(case.status, {"status": case.status}, state=case.status)]
            sizes = [(name, case.sizes.get(name)) for name in names]
            cells += [TableCell("" if v is None else f"{v:.4g} {case.unit}", {name: v}) for name, v in sizes]
            rows.append((*cells, TableCell(why)))
        counts = f"{len(self.done)} predicted, {len(self.skipped)} already there, {len(self.failed)} failed"
        return [Table(f"{counts}: {self.output}", heads(("scan", "status", *names, "why")), tuple(rows))]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``prediction_report.json``."""
        return {
            "semiseg": __version__,
            "versions": versions(),
            "output": str(self.output),
            "model": self.model,
            "options": self.options,
            "device": self.device,
            "seconds": round(self.seconds, 2),
            "interrupted": self.interrupted,
            "counts": {"done": len(self.done), "skipped": len(self.skipped), "failed": len(self.failed)},
            "unlike": {kind: [case.id for case in cases] for kind, cases in self.unlike.items()},
            "files": [file for case in self.cases for file in case.outputs.values()],
            "cases": [asdict(case) for case in self.cases],
        }


def dropped_text(name: str, share: float) -> str:
    """What is said of a class of which much was dropped."""
    return (
        f"{name} is one piece in the training labels; here other pieces, {share:.0%} of the largest, were "
        "dropped (--set inference.largest_component=false keeps them)"
    )


def versions() -> dict[str, str]:
    """Of what computes a prediction."""
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}


def read_record(path: Path) -> dict[str, Any] | None:
    """A ``CASE.json`` that we wrote, or None."""
    content = json_object(path)
    return content if "semiseg" in content and "case" in content else None


def unlike_in(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a record says of a scan that is unlike the training scans."""
    found = record.get("unlike")
    entries = found if isinstance(found, list) else []
    return [one for one in entries if isinstance(one, dict) and {"kind", "text"} <= one.keys()]


def is_complete(record: Mapping[str, Any], outputs: Outputs, inputs: str) -> bool:
    """Whether all files of the record are there, unchanged in size, and made from the input as it is now."""
    if record.get("status") != "done" or record.get("inputs_state") != inputs:
        return False
    written = record.get("bytes") or {}
    return all(
        path.is_file() and path.stat().st_size == written.get(k) for k, path in outputs.files().items()
    )


def inputs_state(files: Sequence[Path]) -> str:
    """One word that changes when a file is replaced (by size and time; nothing is read)."""
    state = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def grid_dict(grid: Grid) -> dict[str, Any]:
    """The grid as JSON."""
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "unit": grid.unit,
        "affine": grid.affine.tolist(),
    }


def size_unit(grid: Grid) -> str:
    """The unit of :func:`class_sizes`: pixels (voxels) where no file says how large they are."""
    if grid.unit == "px":
        return "px"
    return "mL" if len(grid.shape) == 3 else "mm2"


def class_sizes(
    labels: NDArray[Any], structures: Mapping[str, Sequence[int]], grid: Grid
) -> dict[str, float]:
    """Class or region -> volume in mL, or area in mm² of a 2D image, from the values that it has.

    Pixels, where no file says how large they are.
    """
    most = max(value for values in structures.values() for value in values)
    counts = np.bincount(labels.reshape(-1), minlength=most + 1)
    unit = grid.voxel_size / (1000.0 if size_unit(grid) == "mL" else 1.0)
    return {name: round(float(counts[list(v)].sum()) * unit, 4) for name, v in structures.items()}


_FIRST = ("case", "status", "unit")


@dataclass(frozen=True)
class VolumeTable:
    """The CSV of ``--volumes``.

    Raises:
        UsageError: the file is not ours, or cannot be written.
    """

    path: Path
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_writable(self.path.parent, "--volumes")
        if self.path.exists() and not self.overwrite and not self._is_ours():
            raise UsageError(
                f"{self.path} exists and is not a table of volumes",
                hint="give --volumes another name, or --overwrite to replace it",
                code="EXISTS",
            )

    def write(self, report: PredictionReport, structures: Sequence[str]) -> None:
        """Write all cases of a report, whole or not at all; a failed one has no numbers."""
        rows: list[dict[str, Value]] = [
            {"case": c.id, "status": c.status, "unit": c.unit if c.sizes else "", **c.sizes}
            for c in report.cases
        ]
        write_text(self.path, csv_rows(rows, [*_FIRST, *structures]))

    def _is_ours(self) -> bool:
        try:
            with self.path.open(encoding="utf-8") as stream:
                return stream.readline().startswith(",".join(_FIRST))
        except (OSError, ValueError):
            return False
