"""What unlabeled scans gained, from the tables of benchmarks/results: the tables of README and docs.

`python benchmarks/page.py` writes them. A table that is not there yet is left out; it appears once it exists.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Data:
    """A table whose first board is shown."""

    table: str
    title: str
    chinese: str
    unit: tuple[str, str]
    machine: tuple[str, str]
    cases_per_unit: int = 1


DATA = (
    Data(
        "left_atrium",
        "Left atrium MRI, 3D",
        "左心房 MRI，3D",
        ("scans", "例影像"),
        ("one CPU thread", "一个 CPU 线程"),
    ),
    Data(
        "hippocampus",
        "Hippocampus MRI, 3D",
        "海马体 MRI，3D",
        ("scans", "例影像"),
        ("two CPU cores", "两个 CPU 核"),
    ),
    Data(
        "acdc_small",
        "Cardiac cine MRI, 2D, half resolution, short runs",
        "心脏电影 MRI，2D，半分辨率，短训练",
        ("patients", "位患者"),
        ("one CPU core", "一个 CPU 核"),
        cases_per_unit=2,
    ),
)
"""In the order of the tables; figure 1 shows the first that exists."""

METHOD = "mean_teacher"
Board = dict[str, Any]


def boards() -> list[tuple[Data, Board]]:
    """Each dataset that has a table, with the board of its smallest number of labels."""
    found = []
    for data in DATA:
        path = RESULTS / f"{data.table}.json"
        if path.is_file():
            found.append((data, json.loads(path.read_text(encoding="utf-8"))["comparison"]["boards"][0]))
    return found


def arm(board: Board, name: str) -> dict[str, Any]:
    return next(arm for arm in board["arms"] if arm["name"] == name)


def all_labels(board: Board) -> dict[str, Any]:
    return next(arm for arm in board["arms"] if arm["bound"] == "upper")


def score(board: Board, arm: str, metric: str = "Dice") -> dict[str, Any]:
    return next(s for s in board["summaries"] if (s["arm"], s["metric"], s["label"]) == (arm, metric, None))


def gain(board: Board, arm: str) -> dict[str, Any] | None:
    tests = (test for test in board["against_baseline"] if (test["a"], test["metric"]) == (arm, "Dice"))
    return next(tests, None)


def best_two(board: Board) -> list[str]:
    """The two methods of highest Dice, beside supervised training and the mean teacher."""
    names = [
        a["name"]
        for a in board["arms"]
        if a["bound"] is None and a["name"] not in (METHOD, board["baseline"])
    ]
    return sorted(names, key=lambda name: -score(board, name)["mean"])[:2]


# --- the README's table


HEADS = {
    "en": ("Data", "Labeled", "Supervised", "+ unlabeled, mean teacher", "All labels", "Runs", "Time of one"),
    "zh": ("数据", "有标注", "全监督基线", "+ 无标注，均值教师", "全部标注", "次数", "单次时间"),
}


def filled(path: Path) -> str:
    """A page with the lines between its two `gains` comments replaced by the table of :func:`expectation`."""
    language = "zh" if "zh" in path.name else "en"
    text = path.read_text(encoding="utf-8")
    marks = r"(?s)(<!-- gains -->)\n.*?(<!-- /gains -->)"
    return re.sub(marks, lambda match: f"{match[1]}\n\n{expectation(language)}\n\n{match[2]}", text)


def expectation(language: str = "en") -> str:
    """One row per dataset: supervised, mean teacher, all labels, number of runs, minutes."""
    word = 0 if language == "en" else 1
    rows = [HEADS[language], ["---"] * len(HEADS[language])]
    for data, board in boards():
        arms = [arm(board, board["baseline"]), arm(board, METHOD), all_labels(board)]
        some, every = (arm["labeled"] // data.cases_per_unit for arm in (arms[0], arms[2]))
        minutes = sorted(round(arm["cost"]["minutes"]) for arm in arms if arm["cost"]["minutes"])
        span = "-".join(dict.fromkeys((str(minutes[0]), str(minutes[-1]))))
        unit = data.unit[word]
        labeled = f"{some} of {every} {unit}" if language == "en" else f"{every} {unit}中的 {some} {unit[0]}"
        time = f"{span} min, {data.machine[0]}" if language == "en" else f"{span} 分钟，{data.machine[1]}"
        rows.append(
            [
                data.title if language == "en" else data.chinese,
                labeled,
                *(f"{score(board, arm['name'])['mean']:.3f}" for arm in arms),
                " / ".join(str(arm["replicates"]) for arm in arms),
                time,
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# --- the page of results


def sections() -> list[str]:
    """A heading and a table of five rows per dataset."""
    return [f"## {data.title}\n\n{_five(data, board)}\n" for data, board in boards()]


def _five(data: Data, board: Board) -> str:
    labels = f"{board['labeled'] // data.cases_per_unit} labeled {data.unit[0]}"
    rows = [
        (f"Method, {labels}", "Dice", "Gain", "95 % interval", "HD95", "Runs"),
        ("---", "---:", "---:", "---:", "---:", "---:"),
    ]
    upper = all_labels(board)
    for name in (board["baseline"], METHOD, *best_two(board), upper["name"]):
        found, test = score(board, name), gain(board, name)
        spread = "" if found["sd"] is None else f" ± {found['sd']:.3f}"
        more = f"{test['difference']:+.3f}" if test else ""
        interval = f"[{test['interval']['low']:+.3f}, {test['interval']['high']:+.3f}]" if test else ""
        named = (
            f"supervised, all {upper['labeled'] // data.cases_per_unit} {data.unit[0]} labeled"
            if name == upper["name"]
            else f"[`{name}`](methods/{name}.md)"
        )
        distance = f"{score(board, name, 'HD95')['mean']:.2f}"
        rows.append(
            (
                named,
                f"{found['mean']:.3f}{spread}",
                more,
                interval,
                distance,
                str(arm(board, name)["replicates"]),
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


SHORT = ("left_atrium_small", "hippocampus_small")
"""Tables whose runs were too short for unlabeled scans to help."""


def too_short() -> str:
    """A paragraph and a table of runs in which the mean teacher did not help."""
    rows = ["| Data | Iterations | Supervised | Mean teacher | Gain |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in SHORT:
        board = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["comparison"]["boards"][0]
        means = [score(board, arm)["mean"] for arm in (board["baseline"], METHOD)]
        length = arm(board, METHOD)["runs"][0]["iterations"]
        data = f"{board['dataset'].partition('_')[2]}, {board['labeled']} labeled scans"
        shown = (data, str(length), *(f"{m:.3f}" for m in means), f"{means[1] - means[0]:+.3f}")
        rows.append("| " + " | ".join(shown) + " |")
    return "\n".join(["## Runs that were too short\n", TOO_SHORT, *rows, ""])


TOO_SHORT = """Too few steps undo the gain. With small batches and few iterations the mean teacher was below
supervised training. Always train `supervised` too; `semiseg sweep` does it by itself.
"""
