"""How far a sweep is: counts, time left, and the words for it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from semiseg.drawing.table import terminal
from semiseg.sweeping.board import Board
from semiseg.sweeping.executors.local import Local
from semiseg.sweeping.grid import Cell, Scoring
from semiseg.sweeping.ledger import Entry
from semiseg.sweeping.run import Driver
from semiseg.sweeping.table import Lines, cell_table, result_table, summary_line, watching
from semiseg.sweeping.worker import share_done


def make_cell(name: str, *, variant: str = "supervised", dataset: str = "A", budget: str = "8") -> Cell:
    scoring = Scoring(
        score="test", convention="semiseg", nsd_tolerance=1.0, images="i", labels="l", cases=("a",)
    )
    facts = {"id": name, "training": name, "split": "s", "dataset": dataset, "root": "r", "variant": variant}
    return Cell(
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


def done(name: str, seconds: float, **more) -> Entry:
    fields = {"state": "done", "attempts": 1, "seconds": seconds, "trained": 1.0, "result": {"Dice": 0.5}}
    return Entry(cell=make_cell(name, **more), **fields)


def waiting(name: str, **more) -> Entry:
    return Entry(cell=make_cell(name, **more))


def test_time_left_follows_the_cost_of_methods():
    assert Board([waiting("a")]).seconds_left is None
    assert Board([done("a", 10)]).seconds_left == 0
    assert Board([done("a", 10), waiting("b")]).seconds_left == pytest.approx(10)
    dear = Board([done("a", 10), waiting("b", variant="cps")])
    assert dear.seconds_left == pytest.approx(20), "two networks"
    shared = Board([done("a", 10), waiting("b"), waiting("c")], slots=2)
    assert shared.seconds_left == pytest.approx(10)


def test_time_left_knows_the_dataset_and_what_is_running():
    entries = [done("a", 10), done("b", 1000, dataset="B"), waiting("c", dataset="B")]
    assert Board(entries).seconds_left == pytest.approx(1000)
    running = Entry(cell=make_cell("a"), state="running", attempts=1)
    half = Board([running], running={"a": 30.0}, share={"a": 0.5})
    assert half.seconds_left == pytest.approx(30)


def test_time_left_is_told_from_what_was_trained_here():
    taken_over = done("a", 3).model_copy(update={"trained": 0.0})
    assert Board([taken_over, waiting("b")]).seconds_left is None
    a_quarter = done("a", 10).model_copy(update={"trained": 0.25})
    assert Board([taken_over, a_quarter, waiting("b")]).seconds_left == pytest.approx(40)
    resumed = Entry(cell=make_cell("a"), state="running", attempts=2)
    board = Board([resumed], running={"a": 30.0}, share={"a": 0.75}, before={"a": 0.5})
    assert board.seconds_left == pytest.approx(30)


def test_time_left_counts_what_an_interrupted_cell_has_done(tmp_path: Path):
    begun = waiting("b")
    (tmp_path / begun.cell.place).mkdir(parents=True)
    (tmp_path / begun.cell.place / "events.jsonl").write_text('{"step": 75}\n')
    driver = Driver(tmp_path, {}, [done("a", 40), begun], Local(workers=1, devices="cpu"))
    assert driver.board().seconds_left == pytest.approx(10)


def test_given_up_cells_take_no_time():
    dead = Entry(cell=make_cell("b"), state="dead", attempts=3)
    assert Board([done("a", 10), dead]).seconds_left == pytest.approx(10)
    assert Board([done("a", 10), dead], given_up=frozenset({"b"})).seconds_left == 0


def test_summary():
    entries = [done("a", 90), waiting("b"), Entry(cell=make_cell("c"), state="failed")]
    assert summary_line(Board(entries)) == "1 of 3 done, 1 failed; 1 min 30 s left"


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
    failed = Entry(cell=make_cell("b"), state="failed", attempts=1, error={"message": "no such thing"})
    for entries in ([waiting("a"), waiting("b")], [done("a", 5), waiting("b")], [done("a", 5), failed]) * 1:
        lines(Board(entries))
        lines(Board(entries))
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
    text = printed(terminal(result_table(Board(entries))))
    heading = text.splitlines()[1]
    assert heading.index("labeled 8") < heading.index("labeled 16") < heading.index("labeled all")
    assert "0.5000" in text
    assert "(0/1)" in text
    assert "bcp" in printed(terminal(cell_table(Board(entries))))


def test_the_live_table_fits_any_terminal(monkeypatch):
    from semiseg.sweeping import table

    entries = [done(str(i), 5, variant=f"v{i}") for i in range(40)]
    running = Entry(cell=make_cell("r"), state="running", attempts=1)
    board = Board([*entries, running], running={"r": 61.0}, share={"r": 0.25})
    assert "25% after 1 min 01 s" in printed(table._moment(board, 20))
    assert len(printed(table._moment(board, 20)).splitlines()) <= 20
    assert "v39" in printed(table._moment(board, 60))


@pytest.mark.parametrize(("progress", "quiet"), [(True, False), (False, False), (False, True)])
def test_watching(progress, quiet, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    with watching(progress, quiet) as watch:
        watch(Board([waiting("a")]))
    said = capsys.readouterr().err
    assert ("0 of 1 done" in said) != quiet
