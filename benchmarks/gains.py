"""What unlabeled scans gained, from the tables of benchmarks/results: the tables of README and docs.

`python benchmarks/page.py` writes them. A table that is not there yet is left out; it appears once it exists.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
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
    units: int
    """Training scans or patients in all."""
    cases_per_unit: int = 1


DATA = (
    Data(
        "left_atrium_half",
        "Left atrium MRI, 3D",
        "左心房 MRI，3D",
        ("scans", "例影像"),
        ("one CPU thread, busy machine", "一个 CPU 线程，机器繁忙"),
        80,
    ),
    Data(
        "hippocampus",
        "Hippocampus MRI, 3D",
        "海马体 MRI，3D",
        ("scans", "例影像"),
        ("one CPU thread, busy machine", "一个 CPU 线程，机器繁忙"),
        160,
    ),
    Data(
        "acdc_published",
        "Cardiac cine MRI, 2D",
        "心脏电影 MRI，2D",
        ("patients", "位患者"),
        ("one CPU thread, busy machine", "一个 CPU 线程，机器繁忙"),
        70,
        cases_per_unit=2,
    ),
)
"""In the order of the tables; figure 1 shows the first that exists with its bound."""

METHOD = "fixmatch"
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


def all_labels(board: Board) -> dict[str, Any] | None:
    """Supervised training with all labels; None where it has not been run."""
    return next((arm for arm in board["arms"] if arm["bound"] == "upper"), None)


def score(board: Board, arm: str, metric: str = "Dice") -> dict[str, Any]:
    return next(s for s in board["summaries"] if (s["arm"], s["metric"], s["label"]) == (arm, metric, None))


def case_scores(data: Data, board: Board, name: str) -> list[float]:
    """Dice of each test scan, its mean over classes and runs, from the scores that are kept of each run."""
    found = defaultdict(list)
    with zipfile.ZipFile(RESULTS / "runs" / f"{data.table}.zip") as kept:
        for run in arm(board, name)["runs"]:
            text = kept.read(f"{run['folder']}/test/metrics.csv").decode()
            for row in csv.DictReader(text.splitlines()):
                found[row["case"]].append(float(row["Dice"]))
    return [fmean(found[case]) for case in board["cases"]]


def gain(board: Board, arm: str) -> dict[str, Any] | None:
    tests = (test for test in board["against_baseline"] if (test["a"], test["metric"]) == (arm, "Dice"))
    return next(tests, None)


def best_two(board: Board) -> list[str]:
    """The two methods of highest Dice, beside supervised training and the default method of any length."""
    shown = (METHOD, arm(board, board["baseline"])["method"])
    names = [a["name"] for a in board["arms"] if a["bound"] is None and a["method"] not in shown]
    return sorted(names, key=lambda name: -score(board, name)["mean"])[:2]


# --- the README's table


HEADS = {
    "en": ("Data", "Labeled", "Supervised", "+ unlabeled, FixMatch", "All labels", "Runs", "Time of one"),
    "zh": ("数据", "有标注", "全监督基线", "+ 无标注，FixMatch", "全部标注", "次数", "单次时间"),
}


def filled(path: Path) -> str:
    """A page with the lines between its two `gains` comments replaced by the table of :func:`expectation`."""
    language = "zh" if "zh" in path.name else "en"
    text = path.read_text(encoding="utf-8")
    marks = r"(?s)(<!-- gains -->)\n.*?(<!-- /gains -->)"
    return re.sub(marks, lambda match: f"{match[1]}\n\n{expectation(language)}\n\n{match[2]}", text)


def expectation(language: str = "en") -> str:
    """One row per dataset: supervised, the default method, all labels, number of runs, minutes."""
    word = 0 if language == "en" else 1
    rows = [HEADS[language], ["---"] * len(HEADS[language])]
    for data, board in boards():
        found = [arm(board, board["baseline"]), arm(board, METHOD), all_labels(board)]
        arms = [arm for arm in found if arm is not None]
        some, every = arms[0]["labeled"] // data.cases_per_unit, data.units
        minutes = sorted(round(arm["cost"]["minutes"]) for arm in arms if arm["cost"]["minutes"])
        span = "-".join(dict.fromkeys((str(minutes[0]), str(minutes[-1]))))
        unit = data.unit[word]
        labeled = f"{some} of {every} {unit}" if language == "en" else f"{every} {unit}中的 {some} {unit[0]}"
        time = f"{span} min, {data.machine[0]}" if language == "en" else f"{span} 分钟，{data.machine[1]}"
        rows.append(
            [
                data.title if language == "en" else data.chinese,
                labeled,
                *(f"{score(board, arm['name'])['mean']:.3f}" if arm else "" for arm in found),
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
    bound = [upper["name"]] if upper else []
    for name in (board["baseline"], METHOD, *best_two(board), *bound):
        found, test = score(board, name), gain(board, name)
        spread = "" if found["sd"] is None else f" ± {found['sd']:.3f}"
        more = f"{test['difference']:+.3f}" if test else ""
        interval = f"[{test['interval']['low']:+.3f}, {test['interval']['high']:+.3f}]" if test else ""
        named = (
            f"supervised, all {data.units} {data.unit[0]} labeled"
            if name in bound
            else f"[`{name}`](methods/{arm(board, name)['method']}.md)"
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
