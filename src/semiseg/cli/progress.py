"""A bar for work that counts: ``with counted(out, "check") as tick: …(progress=tick)``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from semiseg.cli.output import Output

Tick = Callable[[int, int], None]
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def counted(out: Output, what: str) -> Iterator[Tick]:
    """A ``tick(done, total)`` that draws a bar on a terminal, and else a line now and then on long work."""
    if out.verbosity < 0:
        yield lambda done, total: None
    elif not out.progress:
        yield _lines(what)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        layout = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*layout, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Tick:
    said = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            sys.stderr.write(f"{what}: {done} of {total}\n")

    return tick
