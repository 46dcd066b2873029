"""What a person in a notebook sees of a run: one bar, and what was said last below it."""

from __future__ import annotations

import sys

from semiseg.drawing.bar import NotebookBar, in_notebook
from semiseg.runs.console import Console, duration, losses, said
from semiseg.runs.events import Ended, Event, Listener, Notice, Preparing, Started, Stepped, Validated


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
