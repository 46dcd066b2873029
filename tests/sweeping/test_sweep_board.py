"""How far a sweep is: counts, time left, and the words for it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from semiseg.drawing.table import terminal
from semiseg.machine.worker import LocalWorkers
from semiseg.sweeping.grid import Scoring, SweepCell
from semiseg.sweeping.ledger import CellState
from semiseg.sweeping.progress import Lines, SweepProgress, cell_table, result_table, summary_line, watching
from semiseg.sweeping.run import Driver
from semiseg.sweeping.worker import share_done


def make_cell(name: str, *, variant: str = "supervised", dataset: str = "A", budget: str = "8") -> SweepCell:
    scoring = Scoring(
        score="test", convention="semiseg", nsd_tolerance=1.0, images="i", labels="l", cases=("a",)
    )
    facts = {"id": name, "training": name, "split": "s", "dataset": dataset, "root": "r", "variant": variant}
    return SweepCell(
        **facts,
        method=variant,
        network="unet",
        recipe="default",
        iterations=100,
        labeled=8,
        budget=budget,
        fold=0,
        seed=0,
        bound=None,
        config={},
        scoring=scoring,
        place=f"{dataset}/{name}",
    )


def done(name: str, seconds: float, **more) -> CellState:
    fields = {"state": "done", "attempts": 1, "seconds": seconds, "trained": 1.0, "result": {"Dice": 0.5}}
    return CellState(cell=make_cell(name, **more), **fields)


def waiting(name: str, **more) -> CellState:
    return CellState(cell=make_cell(name, **more))


def test_time_left_follows_the_cost_of_methods():
    assert SweepProgress([waiting("a")]).seconds_left is None
    assert SweepProgress([done("a", 10)]).seconds_left == 0
    assert SweepProgress([done("a", 10), waiting("b")]).seconds_left == pytest.approx(10)
    dear = SweepProgress([done("a", 10), waiting("b", variant="cps")])
    assert dear.seconds_left == pytest.approx(20), "two networks"
    shared = SweepProgress([done("a", 10), waiting("b"), waiting("c")], slots=2)
    assert shared.seconds_left == pytest.approx(10)


def test_time_left_knows_the_dataset_and_what_is_running():
    entries = [done("a", 10), done("b", 1000, dataset="B"), waiting("c", dataset="B")]
    assert SweepProgress(entries).seconds_left == pytest.approx(1000)
    running = CellState(cell=make_cell("a"), state="running", attempts=1)
    half = SweepProgress([running], running={"a": 30.0}, share={"a": 0.5})
    assert half.seconds_left == pytest.approx(30)


def test_time_left_is_told_from_what_was_trained_here():
    taken_over = done("a", 3).model_copy(update={"trained": 0.0})
    assert SweepProgress([taken_over, waiting("b")]).seconds_left is None
    a_quarter = done("a", 10).model_copy(update={"trained": 0.25})
    assert SweepProgress([taken_over, a_quarter, waiting("b")]).seconds_left == pytest.approx(40)
    resumed = CellState(cell=make_cell("a"), state="running", attempts=2)
    board = SweepProgress([resumed], running={"a": 30.0}, share={"a": 0.75}, before={"a": 0.5})
    assert board.seconds_left == pytest.approx(30)


def test_time_left_counts_what_an_interrupted_cell_has_done(tmp_path: Path):
    begun = waiting("b")
    (tmp_path / begun.cell.place).mkdir(parents=True)
    (tmp_path / begun.cell.place / "events.jsonl").write_text('{"step": 75}\n')
    driver = Driver(tmp_path, {}, [done("a", 40), begun], LocalWorkers(workers=1, devices="cpu"))
    assert driver.board().seconds_left == pytest.approx(10)


def test_given_up_cells_take_no_time():
    dead = CellState(cell=make_cell("b"), state="dead", attempts=3)
    assert SweepProgress([done("a", 10), dead]).seconds_left == pytest.approx(10)
    assert SweepProgress([done("a", 10), dead], given_up=frozenset({"b"})).seconds_left == 0


def test_summary():
    entries = [done("a", 90), waiting("b"), CellState(cell=make_cell("c"), state="failed")]
    assert summary_line(SweepProgress(entries)) == "1 of 3 done, 1 failed; 1 min 30 s left"


def test_share_done(tmp_path: Path):
    cell = make_cell("a")
    assert share_done(tmp_path, cell) == 0
    (tmp_path / cell.place).mkdir(parents=True)
    events = tmp_path / cell.place / "events.jsonl"
    events.write_text("".join(json.dumps({"step": step}) + "\n" for step in (10, 40)))
    assert share_done(tmp_path, cell) == pytest.approx(0.4)
    events.write_text('{"step": 10}\n{"st')
    assert share_done(tmp_path, cell) == 0


def test_lines_say_each_change_once():
    stream = io.StringIO()
    lines = Lines(stream)
    failed = CellState(cell=make_cell("b"), state="failed", attempts=1, error={"message": "no such thing"})
    for entries in ([waiting("a"), waiting("b")], [done("a", 5), waiting("b")], [done("a", 5), failed]) * 1:
        lines(SweepProgress(entries))
        lines(SweepProgress(entries))
    assert stream.getvalue().splitlines() == [
        "0 of 2 done",
        "A supervised labeled 8 seed 0: Dice 0.5000 in 5 s (1 of 2 done; 5 s left)",
        "A supervised labeled 8 seed 0: failed: no such thing (1 of 2 done, 1 failed)",
    ]


def printed(thing: object) -> str:
    console = Console(width=120, file=io.StringIO(), no_color=True)
    console.print(thing)
    return console.file.getvalue()


def test_tables():
    entries = [done("a", 5), waiting("b", budget="16"), done("c", 5, variant="bcp", budget="all")]
    text = printed(terminal(result_table(SweepProgress(entries))))
    heading = text.splitlines()[1]
    assert heading.index("labeled 8") < heading.index("labeled 16") < heading.index("labeled all")
    assert "0.5000" in text
    assert "(0/1)" in text
    assert "bcp" in printed(terminal(cell_table(SweepProgress(entries))))


def test_the_live_table_fits_any_terminal(monkeypatch):
    from semiseg.sweeping import progress

    entries = [done(str(i), 5, variant=f"v{i}") for i in range(40)]
    running = CellState(cell=make_cell("r"), state="running", attempts=1)
    board = SweepProgress([*entries, running], running={"r": 61.0}, share={"r": 0.25})
    assert "25% after 1 min 01 s" in printed(progress._moment(board, 20))
    assert len(printed(progress._moment(board, 20)).splitlines()) <= 20
    assert "v39" in printed(progress._moment(board, 60))


@pytest.mark.parametrize(("progress", "quiet"), [(True, False), (False, False), (False, True)])
def test_watching(progress, quiet, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    with watching(progress, quiet) as watch:
        watch(SweepProgress([waiting("a")]))
    said = capsys.readouterr().err
    assert ("0 of 1 done" in said) != quiet
