"""One table, four ways: what is escaped, bold, marked and blank."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from semiseg.drawing.table import (
    Column,
    Table,
    TableCell,
    csv_text,
    heads,
    latex,
    latex_text,
    markdown,
    table_of,
    terminal,
)

TABLE = Table(
    "50 % of A_B & more",
    heads(("method", "Dice", "p")),
    (
        (
            TableCell("mean_teacher (a|b)", {"method": "mean_teacher"}),
            TableCell("0.9 ± 0.1", {"d": 0.9, "sd": 0.1}),
            TableCell(""),
        ),
        (
            TableCell("x^2", {"method": "x^2"}),
            TableCell("0.95", {"d": 0.95, "sd": float("nan")}, best=True, mark="†"),
            TableCell("< 0.001", {"p": 1e-9}),
        ),
    ),
    notes=("† differs.",),
    rules=frozenset({0}),
)


def test_markdown() -> None:
    assert markdown(TABLE).splitlines() == [
        "## 50 % of A_B & more",
        "",
        "| method | Dice | p |",
        "| --- | ---: | ---: |",
        "| mean\\_teacher (a\\|b) | 0.9 ± 0.1 |  |",
        "| x^2 | **0.95**† | \\< 0.001 |",
        "",
        "† differs.",
    ]


def test_latex() -> None:
    text = latex(TABLE)
    assert r"\caption{50 \% of A\_B \& more}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"mean\_teacher (a|b) & 0.9 $\pm$ 0.1 &  \\" in text
    assert r"x\textasciicircum{}2 & \textbf{0.95}$^{\dagger}$ & $<$ 0.001 \\" in text
    order = [text.index(rule) for rule in (r"\toprule", "method & Dice", r"\midrule", r"\bottomrule")]
    assert order == sorted(order)
    assert text.count(r"\midrule") == 2  # below the head, and the rule after row 0
    assert r"\footnotesize $^{\dagger}$ differs." in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a_b", r"a\_b"), ("\\{}", r"\textbackslash{}\{\}"), ("5 %$#&~", r"5 \%\$\#\&\textasciitilde{}")],
)
def test_latex_characters(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    source = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + latex(TABLE)
    (tmp_path / "t.tex").write_text(source + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_has_every_digit_and_blanks() -> None:
    other = Table("", heads(("method", "e")), ((TableCell("y", {"method": "y"}), TableCell("1", {"e": 1})),))
    rows = list(csv.DictReader(io.StringIO(csv_text([TABLE, other]))))
    assert rows == [
        {"method": "mean_teacher", "d": "0.9", "sd": "0.1", "p": "", "e": ""},
        {"method": "x^2", "d": "0.95", "sd": "", "p": "1e-09", "e": ""},
        {"method": "y", "d": "", "sd": "", "p": "", "e": "1"},
    ]


def test_the_terminal_takes_text_literally() -> None:
    stream = io.StringIO()
    table = Table("[bold]title", heads(("[red]a",)), ((TableCell("[/] [link]"),),))
    Console(file=stream, width=60).print(terminal(table))
    assert "[bold]title" in stream.getvalue()
    assert "[/] [link]" in stream.getvalue()


def test_rows_are_sorted_by_a_value_of_the_column_and_what_has_none_stays_last() -> None:
    nan, inf = float("nan"), float("inf")
    distance = Column("HD95", key="d"), lambda value: TableCell("", {"other": 0, "d": value})
    table = table_of("", [0.25, nan, inf, None], [("name", lambda value: f"row {value}"), distance])
    assert [table.sort_key(row, 1) for row in range(4)] == [0.25, "", 1e300, ""]
    assert table.sort_key(0, 0) == "row 0.25"
    assert [column.number for column in table.columns] == [False, True]


def test_the_state_of_a_cell_is_its_color() -> None:
    stream = io.StringIO()
    table = table_of(
        "", ["failed", "done"], [("cell", str), ("state", lambda state: TableCell(state, state=state))]
    )
    Console(file=stream, width=60, force_terminal=True, color_system="standard").print(terminal(table))
    assert "\x1b[31mfailed\x1b[0m" in stream.getvalue()
    assert stream.getvalue().count("\x1b[31m") == 1
