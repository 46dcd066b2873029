"""Blinded review: two runs side by side on one scan, which is which is not told; a line per judgment."""

from __future__ import annotations

import csv
import io
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.errors import UsageError, unknown_name
from semiseg.machine import provenance
from semiseg.studio.places import Places

COLUMNS = ("time", "by", "case", "left", "right", "score", "preferred")
LEVELS = (1, 5)
"""1: left is much better; 3: alike; 5: right is much better."""


@dataclass(frozen=True)
class Pair:
    """One judgment to be made."""

    token: str
    case: str
    left: str
    right: str
    by: str


class Reviews:
    """Asks for judgments and keeps them in a CSV file."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._lock = threading.Lock()
        self._pairs: dict[str, Pair] = {}

    def ask(self, a: str, b: str, by: str) -> tuple[Pair | None, int, int]:
        """The next scan that both runs have predicted and this person has not judged; judged, in all."""
        known = self.places.predicted_runs()
        for run in (a, b):
            if run not in known:
                raise unknown_name("run", run, known)
        if a == b:
            raise UsageError(f"{a} cannot be compared with itself", hint="choose two runs", code="SAME_RUN")
        cases = sorted(self._cases(a) & self._cases(b))
        judged = {
            row["case"] for row in self.rows() if row["by"] == by and {row["left"], row["right"]} == {a, b}
        }
        left = [case for case in cases if case not in judged]
        if not left:
            return None, len(cases), len(cases)
        first, second = (a, b) if secrets.randbelow(2) else (b, a)
        pair = Pair(secrets.token_hex(8), left[secrets.randbelow(len(left))], first, second, by)
        with self._lock:
            self._pairs[pair.token] = pair
        return pair, len(cases) - len(left), len(cases)

    def find(self, token: str) -> Pair:
        """A pair that was asked for (UsageError: there is none)."""
        with self._lock:
            found = self._pairs.get(token)
        if found is None:
            raise UsageError(
                "this pair was judged already, or is of an earlier session",
                hint="ask for the next pair",
                code="NO_PAIR",
            )
        return found

    def judge(self, token: str, score: int) -> Pair:
        """Keep a judgment (UsageError: no such pair, or a score that is none)."""
        if not LEVELS[0] <= score <= LEVELS[1]:
            raise UsageError(
                f"score {score}", hint="1 left is much better, 3 alike, 5 right", code="BAD_SCORE"
            )
        pair = self.find(token)
        preferred = "" if score == 3 else pair.left if score < 3 else pair.right
        row = (provenance.now(), pair.by, pair.case, pair.left, pair.right, score, preferred)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        with self._lock:
            if not self.places.reviews.is_file():
                writer.writerow(COLUMNS)
            writer.writerow(row)
            with self.places.reviews.open("a", encoding="utf-8") as stream:
                stream.write(text.getvalue())
            self._pairs.pop(token, None)
        return pair

    def rows(self) -> list[dict[str, Any]]:
        """All judgments."""
        if not self.places.reviews.is_file():
            return []
        with self.places.reviews.open(encoding="utf-8", newline="") as stream:
            return [row for row in csv.DictReader(stream) if set(COLUMNS) <= set(row)]

    def _cases(self, run: str) -> set[str]:
        folder: Path = self.places.predictions_of(run)
        return {path.stem for path in folder.glob("*.json") if path.name != "prediction_report.json"}
