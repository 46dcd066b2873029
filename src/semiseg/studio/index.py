"""All cases of a dataset as rows of a table, kept in memory: 5,000 are listed, sorted and searched at once.

Sizes come from the headers of the scans, volumes from their labels; both are read in the background, once
per state of a file, and remembered in ``studio/headers.json``.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from semiseg import images
from semiseg.dataset.case import Case, LabeledCase
from semiseg.errors import SemisegError
from semiseg.images.grid import Grid
from semiseg.labeling.store import Labels
from semiseg.machine.files import json_object, write_json
from semiseg.prediction.record import class_sizes, read_record, size_unit
from semiseg.studio.places import Places

log = logging.getLogger("semiseg.studio")

Row = dict[str, Any]

STATES = ("labeled", "accepted", "predicted", "unlabeled", "test", "bad")
UNLABELED = ("predicted", "unlabeled")
"""States of a case that waits for a label."""
SORTS = ("id", "state", "group", "size", "uncertainty", "expected_dice", "volume", "rank", "changed")


class Index:
    """The rows of the page Cases; with ``blind``, labels of test cases are not looked at."""

    def __init__(self, labels: Labels, places: Places, *, blind: bool = False) -> None:
        self.labels, self.places, self.blind = labels, places, blind
        self.lock = threading.RLock()
        self.run: str | None = None
        """Whose predictions are shown."""
        self._headers: dict[str, Any] = json_object(places.headers)
        self._records: dict[str, dict[str, tuple[int, Row]]] = {}
        self._rows: dict[str, Row] = {}
        self._stamp: Any = None
        self._changes = 0
        self._thread: threading.Thread | None = None

    def rows(self) -> dict[str, Row]:
        """Id -> row, in the order of ids; made again where something has changed."""
        with self.lock:
            self.run = self._newest_run()
            stamp = (self._dataset_stamp(), self._predictions_stamp(), self._changes, self.run)
            if stamp != self._stamp or not self._rows:
                if self._stamp is not None and stamp[0] != self._stamp[0]:
                    self.labels.reload()
                self._rows = {row["id"]: row for row in self._build()}
                self._stamp = (self._dataset_stamp(), *stamp[1:])
                self._look_in_background()
            return self._rows

    def find(self, name: str) -> Case:
        """Any case of the dataset by its id; a test case only to look at (UsageError: there is none)."""
        self.rows()
        found = self.labels.test.get(name)
        return found if found is not None else self.labels.case(name)

    def changed(self) -> None:
        """Something that no file tells of has changed, such as a ranking."""
        with self.lock:
            self._changes += 1

    def record(self, run: str, name: str) -> Row | None:
        """What a run's prediction of a case leaves beside it."""
        found = self._of_run(run).get(name)
        return None if found is None else found[1]

    def _newest_run(self) -> str | None:
        """The newest one whose predictions are complete; where none is, the newest."""
        runs = self.places.predicted_runs()
        done = [run for run in runs if (self.places.predictions_of(run) / "prediction_report.json").is_file()]
        known = done or runs
        return known[-1] if known else None

    def _dataset_stamp(self) -> Any:
        folders = [self.places.root / name for name in ("imagesTr", "imagesUn", "imagesTs", "labelsTr")]
        return (self.labels.ledger.stamp, *_times(folders))

    def _predictions_stamp(self) -> Any:
        folders = [self.places.predictions_of(run) for run in self.places.predicted_runs()]
        return _times([*folders, self.places.ranking])

    def _of_run(self, run: str) -> dict[str, tuple[int, Row]]:
        """Case -> (time, record) of a run's predictions; files that did not change are not read again."""
        known, found = self._records.get(run, {}), {}
        for path in self.places.predictions_of(run).glob("*.json"):
            time = _time(path)
            if known.get(path.stem, (0,))[0] == time:
                found[path.stem] = known[path.stem]
            elif path.name != "prediction_report.json":
                record = read_record(path)
                if record is not None and record.get("status") == "done":
                    found[path.stem] = (time, record)
        self._records[run] = found
        return found

    def _build(self) -> Iterable[Row]:
        labels, dataset = self.labels, self.labels.dataset
        bad = labels.ledger.bad
        ranks = {one["id"]: one for one in json_object(self.places.ranking).get("cases", ())}
        records = self._of_run(self.run) if self.run else {}
        rule = dataset.splits.patients if dataset.splits else None
        for case in sorted((*labels.cases.values(), *labels.test.values()), key=lambda one: one.id):
            row = self._row(case, case.id in bad, records.get(case.id, (0, {}))[1], ranks.get(case.id))
            yield row | {"group": (rule.patient(case.id) if rule else None) or ""}

    def _row(self, case: Case, bad: bool, record: Row, rank: Mapping[str, Any] | None) -> Row:
        test = case.id in self.labels.test
        entry = None if test else self.labels.ledger.current(case.id)
        labeled = isinstance(case, LabeledCase)
        header = self._headers.get(case.id, {})
        seen = labeled and not test
        return {
            "id": case.id,
            "state": _state(test, bad, labeled, entry.source if entry else "dataset", bool(record)),
            "shape": header.get("shape"),
            "spacing": header.get("spacing"),
            "unit": header.get("unit", "mm"),
            "version": 0 if test else self.labels.version(case.id),
            "labeled": labeled,
            "source": (entry.source if entry else "dataset") if seen else None,
            "changed": entry.time if entry else None,
            "by": entry.by if entry else None,
            "run": self.run if record else None,
            **_doubt(record),
            **self._volumes(header, record, seen),
            "rank": rank["rank"] if rank and not seen else None,
            "reason": rank["reason"] if rank and not seen else None,
            "slices": (rank.get("slices") or []) if rank and not seen else [],
            "note": rejected.note if bad and (rejected := self.labels.ledger.rejected(case.id)) else None,
        }

    def _volumes(self, header: Row, record: Row, labeled: bool) -> Row:
        if labeled and header.get("volumes") is not None:
            found: tuple[Any, ...] = (header["volumes"], header.get("volume_unit"), "label")
        elif record and not labeled:
            found = record.get("sizes"), record.get("unit"), "prediction"
        else:
            found = (None, None, None)
        return dict(zip(("volumes", "volume_unit", "volumes_of"), found, strict=True))

    def _look_in_background(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._look, name="headers", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        """Read headers, and labels for their volumes, of all cases whose files are new."""
        with self.lock:
            cases = [*self.labels.cases.values(), *self.labels.test.values()]
            tests = set(self.labels.test)
        looked = 0
        for case in cases:
            state = _files_state(case, with_label=case.id not in tests)
            if self._headers.get(case.id, {}).get("state") == state:
                continue
            self._headers[case.id] = {"state": state, **self._header(case, labeled=case.id not in tests)}
            looked += 1
            if looked % 500 == 0:
                self.changed()
        if looked:
            write_json(self.places.headers, self._headers)
            self.changed()

    def _header(self, case: Case, *, labeled: bool) -> Row:
        try:
            header = images.read_header(case.images[0])
            grid = header.grid
            found: Row = {
                "shape": list(grid.shape),
                "spacing": [round(s, 4) for s in grid.spacing],
                "unit": grid.unit,
                "channels": header.channels,
            }
            if labeled and isinstance(case, LabeledCase):
                found |= {"volumes": self.volumes_of(case.label, grid), "volume_unit": size_unit(grid)}
        except (SemisegError, OSError, ValueError) as error:
            log.debug("%s: %s", case.id, error)
            return {"error": str(error)}
        return found

    def volumes_of(self, label: Path, grid: Grid) -> dict[str, float]:
        """Class or region -> milliliters in a label file."""
        values = structures(self.labels)
        return class_sizes(images.read_label(label).array.astype("int64"), values, grid)


def structures(labels: Labels) -> dict[str, tuple[int, ...]]:
    """Class (without background) or region -> values in the label files."""
    dataset = labels.dataset
    if dataset.regions:
        return {name: tuple(values) for name, values in dataset.regions.items()}
    back = {declared: raw for raw, declared in reversed(dataset.label_map.items())}
    foreground = list(dataset.labels.items())[1:]
    return {name: (back.get(value, value),) for name, value in foreground}


def selected(
    rows: Iterable[Row],
    *,
    state: str = "",
    group: str = "",
    search: str = "",
    sort: str = "id",
    order: str = "asc",
) -> list[Row]:
    """Rows that are wanted, in the wanted order; those without a value come last.

    Args:
        rows: all of them.
        state: one or several of :data:`STATES`, separated by commas; empty for all.
        group: of the cases; empty for all.
        search: part of the id or the group, in any case, with or without accents.
        sort: one of :data:`SORTS`.
        order: ``asc`` or ``desc``.
    """
    states = set(filter(None, state.split(",")))
    needle = _bare(search)
    found = [
        row
        for row in rows
        if (not states or row["state"] in states)
        and (not group or row["group"] == group)
        and (not needle or needle in _bare(row["id"]) or needle in _bare(row["group"]))
    ]
    keyed = [(_sort_key(row, sort), row) for row in found]
    known = sorted(
        ((k, r) for k, r in keyed if k is not None), key=lambda one: one[0], reverse=order == "desc"
    )
    return [row for _, row in known] + [row for key, row in keyed if key is None]


def _bare(text: str) -> str:
    """Letters without case and accents: ``Müller`` is found by ``muller``, and stands beside it."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _sort_key(row: Row, sort: str) -> Any:
    if sort in ("id", "group"):  # as people count: 2 before 10
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", _bare(row[sort]))]
    if sort == "size":
        shape = row["shape"]
        return None if shape is None else math.prod(shape)
    if sort == "volume":
        return None if row["volumes"] is None else sum(row["volumes"].values())
    if sort == "expected_dice":
        return None if row["expected_dice"] is None else row["expected_dice"]["value"]
    if sort == "state":
        return STATES.index(row["state"])
    return row.get(sort)


def _state(test: bool, bad: bool, labeled: bool, source: str, predicted: bool) -> str:
    if test or bad:
        return "test" if test else "bad"
    if labeled:
        return "accepted" if source == "accepted" else "labeled"
    return "predicted" if predicted else "unlabeled"


def _doubt(record: Row) -> Row:
    """What a record says of how far its prediction is to be trusted."""
    doubt = record.get("uncertainty") or {}
    expected = record.get("expected_dice")
    return {
        "uncertainty": doubt.get("score"),
        "expected_dice": expected,
        "expected_dice_reason": record.get("expected_dice_reason"),
        "review": bool(record.get("review")),
    }


def _files_state(case: Case, *, with_label: bool) -> list[list[int]]:
    files = [*case.images, *([case.label] if with_label and isinstance(case, LabeledCase) else [])]
    states = []
    for path in files:
        try:
            found = path.stat()
        except OSError:
            continue
        states.append([found.st_size, found.st_mtime_ns])
    return states


def _times(paths: Iterable[Path]) -> tuple[int, ...]:
    return tuple(map(_time, paths))


def _time(path: Path) -> int:
    """When it was last changed, in nanoseconds; 0 where it is not there, or no longer."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
