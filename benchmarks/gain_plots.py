"""The plots of README and docs: what unlabeled scans gained. Plain SVG, the same on every machine."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

import gains

INKS = {
    "": ("#24292f", "#6e7781", "#0969da", "#bf5700"),
    "-dark": ("#e6edf3", "#8d96a0", "#58a6ff", "#f0883e"),
}
"""End of the file's name -> text, rules, points, highlight."""
FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif'"


def drawings() -> dict[str, str]:
    """File name -> SVG, each for light and dark pages; figure 1 only where a table has its upper bound."""
    bounded = any(gains.all_labels(board) for _, board in gains.boards())
    draws = {"gap": gap, "gains": forest} if bounded else {"gains": forest}
    return {f"{name}{end}.svg": draw(*ink) for end, ink in INKS.items() for name, draw in draws.items()}


def gap(ink: str, rule: str, point: str, high: str) -> str:
    """Figure 1: Dice with few labels, with unlabeled scans, and with all labels; every test scan is a dot."""
    bounded = ((data, board, gains.all_labels(board)) for data, board in gains.boards())
    data, board, upper = next(found for found in bounded if found[2])
    names = (board["baseline"], gains.METHOD, upper["name"])
    scores = [gains.score(board, name) for name in names]
    some, every = gains.arm(board, names[0])["labeled"] // data.cases_per_unit, data.units
    rest = every - some
    titles = (
        f"{some} labels, supervised",
        f"{some} labels + {rest} unlabeled, FixMatch",
        f"{every} labels, supervised",
    )
    dots = [gains.case_scores(data, board, name) for name in names]
    edge = 0.005
    start, stop = round(min(map(min, dots)) - edge, 2), round(max(map(max, dots)) + edge, 2)
    left, right, height, above = 24, 476, 52, 56

    def x(value: float) -> float:
        return left + (value - start) / (stop - start) * (right - left)

    parts, means = [], [score["mean"] for score in scores]
    bottom = above + 3 * height
    step, digits = _ticks(stop - start)
    for number in range(math.ceil(start / step - 1e-9), math.floor(stop / step + 1e-9) + 1):
        value = number * step
        parts.append(_line(x(value), above, x(value), bottom, rule, 0.5, 0.4))
        parts.append(_text(x(value), bottom + 16, f"{value:.{digits}f}", rule, 11, "middle"))
    for row, (title, found) in enumerate(zip(titles, scores, strict=True)):
        y = above + height * row + 34
        color = high if row == 1 else point
        mean = found["mean"]
        parts.append(_text(left, y - 17, title, ink, 13, "start"))
        parts += [_dot(x(value), y, 3, rule, 0.55) for value in dots[row]]
        parts.append(_dot(x(mean), y, 6, color))
        parts.append(_text(x(mean), y - 10, f"{mean:.3f}", ink, 13, "middle", bold=True))
    share = (means[1] - means[0]) / (means[2] - means[0])
    parts.append(_line(x(means[0]), above - 8, x(means[2]), above - 8, ink, 1, 1))
    parts += [_line(x(m), above - 12, x(m), above - 4, ink, 1, 1) for m in (means[0], means[2])]
    parts.append(_text(left, 18, f"The gap that {rest} more labels close;", ink, 13, "start"))
    parts.append(_text(left, 36, f"unlabeled scans close {100 * share:.0f} % of it", ink, 13, "start"))
    axis = f"Dice of each of {len(board['cases'])} test scans (small dots) and their mean"
    parts.append(_text(left, bottom + 34, axis, rule, 11, "start"))
    return _svg(
        500,
        bottom + 44,
        parts,
        f"{data.title}: mean Dice {means[0]:.3f} supervised with {some} labels, "
        f"{means[1]:.3f} with unlabeled scans, {means[2]:.3f} with all labels",
    )


def forest(ink: str, rule: str, point: str, high: str) -> str:
    """Difference to supervised training of each method, with its interval, a block per dataset."""
    width, left, row_height = 480, 124, 17
    blocks = []
    for data, board in gains.boards():
        tests = [t for t in board["against_baseline"] if t["metric"] == "Dice"]
        names = [a["name"] for a in board["arms"] if a["bound"] is None]
        tests = sorted((t for t in tests if t["a"] in names), key=lambda t: -t["difference"])
        blocks.append((data, tests))
    parts, y = [], 10.0
    for data, tests in blocks:
        ends = [v for t in tests for v in (t["interval"]["low"], t["interval"]["high"])]
        low, top = min(0.0, *ends), max(0.0, *ends)

        def x(value: float, low: float = low, top: float = top) -> float:
            return left + 10 + (value - low) / (top - low) * (width - left - 30)

        parts.append(_text(8, y + 14, data.title, ink, 14, "start", bold=True))
        begin = y + 22
        parts.append(_line(x(0), begin, x(0), begin + row_height * len(tests), ink, 1, 1))
        for row, test in enumerate(tests):
            middle = begin + row_height * (row + 0.5)
            color = high if test["a"] == gains.METHOD else point
            interval = test["interval"]
            parts.append(_text(left - 8, middle + 4, test["a"], ink, 12, "end"))
            parts.append(_line(x(interval["low"]), middle, x(interval["high"]), middle, color, 2, 0.6))
            parts.append(_dot(x(test["difference"]), middle, 4, color))
        bottom = begin + row_height * len(tests) + 14
        step, digits = _ticks(top - low)
        for number in range(round(low / step) - 1, round(top / step) + 2):
            if low - 1e-9 <= number * step <= top + 1e-9:
                label = f"{number * step:+.{digits}f}" if number else "0"
                parts.append(_text(x(number * step), bottom, label, rule, 11, "middle"))
        y = bottom + 22
    parts.append(
        _text(8, y, "difference in mean Dice to supervised training with the same labels", rule, 12, "start")
    )
    return _svg(
        width, y + 12, parts, "Difference in Dice to supervised training, each method, with 95 % intervals"
    )


def _ticks(span: float) -> tuple[float, int]:
    """The finest round step of an axis whose labels do not touch, and the decimals of a label."""
    steps = ((0.005, 3), (0.01, 2), (0.02, 2), (0.05, 2), (0.1, 1))
    return next(((step, digits) for step, digits in steps if span / step <= MOST_TICKS), steps[-1])


MOST_TICKS = 6
"""Labels of an axis: each is 40 of its 320 units wide."""


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float, opacity: float) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{color}' "
        f"stroke-width='{width}' stroke-opacity='{opacity}'/>"
    )


def _dot(x: float, y: float, radius: int, color: str, opacity: float = 1) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' fill='{color}' fill-opacity='{opacity:g}'/>"


def _text(x: float, y: float, text: str, color: str, size: int, anchor: str, *, bold: bool = False) -> str:
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' fill='{color}' font-size='{size}' "
        f"text-anchor='{anchor}'{weight} {FONT}>"
        f"{escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: list[str], title: str) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' role='img'>"
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"]) + "\n"
