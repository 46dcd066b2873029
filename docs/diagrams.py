"""A small diagram per method: which input goes through which network, and what teaches what. Plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Row = tuple[str, str]
"""An input of unlabeled scans, and the network that sees it."""
Link = tuple[int, int, str]
"""Row that teaches, row that learns (from 1), and the loss; a negative teacher means: each the other."""


@dataclass(frozen=True)
class Diagram:
    """What is drawn below the row of labeled scans."""

    network: str
    """That learns from the labels."""
    rows: Sequence[Row] = ()
    links: Sequence[Link] = ()


EMA = "teacher: moving average"


def _taught(see: str, says: str, loss: str, student: str = "student", teacher: str = EMA) -> Diagram:
    return Diagram(student, [(see, teacher), (says, student)], [(1, 2, loss)])


def _pair(
    see: str, loss: str, one: str = "network 1", two: str = "network 2", both: str = "both networks"
) -> Diagram:
    return Diagram(both, [(see, one), (see, two)], [(-1, 2, loss)])


DIAGRAMS: dict[str, Diagram] = {
    "supervised": Diagram("network"),
    "entropy_min": Diagram("network", [("unlabeled", "network")], [(1, 1, "low entropy")]),
    "self_training": _taught(
        "unlabeled, whole scans", "unlabeled", "pseudo-labels, where sure", "network", "network of last round"
    ),
    "mean_teacher": _taught("unlabeled + noise", "unlabeled", "squared error"),
    "ua_mt": _taught("unlabeled + noise", "unlabeled", "squared error, where sure"),
    "ict": _taught("two unlabeled", "their mixture", "squared error to the mixed answers"),
    "tcsm": _taught("all, turned and scaled", "all scans", "squared error, turned back"),
    "upc": _taught("all scans", "all scans + noise", "cross-entropy by agreement, and KL"),
    "ac_mt": _taught("unlabeled + noise", "unlabeled", "squared error, ambiguous voxels"),
    "low_confidence": Diagram(
        "student",
        [("unlabeled + noise", EMA), ("unlabeled", "student")],
        [(1, 2, "squared error, where unsure"), (2, 2, "features to prototypes")],
    ),
    "dycon": Diagram(
        "student",
        [("all + noise", EMA), ("all scans", "student")],
        [(1, 2, "squared error by entropy"), (2, 2, "contrast of patches")],
    ),
    "ad_mt": _taught(
        "unlabeled, weak",
        "strong, or cut-mixed",
        "cross-entropy, where sure",
        teacher="teachers 1, 2 in turns",
    ),
    "cps": _pair("unlabeled", "cross-entropy to hard classes"),
    "cross_teaching": _pair("unlabeled", "Dice to hard classes", "CNN", "transformer"),
    "mcf": _pair("unlabeled", "the better teaches: squared error"),
    "cml": _pair("pasted boxes", "CE + Dice to pseudo-labels", two="network 2, unlike"),
    "co_da": _pair("unlabeled", "cross-entropy, aligned and filtered"),
    "r_drop": _pair("unlabeled", "KL in both directions"),
    "dhc": _pair("all scans", "cross-entropy, weighted by class"),
    "abd": Diagram(
        "both networks",
        [("unlabeled, weak", "network 1"), ("unlabeled, strong", "network 2")],
        [(-1, 2, "Dice, also of exchanged patches")],
    ),
    "traco_co": Diagram(
        "both networks",
        [("two crops", "network 1"), ("two crops", "network 2")],
        [(-1, 2, "sure classes; crops agree on overlap")],
    ),
    "reciprocal": Diagram(
        "teacher",
        [("unlabeled", "teacher"), ("unlabeled", "student")],
        [(1, 2, "pseudo-labels"), (1, 1, "did the student's step help on labels?")],
    ),
    "cct": Diagram(
        "encoder, all decoders",
        [("unlabeled", "encoder, main decoder"), ("disturbed maps", "three decoders")],
        [(1, 2, "squared error")],
    ),
    "mc_net": _pair(
        "all scans", "squared error to sharpened", "decoder 1", "decoder 2 (and 3)", "all decoders"
    ),
    "urpc": Diagram(
        "network, four scales", [("unlabeled", "network, four scales")], [(1, 1, "to the mean of the scales")]
    ),
    "dtc": _pair("all scans", "both heads agree", "class head", "distance head", "both heads"),
    "tcseg": _pair("unlabeled", "where all parts agree", "decoder 1", "decoder 2", "both decoders"),
    "dan": Diagram(
        "network", [("image, prediction", "critic"), ("unlabeled", "network")], [(1, 2, "look as if labeled")]
    ),
    "sassnet": Diagram(
        "class and distance head",
        [("image, distances", "critic"), ("unlabeled", "distance head")],
        [(1, 2, "look as if labeled")],
    ),
    "fixmatch": _taught(
        "unlabeled, weak", "unlabeled, strong", "cross-entropy, where sure", "network", "network"
    ),
    "deep_co_training": Diagram(
        "network",
        [("unlabeled", "network"), ("the same, turned", "network")],
        [(-1, 2, "squared error, turned back")],
    ),
    "bcp": _taught("unlabeled", "boxes pasted with labeled", "CE + Dice of pseudo-labels"),
    "unimatch": Diagram(
        "network",
        [
            ("unlabeled, weak", "network"),
            ("strong x 2, cut-mixed", "network"),
            ("weak", "network, features dropped"),
        ],
        [(1, 2, "Dice, where sure"), (1, 3, "Dice, where sure")],
    ),
    "crossmatch": Diagram(
        "network",
        [
            ("unlabeled, weak", "network"),
            ("strong x 2, cut-mixed", "network"),
            ("weak and strong", "features disturbed"),
        ],
        [(1, 2, "Dice, where sure"), (1, 3, "distillation, where sure")],
    ),
    "abd_bcp": Diagram(
        "both students",
        [("unlabeled", EMA), ("pasted boxes, weak", "student 1"), ("pasted boxes, strong", "student 2")],
        [(1, 2, "CE + Dice"), (-2, 3, "Dice, patches exchanged")],
    ),
    "sdcl": Diagram(
        "both students",
        [("unlabeled", EMA), ("pasted boxes", "student 1"), ("pasted boxes", "student 2, unlike")],
        [(1, 2, "CE + Dice"), (-2, 3, "review where they disagree")],
    ),
}
"""By name of the method."""

INK, RULE, PAPER = "#24292f", "#57606a", "#ffffff"
LABELED, UNLABELED, NETWORK = "#ddf4e4", "#e7f0fd", "#f3f4f6"
WIDTH, TOP, STEP, TALL = 690, 12, 48, 32
INPUT, NET, LOSS = (12, 178), (218, 396), 436
"""Left and right edge of the columns of boxes, left edge of the losses."""


def svg(title: str, drawn: Diagram) -> str:
    """The picture, on paper of its own so that it is readable on light and dark pages."""
    rows = [("labeled scans", drawn.network), *drawn.rows]
    height = TOP + STEP * len(rows)
    parts = [f"<rect width='{WIDTH}' height='{height}' rx='8' fill='{PAPER}'/>"]
    for number, (see, network) in enumerate(rows):
        y = TOP + STEP * number
        parts += _box(INPUT, y, see, UNLABELED if number else LABELED)
        parts += _box(NET, y, network, NETWORK)
        parts.append(_arrow(f"M{INPUT[1]},{y + TALL / 2} H{NET[0] - 2}"))
    parts += _loss(0, "supervised loss")
    bends = [LOSS + 14 * number for number in range(len(drawn.links))]
    for bend, (source, target, text) in zip(bends, drawn.links, strict=True):
        if source == target:
            parts += _loss(source, text)
        else:
            parts += _link(abs(source), target, text, both=source < 0, bend=bend, beside=max(bends) + 8)
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' role='img'>"
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", MARKER, *parts, "</svg>"]) + "\n"


MARKER = (
    "<defs><marker id='a' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
    f"orient='auto-start-reverse'><path d='M0,0 L8,4 L0,8 z' fill='{RULE}'/></marker></defs>"
)
FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif' font-size='13'"


def _box(edges: tuple[int, int], y: float, text: str, fill: str) -> list[str]:
    left, right = edges
    return [
        f"<rect x='{left}' y='{y}' width='{right - left}' height='{TALL}' rx='6' fill='{fill}' "
        f"stroke='{RULE}' stroke-width='0.8'/>",
        f"<text x='{(left + right) / 2}' y='{y + 21}' fill='{INK}' text-anchor='middle' {FONT}>"
        f"{escape(text)}</text>",
    ]


def _loss(row: int, text: str) -> list[str]:
    """The loss of a row alone; below the rows of labels it stands under the end of a curve."""
    y = TOP + STEP * row + TALL / 2 + (9 if row else 0)
    return [_arrow(f"M{LOSS},{y} H{NET[1] + 2}"), _text(LOSS + 6, y + 4, text)]


def _link(source: int, target: int, text: str, *, both: bool, bend: float, beside: float) -> list[str]:
    """A curve from the row that teaches to the one that learns, its loss beside it."""
    above, below = (TOP + STEP * row + TALL / 2 for row in (source, target))
    curve = f"M{NET[1] + 2},{above + 5} H{bend - 12} Q{bend},{above + 5} {bend},{above + 17} "
    curve += f"V{below - 17} Q{bend},{below - 5} {bend - 12},{below - 5} H{NET[1] + 2}"
    # near the row that learns, where no other curve has its text
    return [_arrow(curve, both=both), _text(beside, below - STEP / 2 + 2, text)]


def _arrow(path: str, *, both: bool = False) -> str:
    start = " marker-start='url(#a)'" if both else ""
    return f"<path d='{path}' fill='none' stroke='{RULE}' stroke-width='1.4' marker-end='url(#a)'{start}/>"


def _text(x: float, y: float, text: str) -> str:
    return f"<text x='{x}' y='{y:.0f}' fill='{INK}' {FONT}>{escape(text)}</text>"
