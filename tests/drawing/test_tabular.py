"""What notebooks show of results: tables that are safe, and rows for pandas."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semiseg
from semiseg.dataset.check import Report
from semiseg.dataset.problem import Problem
from semiseg.drawing import notebook
from semiseg.drawing.table import Column, Table, TableCell
from semiseg.errors import UsageError
from semiseg.prediction.record import CaseOutcome, PredictionReport
from semiseg.runs import events
from semiseg.runs.console import NotebookProgress

ODD = "<script>alert('x')</script>"


def test_a_table_escapes_every_text() -> None:
    table = Table(ODD, (Column(ODD),), ((TableCell(ODD, {"value": 1.5}, best=True),),), (ODD,))
    shown = table._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 4
    assert table.records() == [{"value": 1.5}]


def test_scores_and_reports_are_tables_with_rows() -> None:
    one = np.array([[0, 1], [1, 2]])
    scores = semiseg.evaluate(one, one, labels={"a": 1, "b": 2})
    assert ">a<" in scores._repr_html_()
    assert [(row["case"], row["class"], row["Dice"]) for row in scores.records()] == [
        ("case", "a", 1.0),
        ("case", "b", 1.0),
    ]
    cases = [
        CaseOutcome("x", "done", sizes={"a": 1.25}, unit="mL"),
        CaseOutcome("y", "failed", error={"message": ODD}),
    ]
    report = PredictionReport(Path("out"), {}, {}, "cpu", cases, 1.0)
    shown = report._repr_html_()
    assert "1 predicted, 0 already there, 1 failed" in shown
    assert "<script" not in shown
    assert report.records()[0]["a"] == 1.25
    problems = Report(Path("d"), [Problem("CODE", "something", case="c")])
    assert "not usable yet" in problems._repr_html_()


def test_frames_need_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.array([[0, 1]])
    scores = semiseg.evaluate(one, one)
    if importlib.util.find_spec("pandas") is not None:
        assert list(scores.to_frame()["Dice"]) == [1.0]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pandas" else find(name))
    with pytest.raises(UsageError, match="needs pandas"):
        scores.to_frame()


class Display:
    """Stands for IPython's display, whose outputs it keeps."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, content: str, display_id: bool) -> Any:
        self.shown.append(content)
        return self

    def update(self, content: str) -> None:
        self.shown[-1] = content


def test_a_bar_is_drawn_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook.notebook_bar("work") is None  # a test is no notebook
    screen = Display()
    module = types.ModuleType("IPython.display")
    module.HTML, module.display = str, screen.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    tell = NotebookProgress()
    tell(events.Preparing("reading scans", 1, 4))
    tell(events.Started(0, 20))
    tell(events.Notice(0, ODD, warning=True))
    tell(events.Validated(10, {"dice": 0.5}, True))
    tell(events.Ended(20, "finished", 61.0))
    assert len(screen.shown) == 1
    assert "value='20' max='20'" in screen.shown[0]
    assert "finished at iteration 20 after 1 min 01 s" in screen.shown[0]
    assert "validation Dice 0.500" in screen.shown[0]
    assert "<script" not in screen.shown[0]
