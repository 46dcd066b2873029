"""The JSON and the table: a row per case and memory setting, kept until it is measured again."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks._machine import described, machine

Row = dict[str, Any]
HEAD = """# Speed: our paths beside plain ones

Each line: a plain path, written by us in the style of the published codes (`benchmarks/speed/plain`), and
ours, in alternation in one process, with the same number of threads and under the same memory setting.
`default` is glibc's own; `tuned` keeps freed memory, which `semiseg train` sees to and the published codes
do not. Ratios are plain / ours of the medians, [lowest-highest] of neighboring calls; CPU seconds are those
of the whole process. The share of the limit is that of the fastest call, in CPU seconds: of the rate of a
float32 (plain) or bf16 (ours) matrix product, measured in the same process. Memory is the peak above the
imports, of two calls in a process of its own. OMP_WAIT_POLICY is passive: a waiting thread is no work.
"""
COLUMNS = ("what", "memory setting", "CPU s", "CPU", "wall s", "wall", "of the limit", "peak MB", "aim")


def write(path: Path, row: Row, arguments: list[str]) -> None:
    """Put a row among those of earlier commands, and write the table beside them."""
    about = machine()
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    found = {(row["case"], row["malloc"]): row for row in content["rows"]}
    key = row["case"], row["malloc"]
    mark = {"command": _command(arguments), "commit": about["commit"], "dirty": about["dirty"]}
    known = found.get(key, {})
    parts = known.get("made_by", {}) | {name: mark for name in ("seconds", "memory_mb") if name in row}
    found[key] = {**known, **row, "made_by": parts}
    content = {"machine": about, "rows": sorted(found.values(), key=lambda row: row["place"])}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(content), encoding="utf-8")


def _command(arguments: list[str]) -> str:
    """As it was given, without the folders of this machine."""
    hidden = ("--work", "--results", "--data")
    words = [
        word
        for n, word in enumerate(arguments)
        if not word.startswith(hidden) and (n == 0 or arguments[n - 1] not in hidden)
    ]
    return " ".join(["python benchmarks/speed/run.py", *words])


def line(row: Row) -> str:
    """One row for the eye."""
    cells = [_seconds(row, "cpu"), f"{_ratio(row, 'cpu')} CPU", f"{_ratio(row, 'wall')} wall"]
    return ", ".join([f"{row['case']} ({row['malloc']})", *cells, _limit(row), _memory(row)])


def table(content: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [HEAD, f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in content["rows"]:
        aim = f"{row['target']:g}x" if row.get("target") else ""
        cells = [row.get("title", row["case"]), row["malloc"], _seconds(row, "cpu"), _ratio(row, "cpu")]
        cells += [_seconds(row, "wall"), _ratio(row, "wall"), _limit(row), _memory(row), aim]
        lines.append("| " + " | ".join(cells) + " |")
    lines += _mixed(content["rows"])
    said = {row["title"]: row["agreement"] for row in content["rows"] if row.get("agreement")}
    lines += [
        "",
        "What was compared before timing:",
        "",
        *(f"- {title}: {text}" for title, text in said.items()),
    ]
    marks = [mark for row in content["rows"] for mark in row["made_by"].values()]
    commands = dict.fromkeys((mark["command"], (mark["commit"] or "")[:8], mark["dirty"]) for mark in marks)
    lines += ["", "Commands, and the commits they ran at:", ""]
    lines += [f"- `{c}` ({commit}{', changed' if dirty else ''})" for c, commit, dirty in commands]
    return "\n".join([*lines, "", described(content["machine"])]) + "\n"


def _seconds(row: Row, kind: str) -> str:
    if "seconds" not in row:
        return ""
    return " / ".join(f"{statistics.median(found[kind]):.3g}" for found in row["seconds"].values())


def _ratio(row: Row, kind: str) -> str:
    if "ratio" not in row:
        return ""
    found = row["ratio"][kind]
    return f"**{found['median']:.1f}x** [{found['lowest']:.1f}-{found['highest']:.1f}]"


def _limit(row: Row) -> str:
    if "of_limit" not in row:
        return ""
    plain, ours = row["of_limit"]["plain"], row["of_limit"]["ours"]
    return f"{plain['fp32']:.0%} / {ours.get('bf16', ours['fp32']):.0%}"


def _memory(row: Row) -> str:
    if "memory_mb" not in row:
        return ""
    plain, ours = (row["memory_mb"][side] for side in ("plain", "ours"))
    kind = "device" if "device" in plain else "rss"
    return f"{plain[kind]:.0f} / {ours[kind]:.0f} = {ours[kind] / plain[kind]:.2f}"


def _mixed(rows: list[Row]) -> list[str]:
    found = {(row["case"], row["malloc"]): row for row in rows if "seconds" in row}
    lines = []
    for (case, malloc), row in found.items():
        tuned = found.get((case, "tuned"))
        if malloc == "default" and tuned:
            plain = statistics.median(row["seconds"]["plain"]["cpu"])
            ours = statistics.median(tuned["seconds"]["ours"]["cpu"])
            lines.append(f"- {row['title']}: {plain:.3g} / {ours:.3g} = **{plain / ours:.1f}x**")
    head = "As they come, the plain path under `default` and ours under `tuned`, CPU seconds:"
    return ["", head, "", *lines] if lines else []
