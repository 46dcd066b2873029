"""Words go where they belong: results to stdout, the rest to stderr, and as loud as asked."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semiseg import methods
from semiseg.cli.output import Output, columns, counted, level_of, printable, progress_wanted, spelled
from semiseg.errors import UsageError
from semiseg.machine.files import plain


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Path("a/b"), "a/b" if "/" in str(Path("a/b")) else "a\\b"),
        (float("nan"), None),
        (float("inf"), None),
        (np.float32(0.5), 0.5),
        (np.array([[1, 2]]), [[1, 2]]),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (True, True),
        ("text", "text"),
        (None, None),
        (object, str(object)),
    ],
)
def test_plain_is_json(value: object, wanted: object) -> None:
    assert plain(value) == wanted
    json.dumps(plain(value), allow_nan=False)


def test_plain_takes_pydantic_models_apart() -> None:
    from semiseg.settings.config import OptimizerConfig

    assert plain({"optimizer": OptimizerConfig(lr=0.5)})["optimizer"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße 肝\n\tend", "Grüße 肝\n\tend"),
        ("liver\x1b[2J\x07", "liver\\x1b[2J\\x07"),
        ("a\u202eb\x9bc", "a\\u202eb\\x9bc"),
        ("a\rb", "a\\rb"),
    ],
)
def test_names_from_files_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_columns_align_and_leave_no_trailing_blanks() -> None:
    assert columns([("a", "first"), ("longer", "second"), ("b", "")]) == "a       first\nlonger  second\nb"
    assert columns([]) == ""


@pytest.mark.parametrize("arguments", [["methods", "--json"], ["networks", "--json"], ["recipes", "--json"]])
def test_listings_as_json(cli: Callable, arguments: list[str]) -> None:
    answer = cli(*arguments)
    (listed,) = [value for key, value in answer.json.items() if key != "ok"]
    assert answer.code == 0
    assert answer.json["ok"] is True
    assert all(entry["name"] for entry in listed)


def test_listings_as_text_have_a_name_and_a_summary_per_line(cli: Callable) -> None:
    lines = [line.split() for line in cli("methods").out.splitlines()]
    listed = [line for line in lines if len(line) > 3 and line[1].isdigit()]
    assert sorted(line[0] for line in listed) == methods.names()


def test_a_recipe_is_printed_as_the_file_it_is(cli: Callable, tmp_path: Path) -> None:
    from semiseg.settings.resolve import resolve

    copy = tmp_path / "mine.yaml"
    copy.write_text(cli("recipes", "default").out)
    ours = resolve(recipe="default", environment={}).model_dump(exclude={"recipe"})
    assert resolve(recipe=str(copy), environment={}).model_dump(exclude={"recipe"}) == ours


def test_one_method_is_shown_with_its_paper(cli: Callable) -> None:
    assert "Tarvainen" in cli("methods", "mean_teacher").out


# --- loudness


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        ([], "iwe"),
        (["-v"], "diwe"),
        (["-q"], "we"),
        (["-qq"], "e"),
        (["-q", "-q"], "e"),
        (["-q", "-v"], "iwe"),
    ],
)
def test_quiet_and_verbose(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, flags: list[str], seen: str
) -> None:
    log = logging.getLogger("semiseg.somewhere")

    def describe() -> list[dict[str, str]]:
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)("line of %s", level)
        return []

    monkeypatch.setattr("semiseg.methods.describe", describe)
    answer = cli("methods", *flags)
    wanted = {
        "d": "line of debug",
        "i": "line of info",
        "w": "warning: line of warning",
        "e": "error: line of error",
    }
    assert answer.err.splitlines() == [wanted[letter] for letter in seen]
    assert "line of" not in answer.out


def test_log_level_from_the_environment(monkeypatch: pytest.MonkeyPatch, cli: Callable) -> None:
    monkeypatch.setenv("SEMISEG_LOG_LEVEL", "warning")
    assert level_of(Output()) == logging.WARNING
    assert level_of(Output(verbosity=1)) == logging.DEBUG
    monkeypatch.setenv("SEMISEG_LOG_LEVEL", "warnin")
    with pytest.raises(UsageError, match="WARNING"):
        level_of(Output())
    assert cli("methods").code == 2


def test_logging_is_left_as_it_was_found(cli: Callable) -> None:
    before = list(logging.getLogger("semiseg").handlers)
    cli("methods", "-v")
    assert logging.getLogger("semiseg").handlers == before
    assert logging.getLogger("semiseg").propagate


# --- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_bars_off_a_terminal_or_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not progress_wanted()
    monkeypatch.setattr("sys.stderr", Terminal())
    assert progress_wanted()
    assert not Output.guess(["train", "--no-progress"]).progress
    assert Output.guess(["train", "--", "--no-progress"]).progress
    monkeypatch.setenv("SEMISEG_NO_PROGRESS", "1")
    assert not progress_wanted()
    monkeypatch.setenv("SEMISEG_NO_PROGRESS", "0")
    assert progress_wanted()


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with counted(Output(progress=True), "check") as tick:
        tick(1, 2)
        tick(2, 2)
    assert "check" in screen.getvalue()
    assert "2/2" in screen.getvalue()


def test_no_color_is_honored(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.text import Text

    for colorless in (False, True):
        screen = Terminal()
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        if colorless:
            monkeypatch.setenv("NO_COLOR", "1")
        Output().text(Text("word", style="red"))
        assert ("\x1b[31m" in screen.getvalue()) is not colorless


def test_lines_instead_of_a_bar_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with counted(Output(progress=False), "check") as tick:
        tick(1, 3)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("semiseg.cli.output.SECONDS_BETWEEN_LINES", 0.0)
        tick(2, 3)
    assert capsys.readouterr().err == "check: 2 of 3\n"
    with counted(Output(progress=False, verbosity=-1), "check") as tick:
        tick(3, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("0.9 ± 0.1 …", "ascii", "0.9 +- 0.1 ..."),
        ("0.9 ± 0.1", "utf-8", "0.9 ± 0.1"),
        ("ü ±", "latin-1", "ü ±"),
    ],
)
def test_what_a_terminal_lacks_is_spelled(text: str, encoding: str, shown: str) -> None:
    assert spelled(text, encoding) == shown
