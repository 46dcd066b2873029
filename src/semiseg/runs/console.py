"""What a person at the terminal sees of a run."""

from __future__ import annotations

import atexit
import io
import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from semiseg.drawing.notebook import NotebookBar, in_notebook
from semiseg.runs.events import (
    SHARE_PREFIX,
    Begun,
    Ended,
    Event,
    Listener,
    Notice,
    Preparing,
    Started,
    Stepped,
    Validated,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0
"""Without a progress bar, while scans are prepared."""

LINES_PER_RUN = 20
"""Without a progress bar: one line per 5 %."""

WIDE = 110
"""Columns of a terminal from which on the bar shows more than the total loss."""


class Console:
    """Listener that shows stage, speed, time left and losses on stderr."""

    def __init__(self, progress: bool = True, *, stream: TextIO | None = None, label: str = "") -> None:
        self.stream = stream or sys.stderr or io.StringIO()  # there is none in a daemon
        self.label = label
        self._bar = _Bar(self.stream, label) if progress and self.stream.isatty() else None
        self._printed = -1
        self._preparing, self._told = "", 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Preparing):
            self._prepare(event)
        elif isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, Stepped):
            self._step(event)
        elif isinstance(event, Validated):
            self._say(said(event))
        elif isinstance(event, Notice):
            self._say(said(event), bold=event.warning)
        elif isinstance(event, Ended):
            self.close()
            self._say(f"{event.reason} at iteration {event.step} after {duration(event.seconds)}")

    def close(self) -> None:
        """Take the bar away and give the cursor back. Safe to call at any time."""
        if self._bar:
            self._bar.stop()

    def _prepare(self, event: Preparing) -> None:
        if self._bar:
            self._bar.prepare(event)
            return
        new = event.what != self._preparing
        if new or time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._preparing, self._told = event.what, time.monotonic()
            self._say(f"{event.what}: {event.done} of {event.total}" if event.total else event.what)

    def _begin(self, event: Begun) -> None:
        if self._bar:
            self._bar.begin(event)
        else:
            self._say(f"iteration {event.step} of {event.total} took {duration(event.seconds)}")

    def _start(self, event: Started) -> None:
        self._printed = event.step * LINES_PER_RUN // max(event.total, 1)
        if self._bar:
            self._bar.start(event)
        elif event.step:
            self._say(f"resuming at iteration {event.step} of {event.total}")

    def _step(self, event: Stepped) -> None:
        if self._bar:
            self._bar.update(event)
            return
        part = event.step * LINES_PER_RUN // max(event.total, 1)
        if part != self._printed or event.step >= event.total:
            self._printed = part
            left = f", {duration(event.seconds_left)} left" if event.step < event.total else ""
            self._say(
                f"{event.stage} {event.step}/{event.total} ({100 * event.step // max(event.total, 1)} %)  "
                f"{losses(event.values)}  {event.iterations_per_second:.2f} it/s{left}"
            )

    def _say(self, line: str, *, bold: bool = False) -> None:
        line = f"{self.label}: {line}" if self.label else line
        if self._bar and self._bar.running:
            self._bar.say(line, bold=bold)
        else:
            self.stream.write(line + "\n")
            self.stream.flush()


class _Bar:
    """The moving bar; rich is imported when it first moves."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self.stream = stream
        self.label = label
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @property
    def running(self) -> bool:
        return self._progress is not None

    def start(self, event: Started) -> None:
        self._draw(self.label or "train", event.step, event.total)

    def _draw(self, name: str, step: int, total: int | None) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.stop()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("[bold]{task.fields[left]}"),
            TextColumn("{task.fields[losses]}"),
            console=RichConsole(file=self.stream),
            expand=True,
        )
        self._task = self._progress.add_task(name, total=total, completed=step, speed="", left="", losses="")
        self._progress.start()
        # An exception elsewhere must not leave the terminal without a cursor.
        atexit.register(self.stop)

    def prepare(self, event: Preparing) -> None:
        name = f"{self.label} {event.what}".strip()
        if self._progress is None or self._task is None:
            self._draw(name, event.done, event.total or None)
        else:
            self._progress.update(
                self._task, description=name, completed=event.done, total=event.total or None
            )

    def begin(self, event: Begun) -> None:
        if self._progress is not None and self._task is not None:
            took = f"the first took {duration(event.seconds)}"
            self._progress.update(self._task, completed=event.step, total=event.total, speed=took)

    def update(self, event: Stepped) -> None:
        if self._progress is None or self._task is None:
            return
        stage = "" if self.label and event.stage == "train" else event.stage
        self._progress.update(
            self._task,
            description=f"{self.label} {stage}".strip(),
            completed=event.step,
            total=event.total,
            speed=f"{event.iterations_per_second:.2f} it/s",
            left=f"{duration(event.seconds_left)} left" if event.step < event.total else "",
            losses=losses(event.values, most=3 if self._progress.console.width >= WIDE else 1),
        )

    def say(self, line: str, *, bold: bool) -> None:
        if self._progress is not None:
            style = "bold yellow" if bold else None
            self._progress.console.print(line, style=style, markup=False, highlight=False)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            atexit.unregister(self.stop)


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``; the two largest units, ``?`` for what is not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def losses(values: Mapping[str, float], most: int = 6) -> str:
    """``loss 0.512  ce 0.301``: the total first, at most ``most`` of them; no shares of classes."""
    shown = [name for name in values if not name.startswith(SHARE_PREFIX)]
    names = sorted(shown, key=lambda name: name != "loss")[:most]
    return "  ".join(f"{name} {values[name]:.4g}" for name in names)


def said(event: Validated | Notice) -> str:
    """The line that tells a validation or a notice."""
    if isinstance(event, Validated):
        return f"iteration {event.step}: validation {_scores(event)}"
    return f"warning: {event.text}" if event.warning else event.text


def _scores(event: Validated) -> str:
    classes = [
        f"{name.removeprefix('dice/')} {value:.3f}" for name, value in event.scores.items() if "/" in name
    ]
    mean = event.scores.get("dice", float("nan"))
    detail = f" ({', '.join(classes)})" if classes else ""
    return f"Dice {mean:.3f}{detail}{', best so far' if event.best else ''}"


def at_a_prompt() -> list[Listener]:
    """A bar in a notebook, lines where somebody types at Python's prompt; nothing for a script."""
    if in_notebook():
        return [NotebookProgress()]
    return [Console()] if hasattr(sys, "ps1") else []


class NotebookProgress:
    """Listener that draws the progress of a run in the output of a notebook's cell."""

    def __init__(self) -> None:
        self._bar = NotebookBar("train")
        self._said: list[str] = []
        self._last = (0, 0, "")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Preparing):
            self._bar(event.done, event.total, event.what, self._said)
        elif isinstance(event, Started):
            self._last = (event.step, event.total, "")
            self._bar.draw(*self._last, self._said)
        elif isinstance(event, Stepped):
            left = f", {duration(event.seconds_left)} left" if event.step < event.total else ""
            text = (
                f"{event.stage}, {event.iterations_per_second:.2f} it/s{left}; {losses(event.values, most=3)}"
            )
            self._last = (event.step, event.total, text)
            self._bar(*self._last, self._said)
        elif isinstance(event, Validated | Notice):
            self._said.append(said(event))
            self._bar.draw(*self._last, self._said)
        elif isinstance(event, Ended):
            step, total, _ = self._last
            ended = f"{event.reason} at iteration {event.step} after {duration(event.seconds)}"
            self._bar.draw(max(event.step, step), total, ended, self._said)
