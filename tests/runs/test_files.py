from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from semiseg.runs.events import Ended, Notice, Started, Stepped, Validated
from semiseg.runs.log import FileLog, read_metrics


def stepped(step: int, **values: float) -> Stepped:
    return Stepped(step, 100, "train", 0.01 / (step + 1), values or {"loss": 1 / step}, 3.3, 9.0)


def validated(step: int) -> Validated:
    return Validated(step, {"dice": step / 100, "dice/the organ, left": 0.1}, best=True)


def undisturbed(folder: Path) -> None:
    log = FileLog(folder)
    for event in (Started(0, 40), stepped(10), stepped(20, loss=0.1, cons=0.3), validated(20), stepped(30)):
        log(event)
    for event in (stepped(40, loss=0.2, other=1.0), validated(40), Ended(40, "finished", 12.0)):
        log(event)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_step_and_validation_with_every_column(tmp_path: Path) -> None:
    undisturbed(tmp_path)
    table = rows(tmp_path)
    assert [(r["event"], r["step"]) for r in table] == [
        ("stepped", "10"), ("stepped", "20"), ("validated", "20"),
        ("stepped", "30"), ("stepped", "40"), ("validated", "40"),
    ]  # fmt: skip
    assert list(table[0])[-5:] == ["loss", "cons", "val/dice", "val/dice/the organ, left", "other"]
    assert table[0]["cons"] == ""
    assert table[1]["cons"] == "0.3"
    assert table[2]["val/dice/the organ, left"] == "0.1"
    assert table[2]["best"] == "1"
    assert float(table[3]["loss"]) == 1 / 30  # every digit is kept


def test_events_are_json_with_iso_times(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    for event in (Started(0, 5), stepped(5, loss=math.nan), Notice(5, "précis", warning=True)):
        log(event)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [e["event"] for e in events] == ["started", "stepped", "notice"]
    assert events[1]["values"] == {"loss": None}
    assert events[2]["text"] == "précis"
    assert all("T" in e["time"] and ("+" in e["time"] or "-" in e["time"][10:]) for e in events)
    assert math.isnan(float(rows(tmp_path)[0]["loss"]))


@pytest.mark.parametrize("killed_after", [20, 30])
def test_a_killed_and_resumed_run_has_the_rows_of_an_undisturbed_one(
    tmp_path: Path, killed_after: int
) -> None:
    undisturbed(tmp_path / "whole")
    broken = tmp_path / "broken"
    first = FileLog(broken)
    for event in (Started(0, 40), stepped(10), stepped(20, loss=0.1, cons=0.3), validated(20)):
        first(event)
    if killed_after == 30:
        first(stepped(30))
    with (broken / "metrics.csv").open("a") as file:
        file.write("stepped,3")  # killed while writing
    with (broken / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-')

    second = FileLog(broken)  # the last checkpoint was at 20
    second(Notice(20, "resuming"))
    for event in (Started(20, 40), stepped(30), stepped(40, loss=0.2, other=1.0), validated(40)):
        second(event)
    assert (broken / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()
    events = [json.loads(line) for line in (broken / "events.jsonl").read_text().splitlines()]
    steps = [e["step"] for e in events if e["event"] in ("stepped", "validated")]
    assert steps == [10, 20, 20, 30, 40, 40]
    assert [e["event"] for e in events].count("started") == 2


def test_an_event_sent_again_at_the_resumed_step_is_no_second_row(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    for event in (Started(0, 40), stepped(10), validated(10), Started(10, 40), validated(10)):
        log(event)
    assert [r["event"] for r in rows(tmp_path)] == ["stepped", "validated"]


def test_starting_over_forgets_the_old_rows(tmp_path: Path) -> None:
    undisturbed(tmp_path)
    log = FileLog(tmp_path)
    log(Started(0, 40))
    log(stepped(10, loss=9.0))
    assert [(r["step"], r["loss"]) for r in rows(tmp_path)] == [("10", "9.0")]


def test_read_metrics_gives_numbers_and_leaves_blanks_out(tmp_path: Path) -> None:
    undisturbed(tmp_path)
    table = read_metrics(tmp_path)
    assert table[0]["step"] == 10.0
    assert table[0]["stage"] == "train"
    assert "cons" not in table[0]
    assert read_metrics(tmp_path / "nowhere") == []
