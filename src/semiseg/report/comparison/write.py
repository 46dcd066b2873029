"""Comparison in, files out: the page, and every figure for a paper."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.atomic import atomic_file, write_text
from semiseg.report.comparison.examples import Example, examples_of
from semiseg.report.comparison.gallery import Plate, plates_of_board, plates_of_dataset
from semiseg.report.comparison.page import Drawn, page
from semiseg.report.comparison.paper import Rendered, rendered

if TYPE_CHECKING:
    from semiseg.comparison.result import Board, Comparison

MOST_EXAMPLES = 40
"""Arms with pictures, over all boards: three of about 15 kB each."""


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/NAME.svg`` and ``.pdf``, each whole or not at all.

    The page comes last, so that whoever sees it finds the figures that it names.

    Args:
        comparison: from :func:`semiseg.comparison.compare.compare`.
        folder: made when it does not exist; files of the same name are replaced.

    Returns:
        What was written, the page first.

    Raises:
        OSError: the folder cannot be written.
    """
    boards = {i: _drawn(plates_of_board(comparison, board)) for i, board in enumerate(comparison.boards)}
    datasets = {name: _drawn(plates_of_dataset(comparison, name)) for name in comparison.datasets}
    written = []
    for entry, drawing in (pair for pairs in (*boards.values(), *datasets.values()) for pair in pairs):
        if drawing is not None:
            written += _save(drawing, folder / "figures" / entry.name)
    report = folder / "report.html"
    write_text(report, page(comparison, Drawn(boards, datasets, _Pictures(comparison))))
    return [report, *written]


def _drawn(plates: Iterable[Plate]) -> list[tuple[Plate, Rendered | None]]:
    return [(plate, None if plate.lacking else rendered(plate.draw())) for plate in plates]


def _save(drawing: Rendered, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "pdf")]
    for path, content in zip(paths, (drawing.svg, drawing.pdf), strict=True):
        with atomic_file(path) as stream:
            stream.write(content)
    return paths


class _Pictures:
    """Pictures of arms, as many as a page should hold."""

    def __init__(self, comparison: Comparison) -> None:
        self._metric = comparison.metric
        self._left = MOST_EXAMPLES

    def __call__(self, board: Board, name: str) -> list[Example] | None:
        if self._left <= 0:
            return None
        self._left -= 1
        return examples_of(board.arm(name), self._metric)
