"""What the routes work with: the labels, the index, the jobs, drafts, and who draws where."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from semiseg.dataset.ledger import user
from semiseg.errors import UsageError, unknown_name
from semiseg.labeling.store import Labels
from semiseg.machine import provenance
from semiseg.machine.files import json_object, printable, write_json
from semiseg.studio.advice import Advice
from semiseg.studio.index import Index, Row
from semiseg.studio.orders import Orders
from semiseg.studio.origin import SeriesFolder
from semiseg.studio.places import Places
from semiseg.studio.queue import Queue
from semiseg.studio.review import Reviews
from semiseg.studio.served import Cache
from semiseg.studio.sessions import Sessions

MARK_SECONDS = 60.0
"""A case is marked as being drawn on for so long after the last word of the page."""


class Desk:
    """One dataset in the studio; ``blind`` hides test labels, and which run made what in a review."""

    def __init__(self, dataset: str | Path, *, blind: bool = False) -> None:
        self.labels = Labels(dataset)
        self.root = self.labels.root
        self.places = Places(self.root)
        self.places.studio.mkdir(exist_ok=True)
        self.blind = blind
        self.index = Index(self.labels, self.places, blind=blind)
        self.cache = Cache(self.places.cache)
        self.queue = Queue(self.places)
        self.orders = Orders(self.labels, self.places, self.queue)
        self.advice = Advice(self.labels, self.places)
        self.drafts = Drafts(self.places.drafts)
        self.reviews = Reviews(self.places)
        self.marks = Marks()
        self.sessions = Sessions(self.places.studio / "sessions")
        self.series = SeriesFolder(self.places)

    def row(self, name: str, user: str) -> Row:
        """The row of a case, with what is true for this annotator (UsageError: no such case)."""
        rows = self.index.rows()
        if name not in rows:
            raise unknown_name("case", name, rows, hint="the page Cases lists all")
        return self.complete(rows[name], user)

    def complete(self, row: Row, user: str) -> Row:
        """A row with marks, drafts and picture."""
        name = row["id"]
        version = f"{row['version']}.{row['run'] or ''}.{row['state']}"
        return {
            **row,
            "drawing": self.marks.other(name, user),
            "draft": self.drafts.file(name, user).is_file(),
            "thumbnail": f"/api/cases/{quote(name)}/thumbnail.png?v={version}",
        }

    def run_named(self, run: str | None) -> str:
        """A run with predictions by its id; None is the one that is shown (UsageError: there is none)."""
        known = self.places.predicted_runs()
        chosen = run or self.index.run or (known[-1] if known else None)
        if chosen is None:
            raise UsageError("nothing was predicted yet", hint="train a model first", code="NO_PREDICTION")
        if chosen not in known:
            raise unknown_name("run", chosen, known)
        return chosen

    @contextmanager
    def upload(self, ending: str = ".nii") -> Iterator[Path]:
        """A place for a file that arrives, which is gone afterwards."""
        folder = self.places.studio / "incoming"
        folder.mkdir(exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}{ending}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything; jobs go on by themselves."""
        self.advice.close()
        self.queue.close()


class Marks:
    """Who draws on which case now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, dict[str, Any]]] = {}

    def set(self, case: str, client: str, user: str, on: bool) -> None:
        """A tab says that somebody draws, or has stopped."""
        with self._lock:
            clients = self._found.setdefault(case, {})
            if not on:
                clients.pop(client, None)
                return
            since = clients.get(client, {}).get("since") or provenance.now()
            clients[client] = {"user": user, "since": since, "until": time.monotonic() + MARK_SECONDS}

    def other(self, case: str, user: str = "", client: str = "") -> dict[str, Any] | None:
        """Somebody else who draws on it: another tab where ``client`` is said, else another person."""
        now = time.monotonic()
        with self._lock:
            for tab, mark in self._found.get(case, {}).items():
                same = tab == client if client else mark["user"] == user
                if mark["until"] > now and not same:
                    return {"user": mark["user"], "since": mark["since"]}
        return None

    def clear(self, case: str, user: str) -> None:
        """The label was saved."""
        with self._lock:
            clients = self._found.get(case, {})
            for tab in [tab for tab, mark in clients.items() if mark["user"] == user]:
                del clients[tab]


class Drafts:
    """Unsaved strokes: one file per case and annotator, with the version that they began from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, case: str, user: str) -> Path:
        """Where the draft of an annotator lies."""
        return self.folder / _name(user) / f"{case}.nii"

    def version(self, case: str, user: str) -> int:
        """The version that it began from."""
        found = self._told(case, user).get("version")
        return found if isinstance(found, int) else 0

    def box(self, case: str, user: str) -> str | None:
        """The part of the scan that it holds; None where it holds all."""
        return str(self._told(case, user).get("box") or "") or None

    def keep(
        self, case: str, user: str, upload: Path, version: int, *, box: str = "", client: str = ""
    ) -> str:
        """Take the file of an upload as the draft; returns the time."""
        target, saved = self.file(case, user), provenance.now()
        target.parent.mkdir(parents=True, exist_ok=True)
        told = {"version": version, "saved": saved, "box": box, "client": client}
        write_json(self._about(case, user), told)
        upload.replace(target)
        return saved

    def drop(self, case: str, user: str, client: str = "") -> None:
        """Forget it; with ``client`` not where it is of another tab of the same annotator."""
        if client and self._told(case, user).get("client") not in (None, "", client):
            return
        for path in (self.file(case, user), self._about(case, user)):
            path.unlink(missing_ok=True)

    def _about(self, case: str, user: str) -> Path:
        return self.file(case, user).with_suffix(".json")

    def _told(self, case: str, user: str) -> dict[str, Any]:
        """What is written beside it; empty where there is none, or nothing that can be read."""
        return json_object(self._about(case, user))


def _name(user: str) -> str:
    """A folder name of this annotator alone, which leads nowhere else, also where case does not count."""
    plain = re.sub(r"\W+", "_", user)[:60].lower()
    return plain if plain == user else f"{plain}-{sha256(user.encode()).hexdigest()[:8]}"


def annotator(header: str | None) -> str:
    """The annotator that a request names, or the user of this process."""
    named = printable(unquote(header or "").strip())[:120]
    return named or user()


def missing(what: str) -> UsageError:
    """The error for a file that is not there."""
    return UsageError(f"there is no {what}", hint="the page of the case lists what there is", code="NO_FILE")
