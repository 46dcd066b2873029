"""What the form of a training has filled in: a method that suits the data, a time, the newest weights."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

from semiseg import methods
from semiseg.labeling.store import Labels
from semiseg.machine.worker import start
from semiseg.studio.places import Places
from semiseg.studio.queue import result_of

FALLBACK = "supervised"
MAX_TIME = "20m"
WAITING = "looking at the scans; supervised always works"


class Advice:
    """Asks ``semiseg recommend``, a process of its own, once per state of the labels."""

    def __init__(self, labels: Labels, places: Places) -> None:
        self.labels, self.places = labels, places
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: Any = ()
        self._known = (FALLBACK, WAITING)

    def told(self, newest: str | None) -> dict[str, Any]:
        """The defaults of the form, and the methods to choose from; ``ready`` once the answer is there."""
        ready = self._ask()
        method, reason = self._known
        able = set(methods.names(self.labels.dataset.label_form))
        listed = [{"name": name, "summary": methods.description(name).summary} for name in sorted(able)]
        return {
            "method": method if method in able else FALLBACK,
            "reason": reason,
            "max_time": MAX_TIME,
            "methods": listed,
            "start_from": newest,
            "ready": ready,
        }

    def close(self) -> None:
        """Do not wait for an answer any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _ask(self) -> bool:
        """Ask where the labels have changed; whether the answer is there."""
        folder = self.places.studio / "advice"
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            if self._process is not None and not running:
                self._known = self._read(result_of(folder) or {})
                self._process = None
            stamp = self.labels.ledger.stamp
            if not running and stamp != self._asked:
                self._asked = stamp
                words = ["-m", "semiseg", "recommend", str(self.labels.root), "--json"]
                self._process = start(words, folder / "log.txt", stdout=folder / "result.json")
            return self._process is None

    def _read(self, found: dict[str, Any]) -> tuple[str, str]:
        if not found.get("ok"):
            return FALLBACK, str(found.get("message") or "no recommendation; supervised always works")
        first = str(found.get("first", FALLBACK))
        ranking: list[dict[str, Any]] = found.get("ranking", [])
        chosen = next((one for one in ranking if one.get("method") == first), {})
        reasons = [str(reason.get("text", "")) for reason in chosen.get("reasons", [])]
        return first, "; ".join(reasons[:2])
