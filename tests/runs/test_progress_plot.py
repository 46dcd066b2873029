from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.runs.events import Ended, Event, Started, Stepped, Validated
from semiseg.runs.log import FileLog
from semiseg.runs.progress_plot import ProgressPlot, _panels, draw


def story() -> list[Event]:
    steps = [
        Stepped(i, 100, "train", 0.01, {"loss": 1 / i, "consistency": 1e-4, "weight": i / 100}, 3.0, 1.0)
        for i in range(10, 101, 10)
    ]
    return [Started(0, 100), *steps, Validated(100, {"dice": 0.5, "dice/organ": 0.5}, True)]


def test_drawn_at_the_end_with_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "progress.png"
    listeners = [FileLog(tmp_path), ProgressPlot(path, tmp_path, every=1e9)]
    for event in (*story(), Ended(100, "finished", 9.0)):
        for listener in listeners:
            listener(event)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.std() > 5
    assert pixels.shape[0] > 700  # four panels: loss, method, validation, learning rate
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.jsonl", "metrics.csv", "progress.png"]


def test_drawn_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("semiseg.runs.progress_plot.draw", lambda path, rows, title: drawn.append(len(rows)))
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    listeners = [FileLog(tmp_path), ProgressPlot(tmp_path / "progress.png", tmp_path, every=30)]
    for event in story():
        now[0] += 7
        for listener in listeners:
            listener(event)
    assert drawn == [4, 9]


def test_nothing_to_draw_writes_nothing(tmp_path: Path) -> None:
    ProgressPlot(tmp_path / "progress.png", tmp_path)(Ended(0, "interrupted", 1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    FileLog(tmp_path)(story()[1])
    (tmp_path / "file").write_text("")
    ProgressPlot(tmp_path / "file" / "progress.png", tmp_path)(Ended(10, "finished", 1.0))
    assert "cannot draw" in caplog.text


def test_shares_of_classes_have_a_panel_of_their_own(tmp_path: Path) -> None:
    rows: list[dict[str, str | float]] = []
    for step in (10, 20, 30):
        shares = {"share/labels/a": 0.1, "share/labeled/a": 0.09, "share/unlabeled/a": 0.1 - step / 400}
        gone = {"share/labels/b": 0.0, "share/labeled/b": 0.0, "share/unlabeled/b": 0.0}
        rows.append({"event": "stepped", "step": step, "lr": 0.1, "loss": 1.0, **(shares | gone)})
    panels = dict(_panels(rows))
    assert panels["of the method"] == {}
    found = panels["predicted / labels"]
    assert found.keys() == {
        "share/labeled/a",
        "share/unlabeled/a",
    }  # b has no share in the labels to compare with
    assert found["share/unlabeled/a"] == ([10, 20, 30], pytest.approx([0.75, 0.5, 0.25]))
    draw(tmp_path / "with.png", rows)
    draw(tmp_path / "without.png", [{k: v for k, v in row.items() if "share" not in k} for row in rows])
    heights = [Image.open(tmp_path / name).height for name in ("with.png", "without.png")]
    assert heights[0] > heights[1]
