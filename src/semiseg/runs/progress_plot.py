"""``progress.png``: the curves of a run, drawn while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.drawing.palette import INK, colors
from semiseg.machine.files import replacing
from semiseg.runs.events import SHARE_PREFIX, Ended, Event, Stepped, Validated
from semiseg.runs.log import VALIDATION_PREFIX, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger("semiseg.report")

DRAWING_SHARE = 0.01
"""Of the run's time that drawing may take."""

Row = dict[str, str | float]


class ProgressPlot:
    """Listener that redraws loss, validation Dice and learning rate now and then, and at the end.

    It reads ``metrics.csv``, so it belongs after :class:`~semiseg.runs.log.FileLog` in the list of
    listeners, and a resumed run shows its whole history.
    """

    def __init__(self, path: Path, folder: Path, *, every: float = 30.0) -> None:
        self.path = path
        self.folder = folder
        self.every = every
        self._next = time.monotonic() + every

    def __call__(self, event: Event) -> None:
        """Draw when it is time to."""
        due = isinstance(event, Stepped | Validated) and time.monotonic() >= self._next
        if isinstance(event, Ended) or due:
            started, title = time.monotonic(), f"{self.folder.parent.name}   {self.folder.name}"
            try:
                draw(self.path, read_metrics(self.folder), title=title)
            except OSError as error:  # a full disk must not end a run for the sake of a picture
                logger.warning("cannot draw %s: %s", self.path, error)
            now = time.monotonic()
            self._next = now + max(self.every, (now - started) / DRAWING_SHARE)


def draw(path: Path, rows: Sequence[Row], *, title: str = "") -> None:
    """Write the curves of ``metrics.csv`` rows as a PNG; nothing is written when there is no row."""
    if not rows:
        return
    from matplotlib.figure import Figure

    panels = [panel for panel in _panels(rows) if panel[1]]
    heights = [1.0 if name == "learning rate" else 2.0 for name, _ in panels]
    size = (8.0, 1.2 + 1.15 * sum(heights))
    figure = Figure(figsize=size, dpi=120)
    figure.subplots_adjust(**_margins(size, panels), hspace=0.2)  # a layout engine would double the time
    axes: list[Axes] = list(
        figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    )
    for axis, (name, curves) in zip(axes, panels, strict=True):
        _draw_panel(axis, name, curves)
        axis.yaxis.set_label_coords(-0.65 / (size[0] * axis.get_position().width), 0.5)
    _mark_best(axes, panels, rows)
    axes[-1].set_xlabel("iteration")
    figure.suptitle(title, y=1 - 0.25 / size[1], fontsize=11, color=INK)
    with replacing(path) as temporary:
        figure.savefig(temporary)


Curves = dict[str, tuple[list[float], list[float]]]


def _margins(size: tuple[float, float], panels: Sequence[tuple[str, Curves]]) -> dict[str, float]:
    """Space around the panels, with that of the longest name in a legend, as shares of the figure."""
    names = [_legend_name(key) for _, curves in panels if len(curves) > 1 for key in curves]
    legend = 0.5 + 0.062 * max(map(len, names), default=0)  # inches: a line and its name at 8 points
    width, height = size
    right = 1 - min(legend, width / 2) / width
    return {"left": 0.95 / width, "right": right, "bottom": 0.5 / height, "top": 1 - 0.5 / height}


def _panels(rows: Sequence[Row]) -> list[tuple[str, Curves]]:
    steps = [row for row in rows if row["event"] == "stepped"]
    names = [name for name in dict.fromkeys(k for row in steps for k in row) if name not in _NOT_CURVES]
    losses = [name for name in names if name.startswith("loss")]
    shares = [name for name in names if name.startswith(SHARE_PREFIX)]
    others = [name for name in names if name not in (*losses, *shares)]
    scores = [name for name in dict.fromkeys(k for row in rows for k in row) if name.startswith("val/")]
    return [
        ("training loss", _curves(steps, losses)),
        ("of the method", _curves(steps, others)),
        (SHARES, _relative(_curves(steps, shares))),
        ("validation Dice", _curves(rows, scores)),
        ("learning rate", _curves(steps, ["lr"])),
    ]


SHARES = "predicted / labels"
"""Panel: what a class has of the voxels of unlabeled (and labeled) scans, as a multiple of what it has in the
labels."""


def _relative(curves: Curves) -> Curves:
    """Each class' predicted share over that of the labels: of the same crops for labeled scans, of all for
    unlabeled ones. A class without a label is left out.
    """
    found: Curves = {}
    for key, (x, y) in curves.items():
        kind, name = key.removeprefix(SHARE_PREFIX).split("/", 1)
        labels = curves.get(f"{SHARE_PREFIX}labels/{name}", ([], []))[1]
        mean = sum(labels) / max(len(labels), 1)
        if kind == "unlabeled" and mean > 0:
            found[key] = (x, [value / mean for value in y])
        elif kind == "labeled" and mean > 0:
            pairs = [(at, value / own) for at, value, own in zip(x, y, labels, strict=True) if own > 0]
            found[key] = ([at for at, _ in pairs], [value for _, value in pairs])
    return found


_NOT_CURVES = {"event", "step", "stage", "lr", "best", "iterations_per_second"}


def _curves(rows: Sequence[Row], names: Sequence[str]) -> Curves:
    return {
        name: ([float(r["step"]) for r in rows if name in r], [float(r[name]) for r in rows if name in r])
        for name in names
        if any(name in r for r in rows)
    }


def _draw_panel(axis: Axes, name: str, curves: Curves) -> None:
    main = "val/dice" if name == "validation Dice" else "loss"
    if name == SHARES:
        _draw_shares(axis, curves)
        return
    palette = iter(colors(len(curves)))
    for key, (x, y) in curves.items():
        color = INK if key in (main, "lr") else next(palette)
        points: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(x) <= 40 else {}
        width = 1.8 if key in (main, "lr") else 1.2
        axis.plot(x, y, color=color, linewidth=width, label=_legend_name(key), **points)
    _dress(axis, name)
    if name == "validation Dice":
        axis.set_ylim(0, 1)
    if name == "learning rate":
        axis.set_ylim(bottom=0)
    if name == "of the method" and _unlike(curves):
        axis.set_yscale("log")
    if len(curves) > 1:
        _add_legend(axis)


def _draw_shares(axis: Axes, curves: Curves) -> None:
    """One color per class: a line for unlabeled scans, dots for labeled ones."""
    names = list(dict.fromkeys(map(_class_of, curves)))
    for name, color in zip(names, colors(len(names)), strict=True):
        x, y = curves[f"{SHARE_PREFIX}unlabeled/{name}"]
        axis.plot(x, y, color=color, linewidth=1.4, marker="o", markersize=3.5, label=name)
        x, y = curves[f"{SHARE_PREFIX}labeled/{name}"]
        axis.plot(x, y, color=color, linewidth=0.9, linestyle=":")
    axis.axhline(1.0, color=INK, linewidth=0.8)
    _dress(axis, SHARES)
    axis.set_ylim(bottom=0)
    title = "shares of the classes: unlabeled scans (lines), labeled scans (dots)"
    axis.set_title(title, fontsize=8, color=INK)
    _add_legend(axis)


def _dress(axis: Axes, name: str) -> None:
    axis.set_ylabel(name)
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _add_legend(axis: Axes) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _unlike(curves: Curves) -> bool:
    """Whether the values are positive and of such unlike size that the small ones would lie on the axis."""
    sizes = [max(y) for _, y in curves.values()]
    return min(min(y) for _, y in curves.values()) > 0 and max(sizes) > 20 * min(sizes)


def _class_of(share: str) -> str:
    return share.split("/", 2)[2]


def _legend_name(key: str) -> str:
    if key.startswith(SHARE_PREFIX):
        return _class_of(key)
    name = key.removeprefix(VALIDATION_PREFIX)
    return {"loss": "total", "dice": "mean", "lr": "learning rate"}.get(name, name.removeprefix("dice/"))


def _mark_best(axes: Sequence[Axes], panels: Sequence[tuple[str, Curves]], rows: Sequence[Row]) -> None:
    best = [row for row in rows if row.get("best") == 1.0 and "val/dice" in row]
    for axis, (name, _) in zip(axes, panels, strict=True):
        if name == "validation Dice" and best:
            step, dice = float(best[-1]["step"]), float(best[-1]["val/dice"])
            axis.plot([step], [dice], marker="o", markersize=9, markerfacecolor="none", color=INK)
            style: dict[str, Any] = {
                "textcoords": "offset points",
                "ha": "center",
                "fontsize": 8,
                "color": INK,
            }
            axis.annotate(f"best {dice:.3f}", (step, dice), xytext=(0, 9), **style)
