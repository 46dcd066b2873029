"""Means of what is logged, and the speed. Tensors stay on the device until they are printed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Meter:
    """Collects the logs of each iteration between two readings."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.per_second = 0.0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Note one iteration's detached scalars."""
        self._steps += 1
        for name, value in logs.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Means since the last reading; the only place where the device is waited for."""
        names = list(self._sums)
        means = [float(torch.as_tensor(self._sums[name])) / self._counts[name] for name in names]
        now = time.monotonic()
        self.per_second = self._steps / max(now - self._since, 1e-9)
        self._sums, self._counts, self._steps, self._since = {}, {}, 0, now
        return dict(zip(names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What has been collected since the last reading, so that a resumed run logs the same means."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def start(self) -> None:
        """The clock of the speed starts now."""
        self._steps, self._since = 0, time.monotonic()

    def seconds_left(self, step: int) -> float:
        """Time to the end at the last measured speed."""
        return (self.total - step) / self.per_second if self.per_second else 0.0
