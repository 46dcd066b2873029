from __future__ import annotations

import io

import pytest

from semiseg.runs.console import Console, at_a_prompt, duration, losses
from semiseg.runs.events import Begun, Ended, Event, Notice, Preparing, Started, Stepped, Validated


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def story(start: int = 0, total: int = 200) -> list[Event]:
    steps: list[Event] = [
        Stepped(i, total, "train", 0.01, {"ce": 0.2, "loss": 1 / i}, 2.5, (total - i) / 2.5)
        for i in range(start + 2, total + 1, 2)
    ]
    return [Started(start, total), *steps, Ended(total, "finished", 80.0)]


def test_without_a_terminal_one_line_per_five_percent() -> None:
    stream = io.StringIO()
    console = Console(progress=True, stream=stream)
    for event in story():
        console(event)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 21
    assert lines[0] == "train 10/200 (5 %)  loss 0.1  ce 0.2  2.50 it/s, 1 min 16 s left"
    assert lines[-1] == "finished at iteration 200 after 1 min 20 s"
    assert "\x1b" not in stream.getvalue()


def test_a_resumed_run_says_where_it_goes_on() -> None:
    stream = io.StringIO()
    console = Console(progress=False, stream=stream, label="mean teacher")
    for event in story(start=100):
        console(event)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "mean teacher: resuming at iteration 100 of 200"
    assert len(lines) == 12


BEFORE: list[Event] = [
    *(Preparing("reading scans", done, 40) for done in range(41)),
    *(Preparing("preparing scans", done, 40) for done in range(41)),
    Preparing("setting up networks and batches"),
    Started(0, 200),
    Begun(1, 200, 61.0),
]


def test_what_is_done_before_the_first_lines_of_the_training_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr("semiseg.runs.console.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    console = Console(progress=False, stream=stream)
    for event in BEFORE:
        console(event)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["reading scans: 0 of 40", "reading scans: 3 of 40", "reading scans: 6 of 40"]
    assert lines[-3].startswith("preparing scans: ")
    assert lines[-2:] == ["setting up networks and batches", "iteration 1 of 200 took 1 min 01 s"]


def test_the_bar_counts_scans_and_the_first_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    console = Console(stream=stream)
    for event in BEFORE:
        console(event)
    console.close()
    text = stream.getvalue()
    assert "reading scans" in text
    assert "1/200" in text
    assert "the first took 1 min 01 s" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0


def test_validation_and_warnings_are_shown() -> None:
    stream = io.StringIO()
    console = Console(progress=False, stream=stream)
    console(Validated(50, {"dice": 0.5, "dice/liver": 0.61}, best=True))
    console(Notice(50, "mind the gap", warning=True))
    assert stream.getvalue().splitlines() == [
        "iteration 50: validation Dice 0.500 (liver 0.610), best so far",
        "warning: mind the gap",
    ]


def test_on_a_terminal_a_bar_that_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    console = Console(progress=True, stream=stream)
    for event in story()[:-1]:
        console(event)
    console(Notice(200, "odd [thing]", warning=True))
    console(Ended(200, "finished", 80.0))
    text = stream.getvalue()
    assert "200/200" in text
    assert "2.50 it/s" in text
    assert "odd [thing]" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0
    console.close()  # twice does no harm


def test_at_a_prompt_and_in_a_notebook_a_training_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sys.ps1", raising=False)
    assert at_a_prompt() == []
    monkeypatch.setattr("sys.ps1", "In : ", raising=False)
    (console,) = at_a_prompt()
    assert isinstance(console, Console)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (9000, "2 h 30 min"), (float("inf"), "?")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_losses_put_the_total_first_and_stop_in_time() -> None:
    assert losses({"a": 1.0, "loss": 0.123456, "b": 2.0}, most=2) == "loss 0.1235  a 1"


def test_shares_of_classes_are_not_among_the_losses() -> None:
    assert losses({"share/unlabeled/a": 0.1, "ce": 0.2, "loss": 0.5}) == "loss 0.5  ce 0.2"
