"""The top of the page: what was compared, in one line and a few facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from semiseg.metrics.case import DISTANCES
from semiseg.report.comparison.html import Markup, tag
from semiseg.report.comparison.words import DASH, count, listed

if TYPE_CHECKING:
    from semiseg.comparison.result import Comparison


def title_of(comparison: Comparison) -> str:
    """``11 methods on Dataset104_Hippocampus``."""
    names = {arm.name for board in comparison.boards for arm in board.arms if arm.bound != "upper"}
    return f"{count(len(names), 'method')} on {listed(list(comparison.datasets)) or 'no dataset'}"


def head(comparison: Comparison) -> Markup:
    """Title and facts."""
    facts = [(name, value) for name, value in _facts(comparison).items() if value]
    return tag(
        "header",
        tag("button", "Light / dark", id="theme", type="button", hidden=True),
        tag("h1", title_of(comparison)),
        tag(
            "p",
            f"Compared case by case in {comparison.metric}. Every number comes from the runs' own files.",
            class_="note",
        ),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts"),
    )


def _facts(comparison: Comparison) -> dict[str, str]:
    boards = comparison.boards
    runs = [run for board in boards for arm in board.arms for run in arm.runs]
    own = [arm for board in boards for arm in board.arms if arm.bound != "upper"]
    convention = comparison.convention
    if any(metric in DISTANCES for metric in comparison.metrics):
        convention += f", distances in {comparison.unit}"
    return {
        "labels": _distinct(board.budget for board in boards),
        "baseline": _distinct(board.baseline or DASH for board in boards),
        "seeds per method": _range(len(arm.seeds) for arm in own),
        "cases scored": _distinct(f"{len(board.cases)} {board.source}" for board in boards),
        "iterations": _range(run.iterations for run in runs),
        "protocol": _distinct(str(run.manifest.get("protocol") or DASH) for run in runs),
        "weights": _distinct(str(run.manifest.get("selection") or DASH) for run in runs),
        "metric convention": convention,
    }


def _distinct(values: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(values)), most=8)


def _range(values: Iterable[int]) -> str:
    known = sorted(set(values))
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else "".join(map(str, known))
