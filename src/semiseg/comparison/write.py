"""The files of a comparison."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from semiseg.atomic import write_text
from semiseg.claim import held
from semiseg.comparison.record import as_dict, per_case
from semiseg.comparison.result import Board, Comparison
from semiseg.errors import UsageError
from semiseg.report import comparison_lists as lists
from semiseg.report import comparison_tables as tables
from semiseg.report.comparison.words import listed
from semiseg.report.comparison.write import write as write_report
from semiseg.report.table import csv_rows, csv_text, latex, markdown

log = logging.getLogger("semiseg.compare")

FILES = ("table.csv", "per_case.csv", "pairs.csv", "table.tex", "table.md", "comparison.json", "report.html")
TEX_HEAD = "% \\usepackage{booktabs} in the preamble; \\resizebox{\\linewidth}{!}{...} where too wide\n"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every file of :data:`FILES`, and the figures, each whole or not at all.

    Returns:
        What was written, the report last.

    Raises:
        UsageError: the folder cannot be written.
    """
    log.info("writing tables and figures into %s", folder)
    boards = comparison.boards
    content = {
        "table.csv": csv_text(tables.scores(comparison, board) for board in boards),
        "per_case.csv": csv_rows(per_case(comparison)),
        "pairs.csv": csv_text(lists.pairs(comparison, board) for board in boards),
        "table.tex": TEX_HEAD + "\n".join(latex(tables.scores(comparison, board)) for board in boards),
        "table.md": as_markdown(comparison),
        "comparison.json": json.dumps(as_dict(comparison), indent=1, allow_nan=False) + "\n",
    }
    try:
        with held(folder, "-o"):
            for name, text in content.items():
                write_text(folder / name, text)
            report, *figures = write_report(comparison, folder)
    except OSError as error:
        raise UsageError(
            f"cannot write the comparison into {folder}: {error.strerror or error}",
            hint="choose another output folder with -o",
            code="NOT_WRITABLE",
        ) from error
    return [*(folder / name for name in content), *figures, report]


def as_markdown(comparison: Comparison) -> str:
    """Every table and every notice."""
    parts = ["# Comparison\n"]
    for board in comparison.boards:
        found = list(tables.shown(comparison, board, per_class=True))
        found += [lists.pairs(comparison, board)] if board.pairs else []
        found += [papers] if (papers := lists.papers(comparison, board)) else []
        parts += [markdown(table) for table in found]
        parts += [_bullets("Notices", board.notices), _bullets("Settings that differ", different(board))]
    parts.append(_bullets("Elsewhere", comparison.notices))
    return "\n".join(part for part in parts if part)


def different(board: Board) -> list[str]:
    """A line for each setting in which arms differ: its values and whose they are."""
    lines = []
    for found in board.differences:
        by_value: dict[str, list[str]] = {}
        for arm, values in found.values.items():
            text = " and ".join(_said(found.key, value) for value in values)
            by_value.setdefault(text, []).append(arm)
        key = found.key.removeprefix("config.")
        lines.append(f"{key}: " + "; ".join(f"{v} ({listed(arms)})" for v, arms in by_value.items()))
    return lines


def _said(key: str, value: object) -> str:
    return "not set" if value is None else str(value)[:9] if key.endswith(".commit") else str(value)


def _bullets(title: str, lines: list[str] | tuple[str, ...]) -> str:
    return f"## {title}\n\n" + "".join(f"- {line}\n" for line in lines) if lines else ""
