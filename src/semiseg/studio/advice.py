"""What the form of a training has filled in: a method that suits the data, a time, the newest weights."""

from __future__ import annotations

import threading
from typing import Any

from semiseg import methods
from semiseg.errors import SemisegError
from semiseg.labeling.store import Labels

FALLBACK = "supervised"
MAX_TIME = "20m"


class Advice:
    """Asks ``semiseg recommend`` once per state of the labels; the answer may come a moment later.

    Args:
        labels: of the dataset.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._known: tuple[Any, str, str] | None = None
        self._thread: threading.Thread | None = None

    def told(self, newest: str | None) -> dict[str, Any]:
        """The defaults of the form, and the methods to choose from.

        Args:
            newest: the run whose weights a training may go on from.
        """
        stamp = self.labels.ledger.stamp
        fresh = self._known is not None and self._known[0] == stamp
        if not fresh and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._ask, args=(stamp,), name="recommend", daemon=True)
            self._thread.start()
        _, method, reason = self._known or (None, FALLBACK, "looking at the scans; supervised always works")
        able = set(methods.names(regions=True) if self.labels.dataset.regions else methods.names())
        listed = [{"name": name, "summary": methods.description(name).summary} for name in sorted(able)]
        return {
            "method": method if method in able else FALLBACK,
            "reason": reason,
            "max_time": MAX_TIME,
            "methods": listed,
            "warm_start": newest,
            "ready": fresh,
        }

    def _ask(self, stamp: Any) -> None:
        from semiseg.advice.advise import recommend

        try:
            advice = recommend(self.labels.dataset, workers=0)
            first = advice.first
            self._known = (stamp, first.method, "; ".join(reason.text for reason in first.reasons[:2]))
        except SemisegError as error:
            self._known = (stamp, FALLBACK, error.message)
