"""``metrics.csv``, ``events.jsonl`` and TensorBoard: what happened in a run, as files that survive a kill.

Each event is one whole line, written and closed at once, so that a killed run loses at most the line being
written. That torn line, and whatever was logged after the checkpoint that a resumed run starts from, is
dropped on :class:`~semiseg.runs.events.Started`: an interrupted and resumed run ends with the same rows as
an undisturbed one.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.machine.files import replacing
from semiseg.runs.events import Begun, Ended, Event, Preparing, Started, Stepped, Validated

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


log = logging.getLogger("semiseg.report")

BASE_COLUMNS = ("event", "step", "stage", "lr", "best", "iterations_per_second")
"""The columns that every ``metrics.csv`` begins with; training values and ``val/…`` scores follow."""

VALIDATION_PREFIX = "val/"


class FileLog:
    """Listener that keeps ``metrics.csv`` and ``events.jsonl`` in a run folder."""

    def __init__(self, folder: Path) -> None:
        self.metrics = folder / "metrics.csv"
        self.events = folder / "events.jsonl"
        self._columns: list[str] | None = None
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Write one event; a Stepped or Validated is also a row of ``metrics.csv``."""
        if isinstance(event, Preparing | Begun):
            return
        try:
            if self._columns is None:
                self._open()
            if isinstance(event, Started):
                self._rewind(event.step)
            _append(self.events, json.dumps(_as_json(event), allow_nan=False) + "\n")
            if isinstance(event, Stepped | Validated):
                self._add_row(_as_row(event))
        except OSError:
            self._columns = None  # half a line may be there: the next event looks again
            raise

    def _open(self) -> None:
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.metrics, self.events):
            drop_torn_line(path)
        rows, lost = _read(self.metrics)
        self._load(rows)
        if lost:
            self.metrics.replace(self.metrics.with_name("metrics.csv.damaged"))
            self._rewrite(rows)

    def _load(self, rows: list[dict[str, str]]) -> None:
        header = list(rows[0]) if rows else []
        self._columns = [*BASE_COLUMNS, *(c for c in header if c not in BASE_COLUMNS)]
        self._seen = {(row["event"], row["step"]) for row in rows}

    def _rewind(self, step: int) -> None:
        """Forget what was logged after ``step``: the run continues from there and will log it again."""
        rows = read_rows(self.metrics)
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            self._load(kept)
            self._rewrite(kept)
        if self.events.is_file():
            lines = self.events.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            wanted = [line for line in lines if _step_of(line) <= step]
            if len(wanted) < len(lines):
                with replacing(self.events) as temporary:
                    temporary.write_text("".join(wanted), encoding="utf-8")

    def _add_row(self, row: dict[str, str]) -> None:
        key = (row["event"], row["step"])
        if key in self._seen or self._columns is None:
            return
        self._seen.add(key)
        new = [column for column in row if column not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_rows(self.metrics))
        if not self.metrics.is_file():
            _append(self.metrics, _csv_line(self._columns))
        _append(self.metrics, _csv_line(row.get(column, "") for column in self._columns))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        columns = self._columns or []
        with replacing(self.metrics) as temporary:
            lines = [_csv_line(columns), *(_csv_line(row.get(c, "") for c in columns) for row in rows)]
            temporary.write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv`` as text, blank where a column does not apply; [] when there is none.

    Damaged lines are left out, with a warning.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[list[dict[str, str]], int]:
    """The sound rows, and how many lines are none."""
    if not path.is_file():
        return [], 0
    lost, rows = 0, []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        text = file.read()
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))  # another may still write
    try:
        for row in reader:
            if _is_sound(row):
                rows.append(row)
            else:
                lost += 1
    except csv.Error:  # such as a line without an end
        lost += 1
    if lost:
        log.warning("%s: %d damaged lines are left out", path, lost)
    return rows, lost


def _is_sound(row: Mapping[str | None, Any]) -> bool:
    if row.get("event") not in ("stepped", "validated") or None in row or None in row.values():
        return False
    numbers = [cell for name, cell in row.items() if name not in ("event", "stage") and cell]
    return str(row.get("step")).isdecimal() and not any(isinstance(_number(cell), str) for cell in numbers)


def read_metrics(folder: Path) -> list[dict[str, str | float]]:
    """The rows of a run's ``metrics.csv`` with numbers as floats and blank cells left out."""
    return [
        {key: _number(cell) for key, cell in row.items() if cell} for row in read_rows(folder / "metrics.csv")
    ]


def _number(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def _as_row(event: Stepped | Validated) -> dict[str, str]:
    if isinstance(event, Validated):
        row = {"event": "validated", "step": str(event.step), "best": str(int(event.best))}
        return row | {f"{VALIDATION_PREFIX}{name}": _text(value) for name, value in event.scores.items()}
    row = {
        "event": "stepped",
        "step": str(event.step),
        "stage": event.stage,
        "lr": _text(event.lr),
        "iterations_per_second": f"{event.iterations_per_second:.4g}",
    }
    return row | {name: _text(value) for name, value in event.values.items()}


def _text(value: float) -> str:
    """Every digit, so that two runs can be compared exactly."""
    return repr(float(value))


def _as_json(event: Event) -> dict[str, Any]:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    fields = {key: _finite(value) for key, value in asdict(event).items()}
    return {"time": now, "event": type(event).__name__.lower(), **fields}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _step_of(line: str) -> int:
    """The step of a line of ``events.jsonl``; a line that is not one is dropped like a torn one."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 2**63


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(line)


def drop_torn_line(path: Path) -> None:
    """Cut what stands after the last newline: a line that a kill broke off."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


class TensorBoardLog:
    """Listener that writes scalars to a TensorBoard folder.

    A resumed run hides what an earlier process logged after the checkpoint it starts from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write the scalars of one event."""
        if isinstance(event, Started):
            self._open(event.step + 1 if event.step else None)
        elif isinstance(event, Stepped):
            writer = self._writer or self._open(None)
            writer.add_scalar("learning rate", event.lr, event.step)
            writer.add_scalar("iterations per second", event.iterations_per_second, event.step)
            for name, value in event.values.items():
                writer.add_scalar(f"train/{name}", value, event.step)
        elif isinstance(event, Validated):
            writer = self._writer or self._open(None)
            for name, value in event.scores.items():
                writer.add_scalar(f"validation/{name}", value, event.step)
            writer.flush()
        elif isinstance(event, Ended):
            self.close()

    def close(self) -> None:
        """Flush and close; a later event opens the folder again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, purge_step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        self._writer = SummaryWriter(str(self.folder), purge_step=purge_step)
        return self._writer
