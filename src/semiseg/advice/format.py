"""An :class:`~semiseg.advice.advise.Advice` for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Container, Iterator, Sequence

from semiseg.advice.advise import FALLBACK, Advice
from semiseg.advice.rank import Choice
from semiseg.advice.situation import Situation
from semiseg.errors import plural

WIDTH = 80
SHOWN = 5
"""Methods that are shown unless all are asked for."""


def text(advice: Advice, *, every: bool = False) -> str:
    """The facts, the ranking with a reason each, and the commands."""
    fits = [choice for choice in advice.ranking if not choice.obstacle]
    shown = fits if every else fits[:SHOWN]
    wide = max(len(choice.method) for choice in advice.ranking)
    common = _common(fits)
    lines = [*facts(advice.situation)]
    for reason, count in common.items():
        lines += _wrapped(f"note:   {count} of {plural(len(fits), 'method')}: {reason}", 8)
    lines += [""] if fits else []
    for place, choice in enumerate(shown, start=1):
        lines += _entry(f"{place:2}.", choice, wide, _reasons(choice, common))
    misfits = list(advice.ranking[len(fits) :])
    if not every:
        misfits = misfits[: max(0, SHOWN - len(fits))]
    if misfits:
        lines += ["", "Does not fit:"]
        for choice in misfits:
            lines += _entry("  -", choice, wide, choice.obstacle)
    if hidden := len(advice.ranking) - len(shown) - len(misfits):
        lines += [f"{'':4}{hidden} more: --all"]
    return "\n".join([*lines, "", *_closing(advice)])


def facts(s: Situation) -> Iterator[str]:
    """What the ranking is made from, a line each."""
    scans = f"{s.labeled} labeled, {s.unlabeled} unlabeled"
    kind = f"{s.dim}D, {plural(s.channels, 'channel')}, {plural(s.classes - 1, 'structure')}"
    yield f"data:   {s.dataset}: {scans}; {kind}"
    pieces = plural(s.labels.pieces, "piece")
    missing = f", some class missing in {s.labels.absent:.0%} of the scans" if s.labels.absent else ""
    share = f"{s.labels.rarest} fills {s.labels.rarest_share:.2%} of the voxels"
    yield from _wrapped(f"labels: {share}; {pieces} per class{missing}", 8)
    size = " x ".join(map(str, s.patch))
    yield from _wrapped(
        f"plan:   patch {size}, batch {s.batch}; {s.plan_gb[0]:g} GB to train one network, "
        f"{s.plan_gb[1]:g} GB for two",
        8,
    )
    yield from _wrapped(f"budget: {s.device}, {', '.join(_budget(s))}", 8)


def _budget(s: Situation) -> Iterator[str]:
    if s.memory_gb is not None:
        yield f"{s.memory_gb:g} GB of memory"
    if s.minutes is not None:
        yield plural(s.minutes, "minute")
    if s.minutes_supervised is None:
        yield f"{s.iterations} iterations; how long they take on this machine is not known"
    else:
        yield f"{s.iterations} iterations: roughly {s.minutes_supervised:.2g} minutes supervised"


def _common(choices: Sequence[Choice]) -> dict[str, int]:
    """Reasons of more than half of the methods, and of how many: told once, above the ranking."""
    counts = Counter(reason.text for choice in choices for reason in choice.reasons if reason.points)
    return {text: count for text, count in counts.items() if 2 * count > len(choices) > 2}


def _reasons(choice: Choice, common: Container[str]) -> str:
    """The weightiest reason of its own, and the next where it says the opposite or has any weight."""
    own = [reason for reason in choice.reasons if reason.text not in common]
    shown = [reason.text for reason in own[:2] if reason.points or reason is own[0]]
    return "; ".join(shown[:1] if own and own[0].points <= -100 else shown)


def _entry(mark: str, choice: Choice, wide: int, reason: str) -> list[str]:
    work = "" if choice.work is None else f"{choice.work:.1f}x"
    head = f"{mark} {choice.method:{wide}} {work:>5} {choice.memory_gb:5.2f} GB  "
    return _wrapped(head + reason, len(head))


def _closing(advice: Advice) -> Iterator[str]:
    yield from _wrapped(
        "x: cost of a training step beside a supervised one. The order is an estimate from "
        "our benchmark, published figures and rules; only your own data can tell."
    )
    if advice.tight:
        yield from _wrapped("Nothing fits the memory: the command plans smaller patches.")
    one = "Run this:" if advice.first.method == FALLBACK else "Run both, and compare:"
    yield from ["", one, *(f"  {command}" for command in reversed(advice.commands))]


def _wrapped(line: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
